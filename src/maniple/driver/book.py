"""What a driver decides about its tasks: what to say on a connection, and which answers count.

No clock, no socket: events come in, instructions go out. Whatever is lost with a connection is
said again on the next one, so that each task is answered, and answered once.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from maniple.algorithm.call import Answer, Call
from maniple.cluster.messages import (
    Cancel,
    DriverHello,
    FromDriver,
    Got,
    Refused,
    Result,
    Running,
    Submit,
    ToDriver,
    Want,
    Welcome,
)


class Send(msgspec.Struct, frozen=True, gc=False):
    """Say this to the hub, after all that was to be said before."""

    message: FromDriver


class Settle(msgspec.Struct, frozen=True, gc=False):
    """The task has ended so; there is no second answer."""

    task: str
    answer: Answer


class Started(msgspec.Struct, frozen=True, gc=False):
    """A worker has begun with the task."""

    task: str
    attempt: int


class Offer(msgspec.Struct, frozen=True, gc=False):
    """Send the hub these parts of algorithms."""

    digests: list[str]


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """The hub wants nothing to do with this driver; another connection would end the same."""

    reason: str


Instruction = Send | Settle | Started | Offer | GiveUp


class _State(Enum):
    DOWN = auto()
    GREETING = auto()
    UP = auto()


class Book:
    """The tasks of a driver that have no answer yet, and what the hub has been told of them.

    Args:
        session: names this driver to the hub, on every connection.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.user = ""
        self._state = _State.DOWN
        self._open: dict[str, Call] = {}
        self._told: set[str] = set()
        self._got: list[str] = []

    @property
    def up(self) -> bool:
        """Whether the hub has greeted us on the present connection."""
        return self._state is _State.UP

    @property
    def unanswered(self) -> list[str]:
        """The tasks that have no answer yet, in the order they came."""
        return list(self._open)

    @property
    def arrived(self) -> int:
        """How many answers the hub has not been told the arrival of."""
        return len(self._got)

    def submit(self, task: str, call: Call) -> list[Instruction]:
        """Take a new task.

        Raises:
            ValueError: it is in the book already.
        """
        if task in self._open:
            raise ValueError(f"task {task} is in the book already")
        self._open[task] = call
        if self._state is not _State.UP:
            return []
        self._told.add(task)
        return [Send(Submit(task, call))]

    def cancel(self, task: str) -> list[Instruction]:
        """Forget a task; its answer, should one come, counts no more."""
        if self._open.pop(task, None) is None:
            return []
        if task not in self._told:
            return []
        self._told.discard(task)
        # a hub drops what the next greeting does not name, should this be lost
        return [] if self._state is _State.DOWN else [Send(Cancel(task))]

    def connected(self) -> list[Instruction]:
        """Begin a connection: greet, and ask which of our tasks the hub knows."""
        self._state = _State.GREETING
        return [Send(DriverHello(self.session, [t for t in self._open if t in self._told]))]

    def lost(self) -> None:
        """End a connection. What was said on it may have arrived or not."""
        self._state = _State.DOWN

    def received(self, message: ToDriver) -> list[Instruction]:
        """Take what the hub said."""
        if isinstance(message, Result):
            return self._answered(message)
        if isinstance(message, Running):
            known = message.task in self._open
            return [Started(message.task, message.attempt)] if known else []
        if isinstance(message, Welcome):
            return self._welcomed(message)
        if isinstance(message, Want):
            return [Offer(message.digests)]
        if isinstance(message, Refused):
            return [GiveUp(message.reason)]
        return []

    def flush(self) -> list[Instruction]:
        """Say which answers have arrived since the last time."""
        if not self._got or self._state is not _State.UP:
            return []
        arrived, self._got = self._got, []
        return [Send(Got(arrived))]

    def close(self) -> list[Instruction]:
        """Forget all tasks, and say so."""
        instructions = [each for task in self.unanswered for each in self.cancel(task)]
        return instructions + self.flush()

    def _answered(self, message: Result) -> list[Instruction]:
        # the hub repeats an answer until it hears that it has arrived, a late one as well
        self._got.append(message.task)
        if self._open.pop(message.task, None) is None:
            return []
        self._told.discard(message.task)
        return [Settle(message.task, message.answer)]

    def _welcomed(self, message: Welcome) -> list[Instruction]:
        self._state = _State.UP
        self.user = message.user
        unknown = set(message.unknown)
        instructions: list[Instruction] = []
        for task, call in self._open.items():
            if task in unknown or task not in self._told:
                self._told.add(task)
                instructions.append(Send(Submit(task, call)))
        return instructions + self.flush()
