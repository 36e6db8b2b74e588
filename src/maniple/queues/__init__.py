"""Queue backends: one file each."""
