"""Tasks on a Redis or Valkey server, or a cluster of them: `redis://HOST:PORT/[DB/]NAME`.

Every task is an entry of a stream, and a consumer group says who holds it. What the stream cannot
say (deadlines, delays, places of tasks that were given back, failures, what is done) stands in keys
beside it; `redis_scripts` tells which. Each call is one script on the server: all of it happens, or
nothing.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec

from maniple import owner
from maniple.errors import ParamError, QueueError
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
from maniple.queues import redis_admin as admin
from maniple.queues.redis_link import Link, Place
from maniple.queues.redis_lua import FORMAT, Script
from maniple.queues.redis_scripts import ACK, BURY, EXTEND, FAIL, LEASE, LEAVE, NACK, OPEN, PUT
from maniple.queues.redis_scripts_admin import STATS
from maniple.task import ID_BYTES, Task
from maniple.urls import redact

BATCH: Final = 1000
BATCH_BYTES: Final = 1 << 21
REPLY_BYTES: Final = 1 << 26
LONGEST_BLOCK_SECONDS: Final = 1.0
SHORTEST_BLOCK_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 0.5
LOOK_SECONDS_EACH: Final = 0.02
_encode = msgspec.json.Encoder().encode


class RedisQueue:
    """The queue `redis://[USER:PASSWORD@]HOST[:PORT]/[DB/]NAME[?OPTIONS]`.

    A first part of the path that is a number is the database's. Several hosts, with commas between
    them, are tried in turn. The server has the clock.

    Options of the URL: `cluster=1` (or 0) says that the server is (not) part of a cluster, which is
    found out otherwise; `ca`, `cert` and `key` are files for `rediss:`; `reconnect` is for how many
    seconds a call tries to get a lost connection back (60). User, password and files may stand in
    `REDIS_USER`, `REDIS_PASSWORD`, `REDIS_CA`, `REDIS_CERT` and `REDIS_KEY`.

    Args:
        rest: the URL after the scheme's colon.
        create: make the queue when it does not exist.
        clock: seconds, instead of the server's time.
        wall: seconds since the epoch, for the records of failures.

    Raises:
        UsageError: the URL is malformed.
        QueueError: the queue is missing, of another kind, or not permitted; the server is too old.
        StorageError: nobody answers.
    """

    scheme: ClassVar[str] = "redis"
    guarantees = Guarantees(
        durable=True, shared=True, machines=True, redelivers=True, counts=True, finite=True
    )
    idle = 1.0
    quiet = 5.0

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"{self.scheme}:{rest}"
        place = Place(self.scheme, rest)
        self._clock = clock
        self._wall = wall
        self._key = f"{{maniple:{place.name}}}"
        unique = os.urandom(6).hex()
        self._me = f"{owner.identity()}:{unique}"
        self._calls = (f"{unique}.{number}" for number in itertools.count(1))
        self._known = False
        self._look_at = 0.0
        self._link = Link(place)
        try:
            self._open(place.address.shown, create=create)
        except BaseException:
            self._link.close()
            raise

    def _open(self, shown: str, *, create: bool) -> None:
        found = self._run(OPEN, FORMAT if create else "").decode()
        if not found:
            raise QueueError(
                f"there is no queue {shown}; fill it first: maniple sweep -q {redact(self.url)} ..."
            )
        if found != FORMAT:
            raise QueueError(f"{shown} has queue format {found}; this maniple reads {FORMAT}")

    def _run(self, script: Script, *words: Any, call: str = "") -> Any:
        now = "" if self._clock is None else repr(self._clock())
        lost = _encode(lost_failure(MAX_LAPSES + 1, self._wall()))
        head = (self._me, call or next(self._calls), now, REPLY_BYTES, lost, MAX_LAPSES)
        return self._link.script(script, self._key, *head, *words)

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is known already are left out. Return how many were new."""
        self._known = True
        added = size = 0
        words: list[bytes] = []
        for task in as_tasks(tasks):
            words += (_raw(task.id), task.data)
            size += len(task.data)
            if len(words) >= 2 * BATCH or size >= BATCH_BYTES:
                added += int(self._run(PUT, *words))
                words.clear()
                size = 0
        if words:
            added += int(self._run(PUT, *words))
        return added

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one.

        The wait is real time, whatever the clock.
        """
        until = time.monotonic() + wait
        leases: list[Lease] = []
        while True:
            asked = min(limit - len(leases), BATCH)
            taken, pause, buried = self._take(asked, ttl)
            leases += taken
            if len(taken) == asked and 0 < len(leases) < limit:
                continue
            left = until - time.monotonic()
            if leases or limit <= 0 or (left <= 0 and not buried):
                return leases
            if not buried:
                pause = max(SHORTEST_BLOCK_SECONDS, min(left, pause))
                rung = self._link.command("BLPOP", f"{self._key}:bell", f"{pause:.3f}")
                if rung is None and pause >= left:
                    return leases

    def _take(self, limit: int, ttl: float) -> tuple[list[Lease], float, bool]:
        """Lease once; tell how long nothing changes by itself, and whether we changed something."""
        self._known = True
        look = time.monotonic() >= self._look_at
        token = next(self._calls)
        reply = self._run(LEASE, limit, repr(float(ttl)), int(look), call=token)
        if reply[0]:
            return [Lease(task, token) for task in admin.tasks(*reply[:5])], 0.0, False
        due = float(reply[1]) if reply[1] else LONGEST_BLOCK_SECONDS
        return [], min(due, LONGEST_BLOCK_SECONDS), look and self._bury(reply[2])

    def _bury(self, names: list[bytes]) -> bool:
        """Take their leases from processes of this machine that have ended."""
        self._look_at = time.monotonic() + LOOK_SECONDS + LOOK_SECONDS_EACH * len(names)
        dead = [name for name in names if owner.is_dead(name.decode().rpartition(":")[0])]
        for name in dead:
            self._run(BURY, name)
        return bool(dead)

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        return self._settle(EXTEND, leases, repr(float(ttl)))

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        return self._settle(ACK, leases)

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        self._settle(NACK, leases, repr(float(max(delay, 0.0))), int(attempted))

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        for start in range(0, len(failures), BATCH):
            some = failures[start : start + BATCH]
            reasons = [_written(failure) for _, failure in some]
            self._settle(FAIL, [lease for lease, _ in some], *reasons)

    def _settle(self, script: Script, leases: Sequence[Lease], *words: Any) -> list[Lease]:
        lost: list[Lease] = []
        for start in range(0, len(leases), BATCH):
            some = leases[start : start + BATCH]
            numbers = ",".join([str(lease.task.number) for lease in some])
            tokens = [lease.token for lease in some]
            same = tokens.count(tokens[0]) == len(tokens)
            told = self._run(script, numbers, tokens[0] if same else ",".join(tokens), *words)
            if told:
                lost += [some[int(place) - 1] for place in told.split(b",")]
        return lost

    def stats(self) -> QueueStats:
        """Count the tasks."""
        total, leased, delayed, done, failed, oldest = self._run(STATS)
        return QueueStats(
            waiting=total - leased - delayed - done - failed,
            delayed=delayed,
            leased=leased,
            done=done,
            failed=failed,
            oldest=float(oldest) if oldest else None,
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all, in the order they were put."""
        return admin.records(self._run, state)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        return admin.find(self._run, key)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        self._known = True
        return admin.retry(self._run, ids)

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        self._known = True
        return admin.purge(self._run, state)

    def close(self) -> None:
        """Let go of the connection; leases still held lapse, or end with this process."""
        if self._known:
            self._known = False
            head = (self._me, "", "0", REPLY_BYTES, "", MAX_LAPSES)
            self._link.last_word(LEAVE, self._key, *head)
        self._link.close()


class RedissQueue(RedisQueue):
    """The queue `rediss:`, which is `redis:` over TLS. See there."""

    scheme = "rediss"


def _raw(task_id: str) -> bytes:
    raw = admin.raw_id(task_id)
    if raw is None:
        raise ParamError(f"not a task's id: {task_id!r}; {2 * ID_BYTES} hexadecimal digits are")
    return raw


def _written(failure: Failure) -> bytes:
    try:
        return _encode(failure)
    except UnicodeEncodeError:
        cause, error, output = map(_text, (failure.cause, failure.error, failure.output))
        return _encode(Failure(cause, error, output, failure.at))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
