"""What hub, drivers and workers say to each other."""
