"""The progress line of `maniple run`: what is done, how fast, when it will end, what failed."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, TextIO

from maniple.queue import QueueStats

WINDOW_SECONDS: Final = 10.0
PAINT_SECONDS: Final = 0.2
PLAIN_SECONDS: Final = 10.0
BAR: Final = 24
CLEAR: Final = "\r\x1b[K"


class Progress:
    """Shows how a queue empties: one line repainted in a terminal, else a plain line now and then.

    Args:
        stream: where to show it.
        lock: keeps the tasks' output and the line apart.
        start: the time now, on any clock that does not go back.
    """

    def __init__(
        self, stream: TextIO, lock: Callable[[], AbstractContextManager[Any]], start: float
    ) -> None:
        self._stream = stream
        self._lock = lock
        self._live = stream.isatty()
        self._seen: deque[tuple[float, int]] = deque()
        self._next = start + (PAINT_SECONDS if self._live else PLAIN_SECONDS)

    def due(self, now: float) -> bool:
        """Tell whether `show` would show something."""
        return now >= self._next

    def show(self, stats: QueueStats, now: float, *, more: bool) -> None:
        """Show the numbers.

        Args:
            stats: of the queue.
            now: the time.
            more: the queue is still being filled, so that its total says nothing yet.
        """
        self._next = now + (PAINT_SECONDS if self._live else PLAIN_SECONDS)
        line = self.line(stats, now, more=more)
        if self._live:
            with self._lock():
                print(f"{CLEAR}{line}", end="", file=self._stream, flush=True)
        else:
            print(f"maniple: {line}", file=self._stream, flush=True)

    def line(self, stats: QueueStats, now: float, *, more: bool) -> str:
        """Word the line."""
        ended = (stats.done or 0) + (stats.failed or 0)
        self._seen.append((now, ended))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:  # noqa: PLR2004 - a rate needs two
            self._seen.popleft()
        since, before = self._seen[0]
        rate = (ended - before) / (now - since) if now > since else 0.0
        total = stats.total or 0
        parts = []
        if stats.total is None:
            parts.append(f"{ended} {'task' if ended == 1 else 'tasks'} ended")
            if stats.waiting:
                parts.append(f"{stats.waiting} waiting")
        elif more:
            parts.append(f"{ended} of {total}+ tasks")
        else:
            share = ended / total if total else 1.0
            if self._live:
                full = int(share * BAR)
                parts.append(f"[{'#' * full}{'.' * (BAR - full)}]")
            parts.append(f"{ended} of {total} tasks ({share:.0%})")
        if stats.failed:
            parts.append(f"{stats.failed} failed")
        if stats.leased:
            parts.append(f"{stats.leased} in work")
        if stats.delayed:
            parts.append(f"{stats.delayed} to retry")
        if rate:
            parts.append(f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s")  # noqa: PLR2004 - three digits
            if not more and total > ended:
                parts.append(f"ETA {duration((total - ended) / rate)}")
        return "  ".join(parts) if self._live else ", ".join(parts)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            with self._lock():
                print(CLEAR, end="", file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Word a time span in at most two units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def say(text: str) -> None:
    """Tell the user something that is not output."""
    print(f"maniple: {text}", file=sys.stderr, flush=True)
