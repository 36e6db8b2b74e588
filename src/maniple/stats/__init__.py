"""Statistics over events: read, drawn in the terminal, written as a page."""
