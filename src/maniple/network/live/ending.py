"""Ending what the jobs of a run have started, and waiting for it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Set as AbstractSet
from contextlib import suppress

from maniple import proctree


def descendants(pid: int) -> list[int]:
    """List the descendants of a process."""
    found = proctree.children(pid)
    return [below for child in found for below in (child, *descendants(child))]


def wait(pidfd: int, seconds: float) -> bool:
    """Wait for a process to end; tell whether it has."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def bury(jobs: AbstractSet[int], below: AbstractSet[int]) -> None:
    """Kill and wait for descendants of jobs: with the job dead they are our own children.

    Args:
        jobs: the processes of jobs, each the leader of a session.
        below: other processes that are known to be theirs.
    """
    for pid in proctree.children(os.getpid()):
        with suppress(OSError):
            if pid in below or os.getsid(pid) in jobs:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
