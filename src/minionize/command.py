"""The commands `minionize` and `minion-status`."""

from __future__ import annotations

import sys
from typing import Any


def minionize() -> int:
    """Run a command over all params of an engine; return the exit code."""
    from maniple.callback.command import run

    return run(sys.argv[1:])


def minion_status() -> int:
    """Show what minions have done; return the exit code."""
    from maniple.callback.command import status

    return status(sys.argv[1:], _maniple_status)


def _maniple_status() -> Any:
    from maniple.cli.status import status

    return status
