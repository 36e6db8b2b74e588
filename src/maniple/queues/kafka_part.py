"""Where the tasks of one partition stand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple

from maniple.queues.kafka_ops import Place

NOBODY: Final = -1
MOST_MARKS: Final = 512


class Note(NamedTuple):
    """What is not as with a new task.

    Attributes:
        attempt: number of its next run.
        lapses: how many of its leases lapsed.
        last: the claim that lapsed and that nobody has followed, or NOBODY.
    """

    attempt: int = 1
    lapses: int = 0
    last: int = NOBODY


NEW: Final = Note()


class Claim:
    """Tasks that one member took together, by partition; what is settled is in it no more."""

    __slots__ = ("deadline", "held", "id", "member", "seq", "serial")

    def __init__(self, claim_id: int, member: str, seq: int, deadline: float) -> None:
        self.id = claim_id
        self.member = member
        self.seq = seq
        self.deadline = deadline
        self.serial = 0
        self.held: dict[int, set[int]] = {}


class Ranges:
    """A set of offsets, few and long stretches of them."""

    def __init__(self, flat: list[int] | None = None) -> None:
        self.flat = flat or []
        self.total = sum(self.flat[1::2]) - sum(self.flat[::2])

    def __contains__(self, offset: int) -> bool:
        return bisect_right(self.flat, offset) % 2 == 1

    def add(self, first: int, after: int) -> None:
        """Add offsets from `first` to before `after`; none of them is in here."""
        i = bisect_right(self.flat, first)
        self.flat[i:i] = [first, after]
        self.total += after - first
        for joint in (i + 1, i - 1):
            if 0 < joint < len(self.flat) - 1 and self.flat[joint] == self.flat[joint + 1]:
                del self.flat[joint : joint + 2]


class Part:
    """One partition. What is below `fresh` and in none of the sets is done.

    Attributes:
        number: of the partition.
        start: the first offset that was there when the queue first saw the partition.
        fresh: the first offset that nobody has taken yet.
        end: the offset after the last one that is known.
        back: tasks that wait again, and since when.
        held: tasks that are leased, and the claim.
        later: delayed tasks, and until when.
        failed: tasks set aside, and where the reason is.
        notes: of tasks that are not as new.
        gone: tasks that were forgotten, or are no more in the topic.
        marks: up to where the tasks had come at which time, for the age of those that wait.
    """

    def __init__(self, number: int, start: int) -> None:
        self.number = number
        self.start = self.fresh = self.end = start
        self.back: dict[int, float] = {}
        self.held: dict[int, Claim] = {}
        self.later: dict[int, float] = {}
        self.failed: dict[int, Place] = {}
        self.notes: dict[int, Note] = {}
        self.gone = Ranges()
        self.marks: list[tuple[int, float]] = []
        # it may hold stale items: `back` tells what holds now
        self._order: list[int] = []

    @property
    def waiting(self) -> int:
        """Count the tasks that can be leased."""
        return len(self.back) + self.end - self.fresh

    @property
    def done(self) -> int:
        """Count the tasks that were acknowledged."""
        live = len(self.back) + len(self.held) + len(self.later) + len(self.failed)
        return self.fresh - self.start - live - self.gone.total

    def grow(self, first: int, end: int, now: float) -> None:
        """Take notice of new tasks, and that those below `first` are no more."""
        if first > self.fresh:
            self.gone.add(self.fresh, first)
            self.fresh = first
            self.end = max(self.end, first)
        if end > self.end:
            self.end = end
            self.marks.append((end, now))
            if len(self.marks) > MOST_MARKS:
                del self.marks[: len(self.marks) // 2 : 2]

    def give(self, offset: int, since: float) -> None:
        """Have a task wait again."""
        self.back[offset] = since
        heappush(self._order, offset)

    def take(self, limit: int, claim: Claim) -> int:
        """Lease tasks, those that were put first before the others; return how many."""
        taken: list[int] = []
        while self.back and len(taken) < limit:
            offset = heappop(self._order)
            if self.back.pop(offset, None) is not None:
                taken.append(offset)
        after = min(self.end, self.fresh + limit - len(taken))
        taken += range(self.fresh, after)
        self.fresh = after
        while self.marks and self.marks[0][0] <= after:
            del self.marks[0]
        if taken:
            for offset in taken if self.notes else ():
                note = self.notes.get(offset)
                if note is not None and note.last != NOBODY:
                    self.note(offset, note._replace(last=NOBODY))
            self.held.update(dict.fromkeys(taken, claim))
            claim.held.setdefault(self.number, set()).update(taken)
        return len(taken)

    def note(self, offset: int, note: Note) -> None:
        """Keep what is not as with a new task."""
        if note == NEW:
            self.notes.pop(offset, None)
        else:
            self.notes[offset] = note

    def oldest(self) -> float | None:
        """Return since when the first waiting task waits."""
        order = self._order
        while order and order[0] not in self.back:
            heappop(order)
        times = [self.back[order[0]]] if order else []
        times += [self.marks[0][1]] if self.marks and self.fresh < self.end else []
        return min(times, default=None)

    def live(self) -> Iterable[int]:
        """List what is below `fresh` and is neither done nor gone, sorted."""
        return sorted([*self.back, *self.held, *self.later, *self.failed])

    def finished(self) -> Iterator[tuple[int, int]]:
        """List the stretches that are done."""
        begin = self.start
        rest = sorted(
            [(o, o + 1) for o in self.live()]
            + list(zip(self.gone.flat[::2], self.gone.flat[1::2], strict=True))
        )
        for first, after in rest:
            if first > begin:
                yield begin, first
            begin = after
        if begin < self.fresh:
            yield begin, self.fresh
