"""What tasks run: one file per kind."""
