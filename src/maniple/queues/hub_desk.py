"""What a worker decides about the leases that a hub has given it. No socket, no clock, no files.

Messages and the minion's calls go in, messages to the hub come out. A lease is fetching (parts of
its algorithm are still missing here), ready, taken (by the minion) or answered; it is forgotten
when the hub has said that the answer is safe, has taken it back, or has it back from us.

While there is no connection nothing comes out: what is held is told by the next hello, and what
was answered is answered again after it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from maniple.algorithm.call import Answer, Call
from maniple.cluster.messages import (
    Abort,
    Ask,
    Done,
    FromWorker,
    GiveBack,
    Run,
    Settled,
    Want,
    Welcome,
    WorkerHello,
)
from maniple.queue import Lease
from maniple.task import Task

PATIENCE_SECONDS: Final = 0.05
"""A task that runs longer than this keeps no others waiting behind it."""
NO_CODE: Final = "no code"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")
_NAMELESS: Final = "the hub names a part of the algorithm by something that is no digest"


class Stop(NamedTuple):
    """An instruction: end the task if it runs now; no answer is wanted."""

    task: Task


Instruction = FromWorker | Stop


class _Place(Enum):
    FETCHING = 1
    READY = 2
    TAKEN = 3
    ANSWERED = 4


class _Held:
    __slots__ = ("answer", "call", "lease", "missing", "place")

    def __init__(self, lease: Lease, call: Call, missing: set[str]) -> None:
        self.lease = lease
        self.call: Call | None = call
        self.missing = missing
        self.place = _Place.FETCHING if missing else _Place.READY
        self.answer: Answer | None = None


class Desk:
    """The leases of one worker.

    Args:
        uid: of the worker, at random.
        name: of the worker, for people.
        here: tells whether a part of an algorithm is on this machine, by its digest.
    """

    def __init__(self, uid: str, name: str, here: Callable[[str], bool]) -> None:
        self._uid = uid
        self._name = name
        self._here = here
        self._held: dict[str, _Held] = {}
        self._tokens: dict[int, str] = {}
        self._serial = 0
        self._online = False
        self._credit = 0
        self._wish = 0
        self._wanted: set[str] = set()
        self._returned: list[str] = []
        self._left_at = math.inf

    # The connection

    def hello(self) -> WorkerHello:
        """Give the first message of a new connection."""
        self._online = False
        self._credit = 0
        self._wanted.clear()
        # those are not among what we hold, so the hub has them back
        self._returned.clear()
        return WorkerHello(self._uid, self._name, list(self._held))

    def lost(self) -> None:
        """Note that the connection is gone."""
        self._online = False

    @property
    def online(self) -> bool:
        """The hub has welcomed us on the connection that there is."""
        return self._online

    def welcomed(self, welcome: Welcome) -> list[Instruction]:
        """Say again what may have been lost with the last connection."""
        self._online = True
        said: list[Instruction] = []
        for token in welcome.unknown:
            said += self._taken_back(token)
        said += (
            Done(token, held.answer)
            for token, held in self._held.items()
            if held.place is _Place.ANSWERED and held.answer is not None
        )
        if self._returned:
            said.append(GiveBack(self._returned.copy()))
            self._returned.clear()
        said += self._want(digest for held in self._held.values() for digest in held.missing)
        said += self._ask(self._wish)
        return said

    # What the hub says

    def heard(self, message: Run | Abort | Settled) -> list[Instruction]:
        """Take a message."""
        if isinstance(message, Run):
            return self._given(message)
        if isinstance(message, Abort):
            return self._taken_back(message.token)
        for token in message.tokens:
            held = self._held.get(token)
            if held is not None and held.place is _Place.ANSWERED:
                self._forget(token)
        return []

    def _given(self, run: Run) -> list[Instruction]:
        self._credit = max(0, self._credit - 1)
        if run.token in self._held:
            return []
        self._serial += 1
        task = Task(run.task, run.call.params, run.attempt, self._serial)
        names = run.call.code.digests
        if not all(map(_DIGEST.match, names)):
            held = _Held(Lease(task, run.token), run.call, set())
            self._held[run.token], self._tokens[self._serial] = held, run.token
            held.answer = Answer(ok=False, cause=NO_CODE, error=_NAMELESS)
            return self._answer(run.token, held)
        missing = {digest for digest in names if not self._here(digest)}
        self._held[run.token] = _Held(Lease(task, run.token), run.call, missing)
        self._tokens[self._serial] = run.token
        return self._want(missing)

    def _want(self, digests: Iterable[str]) -> list[Instruction]:
        new = [digest for digest in dict.fromkeys(digests) if digest not in self._wanted]
        if not new or not self._online:
            return []
        self._wanted.update(new)
        return [Want(new)]

    def _taken_back(self, token: str) -> list[Instruction]:
        held = self._held.get(token)
        if held is None:
            return []
        self._forget(token)
        return [Stop(held.lease.task)] if held.place is _Place.TAKEN else []

    def _forget(self, token: str) -> None:
        held = self._held.pop(token)
        del self._tokens[held.lease.task.number]

    def wants(self, digest: str) -> bool:
        """Tell whether the hub was asked for this part."""
        return digest in self._wanted

    def arrived(self, digest: str) -> None:
        """Note that a part is here now."""
        self._wanted.discard(digest)
        for held in self._held.values():
            if held.place is _Place.FETCHING:
                held.missing.discard(digest)
                if not held.missing:
                    held.place = _Place.READY

    def absent(self, digest: str, why: str) -> list[Instruction]:
        """Answer for the tasks that need a part which cannot be had."""
        self._wanted.discard(digest)
        said: list[Instruction] = []
        for token, held in list(self._held.items()):
            if held.place is _Place.FETCHING and digest in held.missing:
                held.missing.clear()
                held.answer = Answer(ok=False, cause=NO_CODE, error=why)
                said += self._answer(token, held)
        return said

    # What the minion does

    def lease(self, limit: int) -> tuple[list[Lease], list[Instruction]]:
        """Give the minion up to `limit` leases, and ask the hub for what it could take beyond."""
        given: list[Lease] = []
        incoming = 0
        self._left_at = math.inf
        for held in self._held.values():
            if held.place is _Place.READY and len(given) < limit:
                held.place = _Place.TAKEN
                given.append(held.lease)
            elif held.place in {_Place.READY, _Place.FETCHING}:
                incoming += 1
        wish = max(0, limit - len(given) - incoming)
        self._wish = wish
        # the hub has room for more than half of it already: that is soon enough said
        if self._credit * 2 < wish or self._credit > limit:
            return given, self._ask(wish)
        return given, []

    def _ask(self, count: int) -> list[Instruction]:
        if not self._online or count == self._credit:
            return []
        self._credit = count
        return [Ask(count)]

    def left(self, now: float) -> None:
        """Note that the minion waits for tasks no more: it runs some."""
        self._left_at = now

    def due(self) -> float:
        """Tell when `tick` has something to do; infinity: not before something else happens."""
        if self._credit or any(self._idle()):
            return self._left_at + PATIENCE_SECONDS
        return math.inf

    def tick(self, now: float) -> list[Instruction]:
        """Let others have what would wait here behind a long task."""
        if now < self._left_at + PATIENCE_SECONDS:
            return []
        self._wish = 0
        return self._ask(0) + self._give_back(self._idle())

    def _idle(self) -> list[str]:
        return [
            token
            for token, held in self._held.items()
            if held.place in {_Place.READY, _Place.FETCHING}
        ]

    def call_of(self, task: Task) -> Call | None:
        """Give what a taken task calls; None when the hub has taken it back."""
        held = self._held.get(self._tokens.get(task.number, ""))
        return None if held is None else held.call

    def answered(self, task: Task, answer: Answer) -> None:
        """Keep the answer of a taken task until its lease is acknowledged."""
        held = self._held.get(self._tokens.get(task.number, ""))
        if held is not None:
            held.answer = answer

    def extend(self, leases: Sequence[Lease]) -> list[Lease]:
        """Return the leases that are ours no more."""
        return [lease for lease in leases if lease.token not in self._held]

    def end(
        self, leases: Iterable[Lease], default: Callable[[Lease], Answer]
    ) -> tuple[list[Lease], list[Instruction]]:
        """Send the answers of leases.

        Args:
            leases: of tasks that have ended.
            default: makes the answer of a task that none was left for.

        Returns:
            Those that are ours no more, and what to tell the hub.
        """
        lost: list[Lease] = []
        said: list[Instruction] = []
        for lease in leases:
            held = self._held.get(lease.token)
            if held is None:
                lost.append(lease)
                continue
            if held.answer is None:
                held.answer = default(lease)
            said += self._answer(lease.token, held)
        return lost, said

    def _answer(self, token: str, held: _Held) -> list[Instruction]:
        assert held.answer is not None  # noqa: S101 - who calls has seen to it
        held.place = _Place.ANSWERED
        held.call = None
        return [Done(token, held.answer)] if self._online else []

    def give_back(self, leases: Iterable[Lease]) -> list[Instruction]:
        """Give taken tasks back, unrun."""
        return self._give_back([lease.token for lease in leases])

    def _give_back(self, tokens: list[str]) -> list[Instruction]:
        ours = [token for token in tokens if token in self._held]
        for token in ours:
            self._forget(token)
        if not ours:
            return []
        if not self._online:
            self._returned += ours
            return []
        return [GiveBack(ours)]

    def leave(self) -> list[Instruction]:
        """Give back all that has not been answered, and ask for nothing more."""
        self._wish = 0
        rest = [t for t, held in self._held.items() if held.place is not _Place.ANSWERED]
        return self._ask(0) + self._give_back(rest)

    @property
    def unsettled(self) -> int:
        """Answers that the hub has not confirmed."""
        return sum(held.place is _Place.ANSWERED for held in self._held.values())
