"""Jobs, pipes and nodes."""
