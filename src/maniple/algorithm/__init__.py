"""Algorithms: WebAssembly programs under a name and a version, and the sandboxes they run in."""
