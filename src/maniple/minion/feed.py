"""Puts params on a queue while minions empty it: they start before the last one is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from maniple.queue import Queue
from maniple.queues.lines import LinesQueue
from maniple.task import Task

PIECE: Final = 4_000
AHEAD: Final = 100_000


class Feed(Protocol):
    """A source of tasks.

    Attributes:
        fd: readable when there may be more, or None when there is more at once.
        ended: nothing more will come.
    """

    fd: int | None
    ended: bool

    def step(self, queue: Queue) -> int:
        """Put a piece on the queue, without waiting; return how many tasks were new."""
        ...


class TaskFeed:
    """Feeds tasks that are there already, piece by piece."""

    fd: int | None = None

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks
        self.ended = False

    def step(self, queue: Queue) -> int:
        """Put the next piece on the queue."""
        piece = list(islice(self._tasks, PIECE))
        self.ended = not piece
        return queue.put(piece) if piece else 0


class LineFeed:
    """Feeds the lines of a stream as they come."""

    def __init__(self, lines: LinesQueue, fd: int) -> None:
        self._lines = lines
        self.fd: int | None = fd
        self.ended = False

    def step(self, queue: Queue) -> int:
        """Put the lines that are there on the queue."""
        leases = self._lines.lease(PIECE, 3600.0)
        if not leases:
            self.ended = self._lines.stats().drained
            return 0
        added = queue.put([lease.task for lease in leases])
        self._lines.ack(leases)
        return added
