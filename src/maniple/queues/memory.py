"""A queue in this process's memory: `memory:`. It ends with the process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush

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


class _Entry:
    """A task and where it stands; `serial` is its latest lease, 0 once that one is settled."""

    __slots__ = ("deadline", "failure", "lapses", "serial", "since", "state", "task")

    def __init__(self, task: Task, since: float) -> None:
        self.task = task
        self.state = State.WAITING
        self.since = since
        self.serial = 0
        self.deadline = 0.0
        self.lapses = 0
        self.failure: Failure | None = None


class MemoryQueue:
    """Tasks in memory, for one process; its threads may share it.

    Args:
        rest: the URL after `memory:`; it means nothing.
        create: accepted for the sake of all backends alike.
        clock: seconds that only grow; leases and delays are measured with it.
        wall: seconds since the epoch, for the records of failures.
        keep_done: remember the tasks that are done. Without it they are counted only, which keeps
            an endless stream in bounds, but a task put again after it was done is new.
    """

    guarantees = Guarantees(
        durable=False, shared=False, machines=False, redelivers=True, counts=True, finite=True
    )

    def __init__(
        self,
        rest: str = "",
        *,
        create: bool = True,  # noqa: ARG002 - every backend takes it
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        keep_done: bool = True,
    ) -> None:
        self.url = f"memory:{rest}"
        self._clock = clock
        self._wall = wall
        self._keep_done = keep_done
        self._changed = threading.Condition(threading.RLock())
        self._entries: dict[str, _Entry] = {}
        self._ids: dict[int, str] = {}
        self._counts: Counter[State] = Counter()
        # these heaps may hold stale items: the entry tells what holds now
        self._ready: list[int] = []
        self._later: list[tuple[float, int]] = []
        self._leased: list[tuple[float, int, str]] = []
        self._last_number = 0
        self._last_serial = 0

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is known already are left out. Return how many were new."""
        added = 0
        for task in as_tasks(tasks):
            with self._changed:
                if task.id in self._entries:
                    continue
                added += 1
                self._last_number = number = self._last_number + 1
                numbered = Task(task.id, task.data, task.attempt, number)
                self._entries[task.id] = _Entry(numbered, self._clock())
                self._ids[number] = task.id
                self._counts[State.WAITING] += 1
                heappush(self._ready, number)
                self._changed.notify()
        return added

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one.

        The wait is real time, whatever the clock.
        """
        until = time.monotonic() + wait
        with self._changed:
            while True:
                now = self._clock()
                self._tidy(now)
                leases = self._take(limit, now + ttl)
                left = until - time.monotonic()
                if leases or left <= 0:
                    return leases
                heads = [heap[0][0] - now for heap in (self._later, self._leased) if heap]
                self._changed.wait(max(0.001, min(left, *heads)) if heads else left)

    def _take(self, limit: int, deadline: float) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and self._ready:
            task_id = self._ids.get(heappop(self._ready))
            entry = None if task_id is None else self._entries[task_id]
            if entry is None or entry.state is not State.WAITING:
                continue
            self._last_serial = entry.serial = self._last_serial + 1
            self._hold(entry, deadline)
            leases.append(Lease(entry.task, entry.serial))
        return leases

    def _hold(self, entry: _Entry, deadline: float) -> None:
        self._move(entry, State.LEASED)
        entry.deadline = deadline
        heappush(self._leased, (deadline, entry.serial, entry.task.id))

    def _move(self, entry: _Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _wait_again(self, entry: _Entry, now: float) -> None:
        self._move(entry, State.WAITING)
        entry.since = now
        heappush(self._ready, entry.task.number)

    def _tidy(self, now: float) -> None:
        """Let delays end and leases lapse."""
        later, leased = self._later, self._leased
        while later and later[0][0] <= now:
            due, number = heappop(later)
            entry = self._entries.get(self._ids.get(number, ""))
            if entry is not None and entry.state is State.DELAYED and entry.deadline == due:
                self._wait_again(entry, now)
        while leased and leased[0][0] <= now:
            _, serial, task_id = heappop(leased)
            entry = self._entries.get(task_id)
            if entry is None or entry.serial != serial or entry.state is not State.LEASED:
                continue
            if entry.deadline > now:
                heappush(leased, (entry.deadline, serial, task_id))
                continue
            entry.lapses += 1
            if entry.lapses > MAX_LAPSES:
                entry.failure = lost_failure(entry.lapses, self._wall())
                self._move(entry, State.FAILED)
            else:
                self._wait_again(entry, now)

    def _ours(self, lease: Lease) -> _Entry | None:
        entry = self._entries.get(lease.task.id)
        return entry if entry is not None and entry.serial == lease.token else None

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        with self._changed:
            now = self._clock()
            self._tidy(now)
            lost = []
            for lease in leases:
                entry = self._ours(lease)
                if entry is None or entry.state is State.FAILED:
                    lost.append(lease)
                elif entry.state is State.LEASED and entry.deadline <= now + ttl:
                    entry.deadline = now + ttl
                else:
                    self._hold(entry, now + ttl)
            return lost

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        with self._changed:
            lost = []
            for lease in leases:
                entry = self._ours(lease)
                if entry is None:
                    lost.append(lease)
                    continue
                entry.serial = 0
                entry.failure = None
                self._move(entry, State.DONE)
                if not self._keep_done:
                    self._forget(entry)
            return lost

    def _forget(self, entry: _Entry) -> None:
        del self._ids[entry.task.number]
        del self._entries[entry.task.id]

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        with self._changed:
            now = self._clock()
            self._tidy(now)
            for lease in leases:
                entry = self._ours(lease)
                if entry is None or entry.state is State.FAILED:
                    continue
                task, entry.serial = entry.task, 0
                entry.task = Task(task.id, task.data, task.attempt + attempted, task.number)
                if delay > 0:
                    self._move(entry, State.DELAYED)
                    entry.deadline = now + delay
                    heappush(self._later, (entry.deadline, task.number))
                else:
                    self._wait_again(entry, now)
            self._changed.notify_all()

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        with self._changed:
            for lease, failure in failures:
                entry = self._ours(lease)
                if entry is not None:
                    entry.serial = 0
                    entry.failure = failure
                    self._move(entry, State.FAILED)

    def stats(self) -> QueueStats:
        """Count the tasks."""
        with self._changed:
            now = self._clock()
            self._tidy(now)
            counts = self._counts
            oldest = None
            while self._ready:
                entry = self._entries.get(self._ids.get(self._ready[0], ""))
                if entry is not None and entry.state is State.WAITING:
                    oldest = now - entry.since
                    break
                heappop(self._ready)
            return QueueStats(
                waiting=counts[State.WAITING],
                delayed=counts[State.DELAYED],
                leased=counts[State.LEASED],
                done=counts[State.DONE],
                failed=counts[State.FAILED],
                oldest=oldest,
            )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all, in the order they were put."""
        with self._changed:
            self._tidy(self._clock())
            entries = list(self._entries.values())
        for entry in entries:
            if state is None or entry.state is state:
                yield Record(entry.task, entry.state, entry.failure)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        with self._changed:
            self._tidy(self._clock())
            entry = self._entries.get(key)
            if entry is None and key.isdecimal():
                entry = self._entries.get(self._ids.get(int(key), ""))
            if entry is None and key:
                found = [e for task_id, e in self._entries.items() if task_id.startswith(key)]
                entry = found[0] if len(found) == 1 else None
            return None if entry is None else Record(entry.task, entry.state, entry.failure)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        with self._changed:
            now = self._clock()
            self._tidy(now)
            count = 0
            for task_id in list(self._entries) if ids is None else dict.fromkeys(ids):
                entry = self._entries.get(task_id)
                if entry is None or entry.state is not State.FAILED:
                    continue
                task, entry.serial, entry.lapses, entry.failure = entry.task, 0, 0, None
                entry.task = Task(task.id, task.data, 1, task.number)
                self._wait_again(entry, now)
                count += 1
            self._changed.notify_all()
            return count

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        with self._changed:
            self._tidy(self._clock())
            gone = [
                entry
                for entry in self._entries.values()
                if entry.state is not State.LEASED and state in {None, entry.state}
            ]
            for entry in gone:
                self._counts[entry.state] -= 1
                self._forget(entry)
            return len(gone)

    def close(self) -> None:
        """Do nothing: the tasks end with the object."""
