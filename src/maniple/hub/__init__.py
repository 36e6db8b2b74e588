"""The hub: joins drivers, workers and the registry of algorithms."""
