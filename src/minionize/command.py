"""The commands `minionize` and `minion-status`."""

from __future__ import annotations

import sys


def minionize() -> int:
    """Run a command over all params of an engine; return the exit code."""
    from maniple.minion.command import run

    return run(sys.argv[1:])


def minion_status() -> int:
    """Show what minions have done; return the exit code."""
    from maniple.minion.command import status

    return status(sys.argv[1:])
