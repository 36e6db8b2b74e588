"""A queue in one SQLite file: the default, with nothing to install.

A task costs little because most of what happens to it is never written. Fresh tasks are handed
out in order: `state.handed` is the last one, and a batch is one row of `leases` that holds a range
of numbers. An acknowledgement shrinks the range. What has been handed out and is neither leased,
nor in `again`, nor in `failed`, is done. So the cost of a task does not grow with their number.

Times are seconds since the machine's boot: one clock for all its processes, which nobody sets.
After another boot every lease has lapsed, since no minion outlives it.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from maniple import owner
from maniple.queue import (
    MAX_LAPSES,
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    lost_failure,
)
from maniple.queues import sqlite_admin, sqlite_fill
from maniple.queues.sqlite_file import SqliteFile, boot_clock, boot_id
from maniple.queues.sqlite_journal import Journal
from maniple.task import Task

POLL_SECONDS: Final = 0.01
DEATH_CHECK_SECONDS: Final = 0.2


class SqliteQueue:
    """The queue `sqlite:FILE`, for any number of minions on one machine.

    Args:
        rest: the file's path.
        create: make the file when there is none.
        clock: seconds, common to all processes that use the file.
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
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"sqlite:{rest}"
        self._file = SqliteFile(rest, create=create)
        self._clock = clock
        self._wall = wall
        # a process may open a queue twice: each object has leases and notes of its own
        self._owner = f"{owner.identity()}.{random.getrandbits(64):016x}"
        self._journal = Journal(rest, self._owner)
        self._next_death_check = 0.0
        self._flowing = False
        try:
            self._notice_boot(boot_id())
        except BaseException:
            self._file.close()
            raise

    def _notice_boot(self, boot: str) -> None:
        if self._file.read("SELECT boot FROM state") != [(boot,)]:
            with self._file.writing():
                self._file.execute("UPDATE leases SET until = 0")
                self._file.execute("UPDATE again SET due = 0")
                self._file.execute("UPDATE state SET boot = ?", (boot,))

    def put(self, tasks: Iterable[Any]) -> int:
        """Add tasks in batches that double: minions start early, and a million takes seconds."""
        return sqlite_fill.fill(self._file, tasks)

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks; returned ones first, then fresh ones in order.

        The wait is real time, whatever the clock.
        """
        deadline = time.monotonic() + wait
        while True:
            dead = [] if self._flowing else self._dead_owners()
            if limit > 0 and (self._flowing or dead or self._has_work()):
                leases = self._take(limit, ttl, dead)
                for holder in dead:
                    Journal.remove(self._file.path, holder)
                self._flowing = len(leases) == limit
                if leases:
                    return leases
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            time.sleep(min(left, POLL_SECONDS))

    def _has_work(self) -> bool:
        now = self._clock()
        return bool(
            self._file.read(
                "SELECT (SELECT max(seq) FROM tasks) > handed"
                " OR EXISTS (SELECT 1 FROM again WHERE due <= ?)"
                " OR EXISTS (SELECT 1 FROM leases WHERE until <= ?) FROM state",
                (now, now),
            )[0][0]
        )

    def _dead_owners(self) -> list[str]:
        """Find holders of leases whose processes have ended; look every now and then only."""
        now = self._clock()
        if now < self._next_death_check:
            return []
        self._next_death_check = now + DEATH_CHECK_SECONDS
        return [
            holder
            for (holder,) in self._file.read("SELECT DISTINCT owner FROM leases")
            if _is_dead(holder)
        ]

    def _take(self, limit: int, ttl: float, dead: Sequence[str]) -> list[Lease]:
        file = self._file
        now = self._clock()
        until = now + ttl
        taken: list[Lease] = []
        with file.writing():
            self._lapse(now, dead)
            returned = file.execute(
                "SELECT a.seq, t.id, t.param, a.attempt, a.lapses FROM again a JOIN tasks t"
                " USING (seq) WHERE a.due <= ? ORDER BY a.due, a.seq LIMIT ?",
                (now, limit),
            ).fetchall()
            for seq, key, data, attempt, lapses in returned:
                token = random.getrandbits(62)
                file.execute("DELETE FROM again WHERE seq = ?", (seq,))
                file.execute(
                    "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (token, seq, seq, until, self._owner, attempt, lapses),
                )
                taken.append(Lease(Task(key.hex(), data, attempt, seq), token))
            if len(taken) < limit:
                fresh = file.execute(
                    "SELECT seq, id, param FROM tasks WHERE seq > (SELECT handed FROM state)"
                    " ORDER BY seq LIMIT ?",
                    (limit - len(taken),),
                ).fetchall()
                if fresh:
                    token = random.getrandbits(62)
                    last = fresh[-1][0]
                    file.execute("UPDATE state SET handed = ?", (last,))
                    file.execute(
                        "INSERT INTO leases VALUES (?, ?, ?, ?, ?, 1, 0)",
                        (token, fresh[0][0], last, until, self._owner),
                    )
                    taken += [
                        Lease(Task(key.hex(), data, 1, seq), token) for seq, key, data in fresh
                    ]
        return taken

    def _lapse(self, now: float, dead: Sequence[str]) -> None:
        """Take back what lapsed, and what the dead held.

        A minion runs its tasks in the order it leased them: the first that it has not finished was
        running, and is the only one to count a lapse.
        """
        file = self._file
        columns = "SELECT rowid, first, last, owner, attempt, lapses FROM leases"
        lapsed = file.execute(f"{columns} WHERE until <= ?", (now,)).fetchall()
        for holder in dead:
            lapsed += file.execute(
                f"{columns} WHERE owner = ? AND until > ?", (holder, now)
            ).fetchall()
        finished: dict[str, set[int]] = {}
        counted: set[str] = set()
        for row, first, last, holder, attempt, lapses in sorted(lapsed):
            file.execute("DELETE FROM leases WHERE rowid = ?", (row,))
            if holder not in finished:
                finished[holder] = Journal.read(self._file.path, holder)
            left = [seq for seq in range(first, last + 1) if seq not in finished[holder]]
            if left and holder not in counted:
                counted.add(holder)
                self._count_lapse(left.pop(0), attempt, lapses + 1)
            file.executemany(
                "INSERT INTO again VALUES (?, 0, ?, ?)", ((seq, attempt, lapses) for seq in left)
            )

    def _count_lapse(self, seq: int, attempt: int, lapses: int) -> None:
        if lapses > MAX_LAPSES:
            self._set_aside(seq, attempt, lost_failure(lapses, self._wall()))
        else:
            self._file.execute("INSERT INTO again VALUES (?, 0, ?, ?)", (seq, attempt, lapses))

    def jot(self, leases: Sequence[Lease]) -> bool:
        """Note that tasks are done, in a way that outlives this process; acknowledge them later.

        Returns:
            False where notes cannot be kept: acknowledge at once.
        """
        return self._journal.add([lease.task.number for lease in leases])

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that lapsed."""
        until = self._clock() + ttl
        lost: list[Lease] = []
        if not leases:
            return lost
        with self._file.writing():
            for token, group in _by_token(leases).items():
                rows = self._file.execute(
                    "UPDATE leases SET until = ? WHERE lease = ? RETURNING first, last",
                    (until, token),
                ).fetchall()
                lost += [
                    lease
                    for lease in group
                    if not any(first <= lease.task.number <= last for first, last in rows)
                ]
        return lost

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that others have taken since."""
        lost: list[Lease] = []
        if not leases:
            return lost
        with self._file.writing():
            for token, group in _by_token(leases).items():
                gone = self._release(token, [lease.task.number for lease in group])
                if gone:
                    missing = {seq for seq in gone if not self._finish_lapsed(seq)}
                    lost += [lease for lease in group if lease.task.number in missing]
        self._journal.settled(lease.task.number for lease in leases)
        return lost

    def _finish_lapsed(self, seq: int) -> bool:
        if self._file.execute("DELETE FROM again WHERE seq = ?", (seq,)).rowcount:
            return True
        return bool(
            self._file.execute(
                "DELETE FROM failed WHERE seq = ? AND cause = 'lost'", (seq,)
            ).rowcount
        )

    def _release(self, token: int, numbers: list[int]) -> list[int]:
        """Cut numbers out of the ranges of a lease; return those that it does not hold."""
        file = self._file
        gone: list[int] = []
        numbers.sort()
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
            pending = [seq for _, seq in run]
            while pending:
                start = pending[0]
                row = file.execute(
                    "SELECT rowid, first, last, until, owner, attempt, lapses FROM leases"
                    " WHERE lease = ? AND first <= ? AND last >= ?",
                    (token, start, start),
                ).fetchone()
                if row is None:
                    gone.append(start)
                    del pending[0]
                    continue
                key, first, last, *rest = row
                end = min(pending[-1], last)
                if start == first and end == last:
                    file.execute("DELETE FROM leases WHERE rowid = ?", (key,))
                elif start == first:
                    file.execute("UPDATE leases SET first = ? WHERE rowid = ?", (end + 1, key))
                else:
                    file.execute("UPDATE leases SET last = ? WHERE rowid = ?", (start - 1, key))
                    if end < last:
                        file.execute(
                            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)",
                            (token, end + 1, last, *rest),
                        )
                del pending[: end - start + 1]
        return gone

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        if not leases:
            return
        due = self._clock() + delay if delay > 0 else 0.0
        with self._file.writing():
            for task, lapses in self._held(leases):
                self._file.execute(
                    "INSERT INTO again VALUES (?, ?, ?, ?)",
                    (task.number, due, task.attempt + attempted, lapses),
                )

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside with the reason."""
        if not failures:
            return
        reasons = {lease.task.number: failure for lease, failure in failures}
        with self._file.writing():
            for task, _ in self._held([lease for lease, _ in failures]):
                self._set_aside(task.number, task.attempt, reasons[task.number])

    def _held(self, leases: Sequence[Lease]) -> list[tuple[Task, int]]:
        """Release leases; return the tasks that were still ours, with their lapses."""
        held = []
        for token, task in [(lease.token, lease.task) for lease in leases]:
            row = self._file.execute(
                "SELECT lapses FROM leases WHERE lease = ? AND first <= ? AND last >= ?",
                (token, task.number, task.number),
            ).fetchone()
            if row is not None:
                self._release(token, [task.number])
                held.append((task, row[0]))
        return held

    def _set_aside(self, seq: int, attempt: int, failure: Failure) -> None:
        self._file.execute(
            "INSERT INTO failed VALUES (?, ?, ?, ?, ?, ?)",
            (
                seq,
                attempt,
                _text(failure.cause),
                _text(failure.error),
                _text(failure.output),
                failure.at,
            ),
        )

    def stats(self) -> QueueStats:
        """Count the tasks; the cost grows with those that are delayed only."""
        now = self._clock()
        fresh, handed, gone, leased, back, delayed, failed = self._file.read(
            "SELECT coalesce((SELECT max(seq) FROM tasks), 0) - handed, handed, gone,"
            " (SELECT coalesce(sum(last - first + 1), 0) FROM leases),"
            " back, (SELECT count(*) FROM again WHERE due > ?), failed FROM state",
            (now,),
        )[0]
        return QueueStats(
            waiting=max(fresh, 0) + back - delayed,
            delayed=delayed,
            leased=leased,
            done=handed - gone - leased - back - failed,
            failed=failed,
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks in order of their number."""
        return sqlite_admin.records(self._file, self._clock, state)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id's first digits when one task has them."""
        return sqlite_admin.find(self._file, self._clock, key)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks back as new."""
        return sqlite_admin.retry(self._file, ids)

    def purge(self, state: State | None = None) -> int:
        """Forget tasks: those of one state, or all that nobody holds."""
        return sqlite_admin.purge(self._file, self._clock(), state)

    def close(self) -> None:
        """Close the file; leases still held lapse, at once when this process ends."""
        self._journal.close()
        # in this order: what ends after the first look may have leases of its own
        gone = [name for name in Journal.names(self._file.path) if _is_gone(name)]
        if gone:
            holding = {row[0] for row in self._file.read("SELECT DISTINCT owner FROM leases")}
            for holder in gone:
                if holder not in holding:
                    Journal.remove(self._file.path, holder)
        self._file.close()


def _is_dead(holder: str) -> bool:
    return bool(owner.is_dead(holder.rpartition(".")[0]))


def _is_gone(holder: str) -> bool:
    """Tell whether a queue object's process has ended, with the system that it ran on perhaps."""
    boot = owner.identity().partition("-")[0]
    return _is_dead(holder) or holder.partition("-")[0] != boot


def _by_token(leases: Sequence[Lease]) -> dict[int, list[Lease]]:
    groups: dict[int, list[Lease]] = defaultdict(list)
    for lease in leases:
        groups[lease.token].append(lease)
    return groups


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
