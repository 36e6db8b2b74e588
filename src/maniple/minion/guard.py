"""A process that outlives a crew which is killed as a whole, just long enough to end its tasks.

Minions die with their crew's first process, and that process ends what its minions leave. Only
when all of them are killed at one stroke would their tasks run on, unwatched; the guard, in a
session of its own, notices by a pipe that nobody holds open any more.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from maniple import proctree
from maniple.minion.tally import Tally
from maniple.runner import MINION_VARIABLE

GRACE_SECONDS = 0.2
START_SECONDS = 5.0
LOOK_SECONDS = 0.05


class Guard:
    """Starts the guard; `end` it when the crew has ended by itself.

    Args:
        tally: tells which process groups run tasks.
        scratch: a folder to remove in the end, or None.
        clear: called in the end, told whether the crew was killed; or None.
    """

    def __init__(
        self,
        tally: Tally,
        scratch: str | None = None,
        clear: Callable[[bool], None] | None = None,
    ) -> None:
        # minions inherit the writing end, the programs that they start do not
        watched, self._alive = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._alive)
                _watch(watched, tally, scratch, clear)
            finally:
                os._exit(0)
        os.close(watched)

    def end(self) -> None:
        """Say that all is in order, close our end of the pipe, and wait for the guard to go."""
        with suppress(OSError):
            os.write(self._alive, b"x")
        os.close(self._alive)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    @property
    def pid(self) -> int:
        """The guard's process."""
        return self._pid


def _end(groups: list[int]) -> None:
    """End process groups and all below them: TERM, then KILL."""
    if not groups:
        return
    below = [pid for group in groups for pid in proctree.descendants(group)]
    for group in groups:
        proctree.signal_group(group, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    for group in groups:
        proctree.signal_group(group, signal.SIGKILL)
    proctree.signal_all(below, signal.SIGKILL)


def _unknown(minions: list[int]) -> list[int]:
    """Find the groups of tasks whose minions were killed before they could name them."""
    until = time.monotonic() + START_SECONDS
    while minions:
        marks = [b"%s=%d" % (MINION_VARIABLE, minion) for minion in minions]
        found = [pid for mark in marks for pid in proctree.leaders_with(mark)]
        # a task that is being started looks like its minion until its program is loaded
        if len(found) >= len(minions) or time.monotonic() > until:
            return found
        time.sleep(LOOK_SECONDS)
    return []


def _watch(
    watched: int, tally: Tally, scratch: str | None, clear: Callable[[bool], None] | None
) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # whoever reads the crew's output must not have to wait for the guard
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    killed = not os.read(watched, 1)
    _end(tally.groups())
    _end(_unknown(tally.starting()))
    if clear is not None:
        clear(killed)
    if scratch is not None:
        from shutil import rmtree

        rmtree(scratch, ignore_errors=True)
