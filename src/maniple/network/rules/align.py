"""What a job computes on: blocks of the same number from all its inputs.

A number that will not come any more (the block was dropped, or its pipe lost it) is filled with a
stand-in: the pipe's dummy, else the block before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

LOST: Final = object()
"""In place of a block that will not come."""


class Input(NamedTuple):
    """How one input takes part.

    Attributes:
        blocks: for each call; with more than one the job gets a list.
        most: blocks that may wait before the oldest is dropped; 0: no limit.
        dummy: gives the stand-in for a lost block, given the block before it (or None).
        loose: dropped blocks leave no hole; the numbers of this input mean nothing.
    """

    blocks: int = 1
    most: int = 0
    dummy: Callable[[Any], Any] = lambda previous: previous
    loose: bool = False


class Aligned(NamedTuple):
    """The arguments of some calls.

    Attributes:
        first: number of the first call.
        calls: a tuple of arguments for each call.
        corrupted: the numbers of calls in which something is a stand-in.
    """

    first: int
    calls: list[tuple[Any, ...]]
    corrupted: frozenset[int]


class Aligner:
    """Collects the blocks of several inputs, and hands them out as sets.

    Attributes:
        next: number of the next call.
        dropped: per input, blocks that were dropped because too many waited.
        dummies: per input, stand-ins that were handed out.
    """

    def __init__(self, inputs: Iterable[Input]) -> None:
        self._inputs = list(inputs)
        self._waiting: list[deque[Any]] = [deque() for _ in self._inputs]
        self._base: list[int | None] = [None] * len(self._inputs)
        self._previous: list[Any] = [None] * len(self._inputs)
        self._ended: list[int | None] = [None] * len(self._inputs)
        self._holes: list[int] = [0] * len(self._inputs)
        self._started = False
        self.next = 0
        self.dropped = [0] * len(self._inputs)
        self.dummies = [0] * len(self._inputs)

    def arrived(self, place: int, first: int, values: Iterable[Any]) -> None:
        """Take blocks of an input, numbered from `first`, in order; gaps are lost blocks."""
        waiting = self._waiting[place]
        base = self._base[place]
        if base is None:
            base = self._base[place] = first
            self._begin()
        gap = first - (base + len(waiting))
        if gap > 0:
            waiting.extend([LOST] * gap)
            self._holes[place] += gap
        waiting.extend(values)
        most = self._inputs[place].most
        if most and len(waiting) - self._holes[place] > most:
            self._drop(place, most)

    def _drop(self, place: int, most: int) -> None:
        """Make holes of the oldest blocks that wait."""
        waiting = self._waiting[place]
        if self._inputs[place].loose:
            while len(waiting) > most:
                waiting.popleft()
                self._base[place] = (self._base[place] or 0) + 1
                self.dropped[place] += 1
            return
        over = len(waiting) - self._holes[place] - most
        for position, value in enumerate(waiting):
            if over <= 0:
                break
            if value is not LOST:
                waiting[position] = LOST
                self._holes[place] += 1
                self.dropped[place] += 1
                over -= 1

    def ended(self, place: int, number: int) -> None:
        """Take note that an input has no block of this number or above."""
        self._ended[place] = number
        if self._base[place] is None:
            self._base[place] = number
            self._begin()
            return
        base = self._base[place] or 0
        gap = number - (base + len(self._waiting[place]))
        if gap > 0:
            self._waiting[place].extend([LOST] * gap)
            self._holes[place] += gap

    def _begin(self) -> None:
        """When every input has told where it begins (after a restart), start where all can."""
        if self._started or None in self._base:
            return
        self._started = True
        starts = [
            -(-(base or 0) // each.blocks)
            for base, each in zip(self._base, self._inputs, strict=True)
        ]
        self.next = max(starts, default=0)
        for place, each in enumerate(self._inputs):
            behind = self.next * each.blocks - (self._base[place] or 0)
            for _ in range(min(behind, len(self._waiting[place]))):
                if self._waiting[place].popleft() is LOST:
                    self._holes[place] -= 1
            self._base[place] = (self._base[place] or 0) + behind

    def waiting(self, place: int) -> int:
        """How many blocks of an input wait."""
        return len(self._waiting[place])

    @property
    def over(self) -> bool:
        """Some input has ended, and no complete set is left or can come."""
        return any(
            end is not None and len(self._waiting[place]) < self._inputs[place].blocks
            for place, end in enumerate(self._ended)
        )

    def take(self, limit: int) -> Aligned:
        """Hand out complete sets, at most so many."""
        first = self.next
        if not self._started:
            return Aligned(first, [], frozenset())
        number = min(
            (len(w) // each.blocks for w, each in zip(self._waiting, self._inputs, strict=True)),
            default=0,
        )
        number = min(number, limit)
        if number <= 0:
            return Aligned(first, [], frozenset())
        corrupted: set[int] = set()
        columns = [self._column(place, number, corrupted) for place in range(len(self._inputs))]
        self.next += number
        calls = (
            [(value,) for value in columns[0]]
            if len(columns) == 1
            else list(zip(*columns, strict=True))
        )
        return Aligned(first, calls, frozenset(first + offset for offset in corrupted))

    def _column(self, place: int, number: int, corrupted: set[int]) -> list[Any]:
        waiting, count = self._waiting[place], self._inputs[place].blocks
        blocks = number * count
        if blocks == len(waiting):
            taken = list(waiting)
            waiting.clear()
        else:
            pop = waiting.popleft
            taken = [pop() for _ in range(blocks)]
        self._base[place] = (self._base[place] or 0) + blocks
        if self._holes[place]:
            self._fill(place, taken, count, corrupted)
        if taken:
            self._previous[place] = taken[-1]
        if count == 1:
            return taken
        return [taken[at : at + count] for at in range(0, blocks, count)]

    def _fill(self, place: int, taken: list[Any], count: int, corrupted: set[int]) -> None:
        previous = self._previous[place]
        for position, value in enumerate(taken):
            if value is LOST:
                taken[position] = self._inputs[place].dummy(previous)
                self._holes[place] -= 1
                self.dummies[place] += 1
                corrupted.add(position // count)
            previous = taken[position]
