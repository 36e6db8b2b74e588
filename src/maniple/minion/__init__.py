"""What joins a queue, a runner and reporters."""
