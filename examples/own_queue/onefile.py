"""A queue of one's own: all tasks in one JSON file, `onefile:PATH`. Simple, complete, and slow.

Every call reads the file, changes what it has read, and replaces the file, under a lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from maniple import owner
from maniple.errors import QueueError
from maniple.queue import (
    MAX_LAPSES,
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    as_tasks,
    lost_failure,
)
from maniple.task import Task

POLL_SECONDS = 0.02


class Entry(msgspec.Struct):
    """A task and where it stands."""

    id: str
    data: str
    number: int
    since: float
    state: State = State.WAITING
    attempt: int = 1
    token: str = ""
    holder: str = ""
    until: float = 0.0
    lapses: int = 0
    failure: Failure | None = None

    def task(self) -> Task:
        """Make the task as the contract knows it."""
        return Task(self.id, self.data.encode(), self.attempt, self.number)

    def wait_again(self, now: float) -> None:
        """Let it be leased from now on."""
        self.state, self.token, self.since = State.WAITING, "", now


class Content(msgspec.Struct):
    """What the file holds: entries in the order of their numbers."""

    entries: dict[str, Entry] = {}
    last: int = 0


class OneFileQueue:
    """The queue `onefile:PATH`, for any number of minions on one machine.

    Args:
        rest: the URL after the scheme.
        create: make the queue when there is none.
        clock: seconds that only grow, the same for all processes of the machine.
        wall: seconds since the epoch, for what people read.
    """

    guarantees = Guarantees(
        durable=True, shared=True, machines=False, redelivers=True, counts=True, finite=True
    )

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"onefile:{rest}"
        self._path = rest
        self._clock = clock
        self._wall = wall
        if not create and not os.path.exists(rest):
            raise QueueError(f"no queue {self.url}: fill it first: maniple sweep -q {self.url} ...")

    @contextmanager
    def _opened(self) -> Iterator[Content]:
        """Read the file, let what is due happen, and write what the caller has changed."""
        with open(f"{self._path}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with open(self._path, "rb") as file:
                    before = file.read()
            except FileNotFoundError:
                before = b"{}"
            content = msgspec.json.decode(before, type=Content)
            self._tidy(content)
            yield content
            after = msgspec.json.encode(content)
            if after != before:
                with open(f"{self._path}.new", "wb") as file:
                    file.write(after)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(f"{self._path}.new", self._path)

    def _tidy(self, content: Content) -> None:
        """End delays, and leases that lapsed or whose process has died."""
        now = self._clock()
        for entry in content.entries.values():
            if entry.state is State.DELAYED and entry.until <= now:
                entry.wait_again(now)
            elif entry.state is State.LEASED and (
                entry.until <= now or owner.is_dead(entry.holder)
            ):
                entry.lapses += 1
                if entry.lapses > MAX_LAPSES:
                    entry.state = State.FAILED
                    entry.failure = lost_failure(entry.lapses, self._wall())
                else:
                    # the token stays: who comes late is still heard while nobody else has it
                    entry.state, entry.since = State.WAITING, now

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is known already are left out."""
        with self._opened() as content:
            before = len(content.entries)
            for task in as_tasks(tasks):
                if task.id not in content.entries:
                    content.last += 1
                    content.entries[task.id] = Entry(
                        task.id, task.data.decode(), content.last, self._clock()
                    )
            return len(content.entries) - before

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one."""
        deadline = time.monotonic() + wait
        while True:
            leases = self._take(limit, ttl)
            if leases or time.monotonic() >= deadline:
                return leases
            time.sleep(POLL_SECONDS)

    def _take(self, limit: int, ttl: float) -> list[Lease]:
        leases: list[Lease] = []
        with self._opened() as content:
            for entry in content.entries.values():
                if len(leases) >= limit:
                    break
                if entry.state is State.WAITING:
                    entry.state, entry.until = State.LEASED, self._clock() + ttl
                    entry.token, entry.holder = os.urandom(8).hex(), owner.identity()
                    leases.append(Lease(entry.task(), entry.token))
        return leases

    @staticmethod
    def _ours(content: Content, lease: Lease) -> Entry | None:
        entry = content.entries.get(lease.task.id)
        return entry if entry is not None and entry.token == lease.token else None

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases; return those that are ours no more."""
        lost = []
        with self._opened() as content:
            for lease in leases:
                entry = self._ours(content, lease)
                if entry is None or entry.state is State.FAILED:
                    lost.append(lease)
                else:
                    entry.state, entry.until = State.LEASED, self._clock() + ttl
        return lost

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        lost = []
        with self._opened() as content:
            for lease in leases:
                entry = self._ours(content, lease)
                if entry is None:
                    lost.append(lease)
                else:
                    entry.state, entry.token, entry.failure = State.DONE, "", None
        return lost

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        with self._opened() as content:
            for lease in leases:
                entry = self._ours(content, lease)
                if entry is None or entry.state is State.FAILED:
                    continue
                entry.attempt += attempted
                entry.wait_again(self._clock())
                if delay > 0:
                    entry.state, entry.until = State.DELAYED, self._clock() + delay

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        with self._opened() as content:
            for lease, failure in failures:
                entry = self._ours(content, lease)
                if entry is not None:
                    entry.state, entry.token = State.FAILED, ""
                    error, output = (
                        text.encode("utf-8", "replace").decode()
                        for text in (failure.error, failure.output)
                    )
                    entry.failure = Failure(failure.cause, error, output, failure.at)

    def stats(self) -> QueueStats:
        """Count the tasks."""
        with self._opened() as content:
            entries = content.entries.values()
            counts = Counter(entry.state for entry in entries)
            since = [entry.since for entry in entries if entry.state is State.WAITING]
        oldest = self._clock() - min(since) if since else None
        return QueueStats(**{str(state): counts[state] for state in State}, oldest=oldest)

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all."""
        with self._opened() as content:
            entries = list(content.entries.values())
        for entry in entries:
            if state in {None, entry.state}:
                yield Record(entry.task(), entry.state, entry.failure)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        found = []
        for record in self.records():
            if key in {record.task.id, str(record.task.number)}:
                return record
            if key and record.task.id.startswith(key):
                found.append(record)
        return found[0] if len(found) == 1 else None

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        count = 0
        with self._opened() as content:
            for entry in content.entries.values():
                if entry.state is State.FAILED and (ids is None or entry.id in ids):
                    entry.attempt, entry.lapses, entry.failure = 1, 0, None
                    entry.wait_again(self._clock())
                    count += 1
        return count

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        with self._opened() as content:
            kept = {
                entry.id: entry
                for entry in content.entries.values()
                if entry.state is State.LEASED or state not in {None, entry.state}
            }
            count = len(content.entries) - len(kept)
            content.entries = kept
        return count

    def close(self) -> None:
        """Do nothing: no call leaves anything open."""
