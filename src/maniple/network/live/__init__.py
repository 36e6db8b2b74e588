"""What talks in a network: sockets, processes, consoles."""
