"""A queue in a PostgreSQL database: `postgresql://HOST/DATABASE/QUEUE`.

A task costs little because most of what happens to it is never written. Tasks are put by COPY and
stay as they are. Fresh ones are handed out from ranges of numbers (`maniple_fresh`), and a batch
of leases is a row with a range (`maniple_span`). An acknowledgement takes it away: what is in no
range and has not failed is done. Minions that lease at once take different ranges, for each skips
what another has locked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from maniple.errors import ManipleError
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State
from maniple.queues import postgresql_admin, postgresql_sql
from maniple.queues.postgresql_fill import fill
from maniple.queues.postgresql_holders import CHECK_SECONDS, Holders
from maniple.queues.postgresql_link import Link, LostError
from maniple.queues.postgresql_tables import SLOTS, find_queue, vacuum
from maniple.queues.postgresql_text import array, encoded, losses, runs
from maniple.task import Task

IDLE_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 0.25
FIRST_RANGES: Final = 16
VACUUM_EACH: Final = 20_000

_TELL: Final = "SELECT pg_notify($1, '') WHERE NOT pg_try_advisory_xact_lock($2::bigint)"


class PostgresqlQueue:
    """The queue `postgresql://USER:PASSWORD@HOST:PORT/DATABASE/QUEUE?OPTIONS`.

    Without a host, and for all that the URL does not say, libpq's environment holds: PGHOST,
    PGUSER, PGPASSWORD, PGPASSFILE, PGSERVICE, PGSSLMODE and so on. `HOST,HOST` names a primary and
    its standbys. The tables `maniple_*` are made on first use.

    Options: `sslmode`, `ca`, `cert`, `key` (files; a `ca` alone means `sslmode=verify-full`),
    `sslcrl`, `sslnegotiation`, `channel_binding`, `gssencmode`, `krbsrvname`, `host` (also the
    folder of a Unix socket), `service`, `passfile`, `application_name`, `target_session_attrs` as
    libpq has them; `schema` (of the tables); `reconnect` (seconds for which a call tries to get a
    lost connection back, 60).

    Args:
        rest: the URL after the scheme.
        create: make the queue when there is none.
        clock: seconds, common to all who use the queue; by default the server's clock.
        wall: accepted for the sake of all backends alike; failures are dated by minions.

    Raises:
        UsageError: the URL is malformed.
        QueueError: the queue is missing, of another version, or not permitted.
        StorageError: the server does not answer.
    """

    scheme = "postgresql"
    guarantees = Guarantees(
        durable=True, shared=True, machines=True, redelivers=True, counts=True, finite=True
    )
    idle = IDLE_SECONDS
    quiet = QUIET_SECONDS

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,  # noqa: ARG002 - every backend takes it
    ) -> None:
        self.url = f"{self.scheme}:{rest}"
        self._clock = clock
        # a process may open a queue twice: each object has leases of its own
        number = random.SystemRandom().getrandbits(62)
        self._holder = str(number)
        self._slot = str(number % SLOTS)
        self._ranges = FIRST_RANGES
        self._waiting = False
        self._taken = random.randrange(VACUUM_EACH)
        self._link = Link(self.scheme, rest)
        try:
            queue = find_queue(self._link, create=create)
        except BaseException:
            self._link.close()
            raise
        self._number = queue
        self._queue = str(queue)
        self._channel = f"maniple_{queue}"
        key = blake2b(self._channel.encode(), digest_size=8, person=b"waits").digest()
        self._waits = str(int.from_bytes(key) >> 1)
        self._holders = Holders(self._link, queue, number, self._now)
        self._link.greet = self._greet

    def _greet(self) -> None:
        self._waiting = False
        # nobody has told us of what came meanwhile
        self._link.told = True
        self._holders.again()

    def _now(self) -> str | None:
        return None if self._clock is None else str(self._clock())

    def put(self, tasks: Iterable[Any]) -> int:
        """Add tasks in batches that double: minions start early, and a million takes seconds."""
        added = 0
        for count in fill(self._link, self._number, tasks, self._now):
            added += count
            if count:
                self._tell()
        return added

    def _tell(self) -> None:
        """Wake those who wait, if any; only after the commit can nobody miss it."""
        # the server tells the others only
        self._link.told = True
        # one who is not told looks again by itself, a little later
        with suppress(LostError):
            self._link.query(_TELL, self._channel, self._waits)

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks; returned ones before fresh ones, in order of their numbers.

        The wait is real time, whatever the clock.
        """
        link = self._link
        if limit <= 0:
            link.persist(self._tidy)
            return []
        until = time.monotonic() + wait
        pause = FIRST_PAUSE_SECONDS
        while True:
            # who waits is told of what comes: no need to ask for it again and again
            asked = link.told or not self._waiting or wait <= 0
            if asked:
                link.told = False
                leases = self._lease(limit, ttl)
                if leases:
                    link.persist(self._stop_waiting)
                    return leases
            if link.persist(self._bury):
                continue
            left = until - time.monotonic()
            if left <= 0:
                return []
            if not self._waiting:
                # what came before others knew that we wait is found by asking once more
                link.persist(self._start_waiting)
                continue
            seconds = link.persist(self._nothing_for)
            if seconds > 0:
                link.persist(lambda: link.wait(min(left, seconds)))  # noqa: B023 - called at once
            elif asked:
                # it came this moment, or others hold it for one
                link.persist(lambda: link.wait(min(left, pause)))  # noqa: B023 - likewise
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                link.told = True
            else:
                link.told = True

    def _tidy(self) -> None:
        if self._holders.lapse(self._holders.dead()):
            self._tell()

    def _bury(self) -> bool:
        """Take leases from the dead, and tell whether there were any."""
        dead = self._holders.dead()
        if not dead or not self._holders.lapse(dead):
            return False
        self._tell()
        return True

    def _start_waiting(self) -> None:
        self._link.command(f"LISTEN {self._channel}; SELECT pg_advisory_lock_shared({self._waits})")
        self._waiting = True

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._link.command(
                f"SELECT pg_advisory_unlock_shared({self._waits}); UNLISTEN {self._channel}"
            )
            self._waiting = False

    def _nothing_for(self) -> float:
        """Tell for how many seconds nothing will come by itself; 0: it is there."""
        now, due, there, others = self._link.query(
            postgresql_sql.LOOK, self._queue, self._now(), self._holder
        )[0]
        longest = CHECK_SECONDS if others else LOOK_SECONDS
        if there or not self._waiting:
            return 0.0
        return longest if due is None else max(0.0, min(longest, due - now))

    def _lease(self, limit: int, ttl: float) -> list[Lease]:
        found: list[Lease] = []
        while len(found) < limit:
            token = random.getrandbits(62)
            want = limit - len(found)
            rows, complete = self._take(token, want, ttl)
            found += [
                Lease(Task(key.hex(), data, attempt, number), token)
                for number, key, data, attempt, _ in rows
            ]
            if complete or not rows:
                break
        self._taken += 1
        if self._taken >= VACUUM_EACH:
            self._taken = 0
            self._link.persist(lambda: vacuum(self._link))
        return found

    def _take(self, token: int, limit: int, ttl: float) -> tuple[list[tuple[Any, ...]], bool]:
        """Take tasks under a token; tell as well whether there are no more."""
        ranges = min(self._ranges, limit)
        asked = False
        recalled = False

        def take() -> list[tuple[Any, ...]]:
            nonlocal asked, recalled
            self._holders.register(ttl)
            if asked:
                # the answer was lost, perhaps with leases in it
                rows = self._link.query(postgresql_sql.RECALL, str(token), self._holder)
                if rows:
                    recalled = True
                    return rows
            asked = True
            rows = self._ask(token, limit, ttl, ranges, guard=True)
            if rows and not rows[-1][0]:
                if self._holders.lapse():
                    self._tell()
                rows = self._ask(token, limit, ttl, ranges, guard=False)
            return rows

        rows = self._link.persist(take)
        rows.sort()
        places = len({row[4] for row in rows if row[4] is not None})
        if places:
            count = sum(row[4] is not None for row in rows)
            self._ranges = max(1, -(-limit * places // count))
        return rows, len(rows) >= limit or (places < ranges and not recalled)

    def _ask(
        self, token: int, limit: int, ttl: float, ranges: int, *, guard: bool
    ) -> list[tuple[Any, ...]]:
        values = (str(limit), str(ttl), str(token), self._holder, str(ranges), str(guard))
        return self._link.query(postgresql_sql.TAKE, self._queue, self._now(), *values)

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        if not leases:
            return []
        named = runs(leases)

        def extend() -> list[tuple[Any, ...]]:
            self._holders.register(ttl)
            values = (self._now(), str(ttl), self._holder)
            return self._link.query(postgresql_sql.EXTEND, *named, *values)

        return losses(leases, self._link.persist(extend))

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that others have taken since."""
        if not leases:
            return []
        receipt = str(random.getrandbits(62))
        repeated = False

        def ack() -> list[Lease]:
            nonlocal repeated
            lost = self._not_kept(leases, receipt) if repeated else None
            repeated = True
            if lost is None:
                lost = self._ack(leases, receipt)
            if lost:
                # they may have lapsed between our look and our grasp, or be given up
                lost = self._ack_failed(self._ack(lost, receipt))
            return lost

        return self._link.persist(ack)

    def _not_kept(self, leases: Sequence[Lease], receipt: str) -> list[Lease] | None:
        """Find what an acknowledgement gave whose answer was lost; None: it was not carried out."""
        numbers = array(lease.task.number for lease in leases)
        rows = self._link.query(postgresql_sql.RECEIPT, receipt, self._holder, numbers)
        return [lease for lease in leases if lease.task.number in rows[0][0]] if rows else None

    def _ack(self, leases: Sequence[Lease], receipt: str) -> list[Lease]:
        values = (*runs(leases), receipt, self._holder)
        return losses(leases, self._link.query(postgresql_sql.ACK, *values))

    def _ack_failed(self, leases: Sequence[Lease]) -> list[Lease]:
        """Acknowledge what was set aside because we seemed to be dead."""
        if not leases:
            return []
        tokens = array(lease.token for lease in leases)
        numbers = array(lease.task.number for lease in leases)
        rows = self._link.query(postgresql_sql.FOUND, tokens, numbers, self._queue, self._slot)
        found = {number for (number,) in rows}
        return [lease for lease in leases if lease.task.number not in found]

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        if not leases:
            return
        named = runs(leases)
        token = str(random.getrandbits(62))
        self._link.persist(
            lambda: self._link.query(
                postgresql_sql.NACK, *named, self._now(), token, str(delay), str(int(attempted))
            )
        )
        self._tell()

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        if not failures:
            return
        tokens = array(lease.token for lease, _ in failures)
        numbers = array(lease.task.number for lease, _ in failures)
        reasons = [encoded(failure) for _, failure in failures]
        self._link.persist(
            lambda: self._link.query(
                postgresql_sql.FAIL, tokens, numbers, numbers, reasons, self._queue, self._slot
            )
        )

    def stats(self) -> QueueStats:
        """Count the tasks; the cost grows with ranges and with tasks that were given back."""
        waiting, delayed, leased, tasks, failed, oldest = self._link.persist(
            lambda: self._link.query(postgresql_sql.STATS, self._queue, self._now())
        )[0]
        return QueueStats(
            waiting=waiting,
            delayed=delayed,
            leased=leased,
            done=tasks - waiting - delayed - leased - failed,
            failed=failed,
            oldest=None if oldest is None else max(0.0, oldest),
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks in order of their number, as they stood at the first of them."""
        return postgresql_admin.records(self._link, self._number, self._now(), state)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id's first digits when one task has them."""
        return postgresql_admin.find(self._link, self._number, self._now(), key)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        count = postgresql_admin.retry(self._link, self._number, self._now(), ids)
        if count:
            self._tell()
        return count

    def purge(self, state: State | None = None) -> int:
        """Forget tasks: those of one state, or all that nobody holds; return how many."""
        return postgresql_admin.purge(self._link, self._number, self._now(), state)

    def close(self) -> None:
        """Close the session; leases still held come back at once."""
        with suppress(LostError, ManipleError):
            self._holders.leave()
        self._link.close()
