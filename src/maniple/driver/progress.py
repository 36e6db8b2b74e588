"""How far a stream of tasks has come: told to a function of the user's, or shown as a line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

import msgspec

from maniple.minion.progress import Progress as Line
from maniple.queue import QueueStats


class Progress(msgspec.Struct, frozen=True):
    """How far a `map` has come.

    Attributes:
        done: tasks that ended well.
        failed: those that did not.
        running: those that are at the hub.
        total: all there will be, where that is known already.
    """

    done: int
    failed: int
    running: int
    total: int | None


Listener = Callable[[Progress], object]


class Reporter:
    """Counts, and tells.

    Args:
        listener: a function, True for a line on standard error, or False for nothing.
        total: how many tasks there will be, where that is known.
    """

    def __init__(self, listener: Listener | bool, total: int | None) -> None:  # noqa: FBT001
        self._listener = listener if callable(listener) else None
        self._line: Line | None = None
        if listener is True:
            self._line = Line(sys.stderr, contextlib.nullcontext, time.monotonic())
        self._total = total
        self._done = self._failed = 0

    def ended(self, *, ok: bool, running: int) -> None:
        """Count a task that has ended.

        Args:
            ok: whether well.
            running: how many are at the hub now.
        """
        if ok:
            self._done += 1
        else:
            self._failed += 1
        self._tell(running)

    def counted(self, total: int, *, running: int) -> None:
        """Take how many tasks there are, when the params are at their end."""
        if total != self._total:
            self._total = total
            self._tell(running)

    def _tell(self, running: int) -> None:
        if self._listener is not None:
            self._listener(Progress(self._done, self._failed, running, self._total))
        if self._line is not None:
            self._show(running, last=self._done + self._failed == self._total)

    def close(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.clear()

    def _show(self, running: int, *, last: bool) -> None:
        now = time.monotonic()
        if self._line is None or not (last or self._line.due(now)):
            return
        ended = self._done + self._failed
        known = self._total is not None
        waiting = max(0, (self._total or 0) - ended - running)
        stats = QueueStats(waiting, 0, running, self._done, self._failed)
        self._line.show(stats, now, more=not known)
