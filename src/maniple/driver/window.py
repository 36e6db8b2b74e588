"""Which item of a stream may start next, and which result is given next. Decides, no I/O."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_Outcome = TypeVar("_Outcome")


class Window(Generic[_Outcome]):
    """Keeps a stream of tasks within bounds, and its results in order.

    Args:
        at_once: the most tasks that are unanswered at a time.
        ahead: the most results that may wait for one before them, or for the reader.
        ordered: results are given in the order in which their tasks started.
    """

    def __init__(self, at_once: int, ahead: int, *, ordered: bool) -> None:
        self.at_once = at_once
        self.ahead = ahead
        self.ordered = ordered
        self.exhausted = False
        self.running = 0
        self._started = 0
        self._next = 0
        self._waiting: dict[int, _Outcome] = {}
        self._ready: deque[tuple[int, _Outcome]] = deque()

    @property
    def room(self) -> bool:
        """Whether another task may start."""
        waiting = len(self._waiting) + len(self._ready)
        return not self.exhausted and self.running < self.at_once and waiting < self.ahead

    @property
    def over(self) -> bool:
        """Whether all has been given."""
        return self.exhausted and not (self.running or self._waiting or self._ready)

    def start(self) -> int:
        """Number the next task, from 0."""
        self._started += 1
        self.running += 1
        return self._started - 1

    def end(self, index: int, outcome: _Outcome) -> None:
        """Take the outcome of a task."""
        self.running -= 1
        if not self.ordered:
            self._ready.append((index, outcome))
            return
        self._waiting[index] = outcome
        while self._next in self._waiting:
            self._ready.append((self._next, self._waiting.pop(self._next)))
            self._next += 1

    def take(self) -> tuple[int, _Outcome] | None:
        """Give the next outcome with its task's number, or None while there is none."""
        return self._ready.popleft() if self._ready else None
