"""Chunks of tasks in a shared folder: their names, their lines and the log of a claim. No I/O.

A chunk is an immutable file, one task a line: `["id",number,attempt,lapses,param]`, followed by the
failure of a task that was set aside. Its name tells most of what is asked about it:

    000000002049-fill3-2              a chunk: number of its first task, who made it, how many tasks
    000000002049-fill3-2~0~4f1e...    the same, claimed: how often it was taken over, by whom
    000000002049-fill3-2~0~4f1e...~2  the same, done with: how many were acknowledged
    01767225600000@00000000000...     a chunk that waits until then, in milliseconds of the epoch
    CLAIM~ready~CHUNK                 (in tmp/) what moves from a claim to ready/ under a new name

What happened to a claimed chunk is in its log, which only its owner writes, a JSON array a line:

    ["h", n]                          the tasks before the nth have been handed out
    ["a", [i, ...]]                   acknowledged
    ["l", [i, ...]]                   their lease lapsed
    ["m", tmp, [i, ...]]              moved elsewhere: that file in tmp/ counts from now on
    ["s", n, [a...], [m...], [[i, lapses]...], [tmp...]]    all of that so far, by who took over

Without any `h` and `s` the whole chunk was handed out. A line without its end never happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from maniple.queue import Failure
from maniple.task import Task

PENDING: Final = 0
LEASED: Final = 1
DONE: Final = 2
MOVED: Final = 3

_encode = msgspec.json.Encoder().encode
_decode_log = msgspec.json.Decoder(list[Any]).decode


class Line(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A task in a chunk."""

    id: str
    number: int
    attempt: int
    lapses: int
    param: msgspec.Raw
    failure: Failure | None = None

    def task(self) -> Task:
        """Make the task of it."""
        return Task(self.id, bytes(self.param), self.attempt, self.number)


_decode_lines = msgspec.json.Decoder(Line).decode_lines


def encode_line(task: Task, attempt: int, lapses: int, failure: Failure | None = None) -> bytes:
    """Write a task as a line of a chunk."""
    head = b'["%s",%d,%d,%d,%s' % (task.id.encode(), task.number, attempt, lapses, task.data)
    if failure is None:
        return head + b"]\n"
    texts = (_text(failure.cause), _text(failure.error), _text(failure.output))
    return b"%s,%s]\n" % (head, _encode(Failure(*texts, failure.at)))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def decode_chunk(data: bytes, count: int) -> list[Line]:
    """Read a chunk that must hold `count` tasks.

    Raises:
        ValueError: it is damaged.
    """
    try:
        lines = _decode_lines(data)
    except msgspec.DecodeError:
        lines = [_decode_rare(line) for line in data.split(b"\n") if line]
    if len(lines) != count:
        raise ValueError(f"{len(lines)} tasks where {count} should be")
    return lines


def _decode_rare(data: bytes) -> Line:
    """Read a line whose param holds text that is not valid UTF-8: msgspec refuses it."""
    import json

    text = data.decode()
    start = 0
    for _ in range(4):
        start = text.index(",", start) + 1
    _, end = json.JSONDecoder().raw_decode(text, start)
    line = msgspec.json.decode(text[:start] + "null" + text[end:], type=Line)
    param = msgspec.Raw(text[start:end].encode())
    return Line(line.id, line.number, line.attempt, line.lapses, param, line.failure)


def chunk_name(first: int, maker: str, count: int) -> str:
    """Name a chunk; names sort by the number of their first task."""
    return f"{first:012d}-{maker}-{count}"


def chunk_of(name: str) -> str:
    """Return the name of the chunk that a claim or a finished claim holds."""
    return name.partition("~")[0]


def count_of(chunk: str) -> int:
    """How many tasks a chunk holds."""
    return int(chunk.rpartition("-")[2])


def claim_parts(claim: str) -> tuple[str, int, str]:
    """Split a claim's name: chunk, how often it was taken over, owner."""
    chunk, times, owner = claim.split("~")[:3]
    return chunk, int(times), owner


def later_name(due: float, chunk: str) -> str:
    """Name a chunk that waits until `due`, in seconds since the epoch."""
    return f"{max(0, round(due * 1000)):014d}@{chunk}"


def due_of(name: str) -> float:
    """When a chunk of later/ is due, in seconds since the epoch."""
    return int(name.partition("@")[0]) / 1000


def undelayed(name: str) -> str:
    """Return the name of the chunk that waits under a name of later/."""
    return name.rpartition("@")[2]


class Log:
    """What a claim's log says.

    Attributes:
        handed: tasks before this index were handed out; None when nothing tells.
        done, moved: indices of tasks that are settled.
        lapses: lapses since the chunk was written, by index.
        moves: names in tmp/ of what was moved; most were renamed long ago.
    """

    __slots__ = ("done", "handed", "lapses", "moved", "moves")

    def __init__(self, data: bytes = b"") -> None:
        self.handed: int | None = None
        self.done: set[int] = set()
        self.moved: set[int] = set()
        self.lapses: dict[int, int] = {}
        self.moves: list[str] = []
        for line in data.split(b"\n")[:-1]:
            try:
                self._read(*_decode_log(line))
            except (ValueError, TypeError):
                continue

    def _read(self, kind: str, *rest: Any) -> None:
        if kind == "a":
            self.done.update(rest[0])
        elif kind == "h":
            self.handed = rest[0]
        elif kind == "m":
            self.moves.append(rest[0])
            self.moved.update(rest[1])
        elif kind == "l":
            for index in rest[0]:
                self.lapses[index] = self.lapses.get(index, 0) + 1
        elif kind == "s":
            self.handed, done, moved, lapses, self.moves = rest
            self.done, self.moved, self.lapses = set(done), set(moved), dict(lapses)

    def handed_out(self, index: int) -> bool:
        """Tell whether a task that is not settled was handed out."""
        return self.handed is None or index < self.handed

    def summary(self) -> bytes:
        """Write it all as the first line of the log of who takes over."""
        return record(
            "s", 0, sorted(self.done), sorted(self.moved), list(self.lapses.items()), self.moves
        )


def record(*fields: Any) -> bytes:
    """Write a line of a log."""
    return _encode(fields) + b"\n"


class Claim:
    """A chunk that this process holds, and where its tasks stand.

    Attributes:
        name: of its file in leased/ and of its log.
        lines: the tasks.
        state: of each task: PENDING, LEASED, DONE, MOVED.
        serials: of each task its latest lease, 0 before the first.
        deadlines: of each task the end of that lease, by the queue's clock.
        lapses: of each task that had any since the chunk was written.
        fresh: tasks from this index on were never handed out by us.
        returned: indices of tasks that lapsed in our own hands.
        unsettled: how many tasks are neither done nor moved.
        moves: names in tmp/ of what was moved.
        logged: it has a log.
        since: when we took it, by the queue's clock.
        lost: somebody else has taken it over.
        tracked: its log tells which tasks were handed out.
    """

    __slots__ = (
        "deadlines",
        "done",
        "fresh",
        "lapses",
        "lines",
        "logged",
        "lost",
        "moves",
        "name",
        "returned",
        "serials",
        "since",
        "state",
        "tracked",
        "unsettled",
    )

    def __init__(self, name: str, lines: list[Line], since: float, log: Log | None = None) -> None:
        size = len(lines)
        self.name = name
        self.lines = lines
        self.state = bytearray(size)
        self.serials = [0] * size
        self.deadlines = [0.0] * size
        self.fresh = 0
        self.returned: deque[int] = deque()
        self.since = since
        self.lost = False
        self.done = 0
        self.unsettled = size
        self.lapses: dict[int, int] = {}
        self.moves: list[str] = []
        self.logged = self.tracked = log is not None
        if log is not None:
            self.settle(log.done, DONE)
            self.settle(log.moved, MOVED)
            self.lapses = log.lapses
            self.moves = log.moves

    def settle(self, indices: Iterable[int], state: int) -> None:
        """Note that tasks are DONE or MOVED."""
        for index in indices:
            self.state[index] = state
            self.unsettled -= 1
            self.done += state == DONE

    def lapses_of(self, index: int) -> int:
        """How often the lease of a task lapsed, ever."""
        return self.lines[index].lapses + self.lapses.get(index, 0)

    def has_pending(self) -> bool:
        """Tell whether a task can be handed out."""
        return PENDING in self.state

    def next_pending(self) -> int | None:
        """Take the next task to hand out, in order, those that lapsed first."""
        state = self.state
        while self.returned:
            index = self.returned.popleft()
            if state[index] == PENDING:
                return index
        index = state.find(PENDING, self.fresh)
        if index < 0:
            self.fresh = len(state)
            return None
        self.fresh = index + 1
        return index

    def put_back(self, index: int) -> None:
        """Undo `next_pending`."""
        if index == self.fresh - 1:
            self.fresh = index
        else:
            self.returned.appendleft(index)

    def pending(self) -> list[int]:
        """Indices of the tasks that nobody was given."""
        return [index for index, state in enumerate(self.state) if state == PENDING]

    def line(self, index: int, *, attempted: bool = False, failure: Failure | None = None) -> bytes:
        """Write a task as it moves elsewhere."""
        task = self.lines[index].task()
        return encode_line(task, task.attempt + attempted, self.lapses_of(index), failure)
