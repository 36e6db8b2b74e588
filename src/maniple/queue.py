"""The queue contract: where tasks wait, and how they are leased.

At least once: what is acknowledged never comes back; what is not comes back when its lease lapses.
Every call takes and gives batches, because the batch is what makes an embedded queue fast.
A queue object belongs to one process; calls from several threads must be serialised by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from maniple.task import Task


class State(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    DELAYED = "delayed"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


class Lease(NamedTuple):
    """The right to run one task for a while.

    Attributes:
        task: what to run.
        token: the backend's own mark of this lease; opaque to everyone else.
    """

    task: Task
    token: Any


class Failure(msgspec.Struct, frozen=True):
    """Why a task was set aside.

    Attributes:
        cause: a few words that group alike failures: `exit 3`, `timeout`, `ValueError`.
        error: the whole message, a traceback perhaps.
        output: the end of what the task printed.
        at: when, in seconds since the epoch.
    """

    cause: str
    error: str
    output: str = ""
    at: float = 0.0


class Record(msgspec.Struct, frozen=True):
    """A task as a queue knows it, for lists and exports."""

    task: Task
    state: State
    failure: Failure | None = None


class QueueStats(msgspec.Struct, frozen=True):
    """How many tasks stand where; None where a backend cannot know.

    Attributes:
        oldest: seconds that the oldest waiting task has waited, where known.
    """

    waiting: int | None
    delayed: int | None
    leased: int | None
    done: int | None
    failed: int | None
    oldest: float | None = None

    @property
    def total(self) -> int | None:
        """All tasks the queue has taken, or None where a count is missing."""
        total = 0
        for count in (self.waiting, self.delayed, self.leased, self.done, self.failed):
            if count is None:
                return None
            total += count
        return total

    @property
    def drained(self) -> bool:
        """Nothing is left to run: nothing waits, is delayed or is leased by anybody."""
        return not (self.waiting or self.delayed or self.leased)


class Guarantees(msgspec.Struct, frozen=True):
    """What a backend promises.

    Attributes:
        durable: what was put survives the death of every process.
        shared: minions in other processes may use it at the same time.
        machines: minions on other machines may use it at the same time.
        redelivers: a lease that lapses comes back by itself.
        counts: `stats` knows every number.
        finite: an empty queue stays empty unless somebody puts more.
        unique: `put` leaves out what the queue knows, so that a sweep can be put again.
        ordered: one who leases alone gets new tasks in the order they were put.
        keeps_place: a task that was given back comes before those put after it.
        numbered: tasks have numbers, from 1 in the order they were put (0 otherwise).
        lists: `records`, `find`, `retry` and `purge` know tasks in every state (else failed ones).
        late_acks: a lapsed lease is still acknowledged while nobody has taken its task since.
        counts_lapses: a task whose minions all die is set aside after `MAX_LAPSES`.
    """

    durable: bool
    shared: bool
    machines: bool
    redelivers: bool
    counts: bool
    finite: bool
    unique: bool = True
    ordered: bool = True
    keeps_place: bool = True
    numbered: bool = True
    lists: bool = True
    late_acks: bool = True
    counts_lapses: bool = True


@runtime_checkable
class Queue(Protocol):
    """What every backend offers. Time is in seconds.

    A backend that talks over a network connects again by itself: a call that loses its connection
    is repeated until the time that the URL's option `reconnect` allows is up, and only then raises
    StorageError. What the server did while its answer was lost must not be done twice where the
    queue is `unique`, and loses nothing anywhere.

    Attributes:
        guarantees: what this backend promises.
        url: opens the same queue in another process; it may hold credentials (see `urls.redact`).
    """

    guarantees: Guarantees
    url: str

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is known already are left out.

        Returns:
            How many were new.

        Raises:
            StorageError: the backend could not keep them.
        """
        ...

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one.

        An empty list means that nothing can be leased now; `stats().drained` says whether it
        can later. A task whose lease lapsed more than `MAX_LAPSES` times is set aside as failed.
        """
        ...

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        ...

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more and run (or ran) elsewhere.

        A lapsed lease whose task nobody has taken since is still acknowledged, where the backend
        promises `late_acks`; elsewhere it is returned.
        """
        ...

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay`.

        `attempted` counts the attempt; tasks given back unrun keep their number.
        Leases that are ours no more are ignored.
        """
        ...

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason; they run again after `retry` only."""
        ...

    def stats(self) -> QueueStats:
        """Count the tasks, cheaply enough to be called a few times a second."""
        ...

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all.

        Raises:
            NotSupportedError: the backend cannot list them.
        """
        ...

    def find(self, key: str) -> Record | None:
        """Look a task up by its id (the first digits, if they are enough) or its number."""
        ...

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        ...

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        ...

    def close(self) -> None:
        """Let go of files and connections. Leases still held lapse, or are noticed to be ours."""
        ...


@runtime_checkable
class Remote(Protocol):
    """A queue behind a network: each call costs somebody else something.

    Attributes:
        idle: seconds that a minion with nothing to do may wait in one call of `lease`.
        quiet: where `stats` cannot count leases (`leased` is None), a minion takes the queue for
            drained after so many seconds without a task: longer than a dead minion's task stays
            away.
    """

    idle: float
    quiet: float


@runtime_checkable
class Journaled(Protocol):
    """A queue on which a finished task can be noted for less than an acknowledgement costs."""

    def jot(self, leases: Sequence[Lease]) -> bool:
        """Note that tasks are done, in a way that outlives this process; `ack` follows.

        Returns:
            False where notes cannot be kept now: acknowledge at once.
        """
        ...


MAX_LAPSES = 10
"""A task that outlived so many minions kills them, most likely; it is set aside as failed."""


def lost_failure(lapses: int, at: float) -> Failure:
    """The reason that a task is set aside whose minions all died."""
    return Failure("lost", f"its minion died or fell silent {lapses} times while running it", at=at)


def as_tasks(items: Iterable[Any]) -> Iterator[Task]:
    """Let callers put plain params as well as tasks."""
    for item in items:
        yield item if isinstance(item, Task) else Task.of(item)
