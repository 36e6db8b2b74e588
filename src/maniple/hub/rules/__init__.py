"""What the hub decides: no clock, no I/O, no randomness of its own."""
