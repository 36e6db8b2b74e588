"""The command `motivus`."""

from maniple.cli.motivus import main

__all__ = ["main"]
