"""What a job computes on: blocks of the same number from all its inputs.

A number that will not come any more (the block was dropped, or its pipe lost it) is filled with a
stand-in: the pipe's dummy, else the block before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
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

    Args:
        inputs: how each takes part.
        bases: the number of the first block of each; None: it is told later (after a restart).

    Attributes:
        next: number of the next call.
        started: it is known where all inputs begin.
        dropped: per input, blocks that were dropped because too many waited.
        dummies: per input, stand-ins that were handed out.
    """

    def __init__(self, inputs: Iterable[Input], bases: Sequence[int | None] | None = None) -> None:
        self._inputs = list(inputs)
        number = len(self._inputs)
        self._waiting: list[deque[Any]] = [deque() for _ in self._inputs]
        # an input's blocks: so many lost ones, then those that wait, from the number `base` on
        self._base: list[int | None] = [0] * number if bases is None else list(bases)
        self._lost: list[int] = [0] * number
        self._holes: list[int] = [0] * number
        self._previous: list[Any] = [None] * number
        self._ended: list[int | None] = [None] * number
        self._marks: list[deque[tuple[int, int]]] = [deque() for _ in self._inputs]
        self.started = False
        self.next = self._first = 0
        self.dropped = [0] * number
        self.dummies = [0] * number
        self._begin()

    def arrived(self, place: int, first: int, values: Iterable[Any]) -> None:
        """Take blocks of an input, numbered from `first`, in order; gaps are lost blocks."""
        if self._base[place] is None:
            self._base[place] = first
        known = self._after(place)
        if first < known:
            # an input that is ahead has made these useless, after a restart
            values = islice(values, known - first, None)
        elif first > known:
            self._gap(place, first - known)
        waiting = self._waiting[place]
        waiting.extend(values)
        self._begin()
        most = self._inputs[place].most
        if most and len(waiting) - self._holes[place] > most:
            self._drop(place, most)

    def ended(self, place: int, number: int) -> None:
        """Take note that an input has no block of this number or above."""
        self._ended[place] = number
        if self._base[place] is None:
            self._base[place] = number
        if (known := self._after(place)) < number:
            self._gap(place, number - known)
        self._begin()

    def begins(self, place: int, number: int) -> None:
        """Take note of the number of an input's first block, should it not be known."""
        if self._base[place] is None:
            self.arrived(place, number, ())

    def _after(self, place: int) -> int:
        return (self._base[place] or 0) + self._lost[place] + len(self._waiting[place])

    def _gap(self, place: int, number: int) -> None:
        if self._inputs[place].loose:
            self._base[place] = (self._base[place] or 0) + number
        elif not self._waiting[place]:
            self._lost[place] += number
        else:
            self._waiting[place].extend([LOST] * number)
            self._holes[place] += number

    def _drop(self, place: int, most: int) -> None:
        """Lose the oldest blocks that wait."""
        waiting = self._waiting[place]
        while len(waiting) - self._holes[place] > most:
            if waiting.popleft() is LOST:
                self._holes[place] -= 1
            else:
                self.dropped[place] += 1
            if self._inputs[place].loose:
                self._base[place] = (self._base[place] or 0) + 1
            else:
                self._lost[place] += 1

    def _begin(self) -> None:
        """When every input has told where it begins, start where all can."""
        if self.started or None in self._base:
            return
        self.started = True
        ends = list(zip(self._base, self._inputs, strict=True))
        # the numbers of an input that drops blocks without a trace tell nothing about calls
        told = [(base, each) for base, each in ends if not (each.loose and each.most)] or ends
        self.next = max((-(-(base or 0) // each.blocks) for base, each in told), default=0)
        self._first = self.next
        for place, (base, each) in enumerate(ends):
            if (base, each) in told:
                self._leave_out(place, self.next * each.blocks - (base or 0))

    def _leave_out(self, place: int, behind: int) -> None:
        if behind <= 0:
            return
        self._base[place] = (self._base[place] or 0) + behind
        lost = min(behind, self._lost[place])
        self._lost[place] -= lost
        waiting = self._waiting[place]
        for _ in range(min(behind - lost, len(waiting))):
            if waiting.popleft() is LOST:
                self._holes[place] -= 1

    def waiting(self, place: int) -> int:
        """How many blocks of an input wait."""
        return len(self._waiting[place])

    def done(self, place: int, calls: int) -> int:
        """Tell below which number an input's blocks are done with.

        Args:
            place: of the input.
            calls: all calls below this number are done with.
        """
        base = self._base[place]
        if base is None or not self.started:
            return 0
        # what was before the first call of ours is done with
        calls = max(calls, self._first)
        if calls >= self.next:
            # what was dropped is done with as well
            return base + self._lost[place]
        if not self._inputs[place].loose:
            return calls * self._inputs[place].blocks
        marks = self._marks[place]
        found = 0
        while marks and marks[0][0] <= calls:
            found = marks.popleft()[1]
        return found

    def offset(self, place: int) -> int:
        """Tell what to add to the blocks of all calls before the next to get the next block."""
        return (self._base[place] or 0) - self.next * self._inputs[place].blocks

    @property
    def over(self) -> bool:
        """Some input has ended, and no complete set is left or can come."""
        return self.started and any(
            end is not None and self._ready(place) == 0 for place, end in enumerate(self._ended)
        )

    def _ready(self, place: int) -> int:
        return (self._lost[place] + len(self._waiting[place])) // self._inputs[place].blocks

    def take(self, limit: int) -> Aligned:
        """Hand out complete sets, at most so many."""
        first = self.next
        if not self.started:
            return Aligned(first, [], frozenset())
        number = min(map(self._ready, range(len(self._inputs))), default=0)
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
        lost = min(blocks, self._lost[place])
        self._lost[place] -= lost
        taken = [LOST] * lost
        if blocks - lost == len(waiting):
            taken += waiting
            waiting.clear()
        else:
            pop = waiting.popleft
            taken += [pop() for _ in range(blocks - lost)]
        self._base[place] = base = (self._base[place] or 0) + blocks
        if self._inputs[place].loose:
            self._marks[place].append((self.next + number, base))
        if lost or self._holes[place]:
            self._holes[place] += lost
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
