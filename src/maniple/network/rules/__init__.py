"""What decides in a network, without I/O: numbering, acknowledgement, alignment."""
