"""Who holds leases on a PostgreSQL queue, and what becomes of them when he is gone.

Each queue object that leases has a row in `maniple_holder` and, as long as its session lasts, an
advisory lock on its number: so all see at once, from any machine, that a session has ended. One
that has lost its connection takes the lock again when it makes its next call, which may take
until its next renewal: others leave it that time, unless they know that its process is dead.
"""

# ruff: noqa: S608 - no text from outside stands in a statement

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from maniple import owner
from maniple.queue import MAX_LAPSES, lost_failure
from maniple.queues.postgresql_link import Link, LostError
from maniple.queues.postgresql_sql import NOW
from maniple.queues.postgresql_text import array

CHECK_SECONDS: Final = 1.0
CHECK_SHARE: Final = 0.02
GRACE_SECONDS: Final = 5.0
# a child may keep the connection of a dead process open
ORPHAN_SECONDS: Final = 2.0

_REGISTER: Final = """
INSERT INTO maniple_holder (holder, queue, identity, grace)
VALUES ($1::bigint, $2::int, $3, $4::float8)
ON CONFLICT (holder) DO UPDATE SET gone = NULL, grace = excluded.grace
"""
_LOCK: Final = "SELECT pg_try_advisory_lock($1::bigint)"
_LOCKS: Final = """
SELECT (classid::bigint << 32) | objid::bigint AS key, pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_END: Final = f"SELECT pg_terminate_backend(pid) FROM ({_LOCKS}) l WHERE key = $1::bigint"
_OTHERS: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now), held AS MATERIALIZED ({_LOCKS})
SELECT h.holder, h.identity, h.grace, h.gone, held.key IS NOT NULL, now
FROM moment, maniple_holder h LEFT JOIN held ON held.key = h.holder
WHERE h.queue = $1::int AND h.holder <> $3::bigint
"""
_GONE: Final = "UPDATE maniple_holder SET gone = $2::float8 WHERE holder = $1::bigint"
_FORGET: Final = """
DELETE FROM maniple_holder h WHERE holder = ANY($1::bigint[]) AND NOT EXISTS (
    SELECT FROM maniple_span s WHERE s.queue = h.queue AND s.holder = h.holder)
"""
_LAPSED: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
lapsed AS MATERIALIZED (
    SELECT token, first FROM maniple_span
    WHERE queue = $1::int AND holder IS NOT NULL
        AND (due <= (SELECT now FROM moment) OR holder = ANY($3::bigint[]))
    FOR UPDATE SKIP LOCKED)
DELETE FROM maniple_span s USING lapsed l, moment WHERE s.token = l.token AND s.first = l.first
RETURNING s.holder, s.since, s.first, s.last, s.token, s.attempt, s.lapses, now
"""
_BACK: Final = """
INSERT INTO maniple_span (queue, token, first, last, due, since, attempt, lapses)
SELECT $1::int, token, first, last, 0, $2::float8, attempt, lapses
FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[])
    AS s(token, first, last, attempt, lapses)
"""
_ASIDE: Final = """
WITH kept AS (
    INSERT INTO maniple_failed (queue, number, attempt, token, reason)
    VALUES ($1::int, $2::bigint, $3::int, $4::bigint, $5::bytea))
INSERT INTO maniple_tally (queue, slot, failed) VALUES ($1::int, 0, 1)
ON CONFLICT (queue, slot) DO UPDATE SET failed = maniple_tally.failed + 1
"""


class _Span(NamedTuple):
    holder: int
    since: float
    first: int
    last: int
    token: int
    attempt: int
    lapses: int
    now: float


class Holders:
    """One queue object among those that hold leases.

    Args:
        number: its own; nobody else has it.
        now: the time to pass to the server, or None where the server's own holds.
    """

    def __init__(self, link: Link, queue: int, number: int, now: Callable[[], str | None]) -> None:
        self._link = link
        self._queue = str(queue)
        self._number = str(number)
        self._now = now
        self._grace = 0.0
        self._next_check = 0.0

    @property
    def registered(self) -> bool:
        """This one may have leases."""
        return self._grace > 0

    def register(self, ttl: float) -> None:
        """Be known to the others before the first lease; renewals come each `ttl / 3`."""
        grace = GRACE_SECONDS + ttl / 3
        if grace > self._grace:
            self._enter(grace)
            self._grace = grace

    def again(self) -> None:
        """Be known again in a new session."""
        if self.registered:
            self._enter(self._grace)

    def _enter(self, grace: float) -> None:
        link = self._link
        if not link.query(_LOCK, self._number)[0][0]:
            # our lost session lives on in the server, and may be at work on our last call
            link.query(_END, self._number)
            raise LostError("the lost session is not over yet")
        link.query(_REGISTER, self._number, self._queue, owner.identity(), grace)

    def dead(self) -> list[int]:
        """Find holders that are gone for good; looks every now and then only."""
        began = time.monotonic()
        if began < self._next_check:
            return []
        link = self._link
        found: list[int] = []
        for holder, identity, grace, gone, here, now in link.query(
            _OTHERS, self._queue, self._now(), self._number
        ):
            died = owner.is_dead(identity)
            if died is False or (here and died is None):
                if gone is not None:
                    link.query(_GONE, str(holder), None)
                continue
            if died and not here:
                found.append(holder)
            elif gone is None:
                link.query(_GONE, str(holder), str(now))
            elif now - gone >= (ORPHAN_SECONDS if died else grace):
                found.append(holder)
        ended = time.monotonic()
        self._next_check = ended + max(CHECK_SECONDS, (ended - began) / CHECK_SHARE)
        return found

    def lapse(self, dead: Sequence[int] = ()) -> bool:
        """Take back what lapsed, and what the dead held; tell whether there was anything.

        A minion runs its tasks in the order it leased them: the first that it has not finished was
        running, and is the only one to count a lapse.
        """
        link = self._link
        with link.transaction():
            holders = array(dead)
            rows = link.query(_LAPSED, self._queue, self._now(), holders)
            spans = sorted(_Span(*row) for row in rows)
            self._give_back(spans)
            if dead:
                link.query(_FORGET, holders)
        return bool(spans)

    def _give_back(self, spans: list[_Span]) -> None:
        back: list[tuple[int, int, int, int, int]] = []
        counted: set[int] = set()
        for span in spans:
            first, lapses = span.first, span.lapses
            if span.holder not in counted:
                counted.add(span.holder)
                first += 1
                if lapses + 1 > MAX_LAPSES:
                    self._set_aside(span)
                else:
                    back.append((span.token, span.first, span.first, span.attempt, lapses + 1))
            if first <= span.last:
                back.append((span.token, first, span.last, span.attempt, lapses))
        if back:
            columns = [array(column) for column in zip(*back, strict=True)]
            self._link.query(_BACK, self._queue, str(spans[0].now), *columns)

    def _set_aside(self, span: _Span) -> None:
        reason = msgspec.json.encode(lost_failure(span.lapses + 1, span.now))
        values = (str(span.first), str(span.attempt), str(span.token), reason)
        self._link.query(_ASIDE, self._queue, *values)

    def leave(self) -> None:
        """Give all leases back: nobody will renew them."""
        if self.registered:
            self.lapse([int(self._number)])
