"""What the dispatch knows of tasks, leases, workers and sessions while it knows them."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from maniple.algorithm.call import Code
from maniple.hub.rules.orders import Key


class State(Enum):
    """Where a task stands."""

    WANTING = "wanting"
    """A part of its algorithm has not arrived yet."""
    READY = "ready"
    LEASED = "leased"
    ANSWERED = "answered"
    """Its driver has not said yet that the answer has arrived."""


class Lease:
    """The right of one worker to answer one task; it outlives the worker, for late answers."""

    __slots__ = ("live", "task", "token", "uid")

    def __init__(self, token: str, task: Task, uid: str) -> None:
        self.token = token
        self.task = task
        self.uid = uid
        self.live = True


class Session:
    """A driver, over all its connections.

    Attributes:
        link: of its present connection, or None.
        lost_at: when the last connection broke, in seconds.
        keep: seconds that a session without connection is kept.
    """

    __slots__ = ("keep", "link", "lost_at", "name", "tasks", "user")

    def __init__(self, user: str, name: str, link: int, keep: float) -> None:
        self.user = user
        self.name = name
        self.link: int | None = link
        self.keep = keep
        self.lost_at = 0.0
        self.tasks: dict[str, Task] = {}


class Task:
    """A task from its first submission until its answer is acknowledged, or it is cancelled.

    Attributes:
        code: its algorithm.
        lacking: how many parts of it have not arrived.
        lapses: workers that died while it ran.
        leases: all that were ever given for it, by token.
    """

    __slots__ = ("code", "lacking", "lapses", "leases", "name", "session", "state")

    def __init__(self, session: Session, name: str, code: Code) -> None:
        self.session = session
        self.name = name
        self.code = code
        self.state = State.READY
        self.lacking = 0
        self.lapses = 0
        self.leases: dict[str, Lease] = {}

    @property
    def digests(self) -> list[str]:
        """Of its algorithm's parts."""
        return self.code.digests

    @property
    def key(self) -> Key:
        """Its name in full."""
        return Key(self.session.user, self.session.name, self.name)


class Worker:
    """A worker, over all its connections.

    Attributes:
        wants: how many tasks more it can take.
        held: its live leases, in the order they were given.
        lost_at: when the last connection broke, in seconds.
    """

    __slots__ = ("held", "link", "lost_at", "name", "uid", "wants")

    def __init__(self, uid: str, link: int) -> None:
        self.uid = uid
        self.name = ""
        self.link: int | None = link
        self.wants = 0
        self.held: OrderedDict[str, Lease] = OrderedDict()
        self.lost_at = 0.0
