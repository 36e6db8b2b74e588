"""What people ask of a PostgreSQL queue: lists, one task, another try, a clean-up."""

# ruff: noqa: S608 - no text from outside stands in a statement

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from maniple.queue import Failure, Record, State
from maniple.queues.postgresql_fill import LONGEST_RANGE
from maniple.queues.postgresql_link import Link
from maniple.queues.postgresql_sql import NOW
from maniple.task import ID_BYTES, Task

PAGE: Final = 1000
NUMBER_DIGITS: Final = 18
_TOP: Final = 1 << 62

_STATE: Final = """
CASE WHEN due <= now THEN 'waiting' WHEN holder IS NULL THEN 'delayed' ELSE 'leased' END
"""
# all that is not done, in ranges
_RANGES: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now)
SELECT * FROM (
    SELECT first, last, 'waiting' AS state, 1 AS attempt FROM maniple_fresh WHERE queue = $1::int
    UNION ALL SELECT first, last, {_STATE}, attempt FROM maniple_span, moment
    WHERE queue = $1::int
    UNION ALL SELECT number, number, 'failed', attempt FROM maniple_failed WHERE queue = $1::int
) r WHERE last >= $3::bigint AND first <= $4::bigint ORDER BY first
"""
_LAST: Final = "SELECT last FROM maniple_queue WHERE queue = $1::int"
_PAGE: Final = f"""
SELECT t.number, uuid_send(t.id), t.data,
    (SELECT reason FROM maniple_failed f WHERE f.queue = $1::int AND f.number = t.number)
FROM maniple_task t WHERE t.queue = $1::int AND t.number BETWEEN $2::bigint AND $3::bigint
ORDER BY t.number LIMIT {PAGE}
"""
_BY_ID: Final = """
SELECT number FROM maniple_task
WHERE queue = $1::int AND id BETWEEN $2::uuid AND $3::uuid LIMIT 2
"""

_RETRY: Final = f"""
WITH back AS (
    DELETE FROM maniple_failed WHERE queue = $1::int {{which}} RETURNING number),
ranges AS (
    SELECT min(number) AS first, max(number) AS last FROM (
        SELECT number, number - row_number() OVER (ORDER BY number) AS island FROM back) b
    GROUP BY island, number / {LONGEST_RANGE}),
again AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, attempt, lapses)
    SELECT $1::int, $3::bigint, first, last, 0, {NOW}, 1, 0 FROM ranges),
tally AS (
    INSERT INTO maniple_tally (queue, slot, failed) SELECT $1::int, 0, -count(*) FROM back
    ON CONFLICT (queue, slot) DO UPDATE SET failed = maniple_tally.failed + excluded.failed)
SELECT count(*) FROM back
"""
_RETRY_ALL: Final = _RETRY.format(which="")
_RETRY_SOME: Final = _RETRY.format(
    which="""AND number IN (
        SELECT number FROM maniple_task WHERE queue = $1::int AND id = ANY($4::uuid[]))"""
)

_ALONE: Final = "SELECT FROM maniple_queue WHERE queue = $1::int FOR UPDATE"
_PURGE_WAITING: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
fresh AS (DELETE FROM maniple_fresh WHERE queue = $1::int RETURNING first, last),
back AS (
    DELETE FROM maniple_span
    WHERE queue = $1::int AND due <= (SELECT now FROM moment) RETURNING first, last),
gone AS (
    DELETE FROM maniple_task t USING (SELECT * FROM fresh UNION ALL SELECT * FROM back) r
    WHERE t.queue = $1::int AND t.number BETWEEN r.first AND r.last RETURNING 1)
SELECT count(*) FROM gone
"""
_PURGE_DELAYED: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
back AS (
    DELETE FROM maniple_span
    WHERE queue = $1::int AND holder IS NULL AND due > (SELECT now FROM moment)
    RETURNING first, last),
gone AS (
    DELETE FROM maniple_task t USING back r
    WHERE t.queue = $1::int AND t.number BETWEEN r.first AND r.last RETURNING 1)
SELECT count(*) FROM gone
"""
_PURGE_FAILED: Final = """
WITH failed AS (
    DELETE FROM maniple_failed WHERE queue = $1::int AND $2::float8 IS NOT DISTINCT FROM $2::float8
    RETURNING number),
tally AS (
    INSERT INTO maniple_tally (queue, slot, failed) SELECT $1::int, 0, -count(*) FROM failed
    ON CONFLICT (queue, slot) DO UPDATE SET failed = maniple_tally.failed + excluded.failed),
gone AS (
    DELETE FROM maniple_task t USING failed f
    WHERE t.queue = $1::int AND t.number = f.number RETURNING 1)
SELECT count(*) FROM gone
"""
# what is done in this statement's view stays done, whatever others do meanwhile
_PURGE_DONE: Final = """
WITH kept AS (
    SELECT int8range(first, last, '[]') AS r FROM maniple_fresh WHERE queue = $1::int
    UNION ALL SELECT int8range(first, last, '[]') FROM maniple_span WHERE queue = $1::int
    UNION ALL SELECT int8range(number, number, '[]') FROM maniple_failed WHERE queue = $1::int),
done AS MATERIALIZED (
    SELECT unnest(int8multirange(int8range(1, last, '[]'))
        - coalesce((SELECT range_agg(r) FROM kept), '{}'::int8multirange)) AS r
    FROM maniple_queue WHERE queue = $1::int AND $2::float8 IS NOT DISTINCT FROM $2::float8),
gone AS (
    DELETE FROM maniple_task t USING done
    WHERE t.queue = $1::int AND t.number >= lower(r) AND t.number < upper(r) RETURNING 1)
SELECT count(*) FROM gone
"""
_PURGES: Final[dict[State, str]] = {
    State.WAITING: _PURGE_WAITING,
    State.DELAYED: _PURGE_DELAYED,
    State.FAILED: _PURGE_FAILED,
    State.DONE: _PURGE_DONE,
}
_FEWER: Final = "UPDATE maniple_queue SET tasks = tasks - $2::bigint WHERE queue = $1::int"


def records(link: Link, queue: int, now: str | None, state: State | None) -> Iterator[Record]:
    """Walk over the tasks in order of their number, as they stood at the first of them."""
    number = str(queue)
    end: int = link.persist(lambda: link.query(_LAST, number))[0][0]
    ranges = link.persist(lambda: link.query(_RANGES, number, now, "0", str(_TOP), often=False))
    if state in {None, State.DONE}:
        wanted = [(1, end)]
    else:
        wanted = [(first, last) for first, last, what, _ in ranges if what == state]
    for first, last in _joined(wanted):
        low = first
        while low <= last:
            page = _page(link, number, low, last)
            for row in page:
                record = _record(row, ranges)
                if state is None or record.state is state:
                    yield record
            low = page[-1][0] + 1 if len(page) == PAGE else last + 1


def _joined(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Make one range of those that lie close together: fewer pages are asked for."""
    start: int | None = None
    stop = 0
    for first, last in ranges:
        if start is not None and (first - stop > PAGE or last - start > PAGE * 100):
            yield start, stop
            start = None
        if start is None:
            start = first
        stop = last
    if start is not None:
        yield start, stop


def _page(link: Link, queue: str, low: int, high: int) -> list[tuple[Any, ...]]:
    return link.persist(lambda: link.query(_PAGE, queue, str(low), str(high)))


def _record(row: tuple[Any, ...], ranges: list[tuple[Any, ...]]) -> Record:
    number, key, data, reason = row
    place = bisect_right(ranges, number, key=lambda span: span[0]) - 1
    state, attempt = State.DONE, 1
    if place >= 0 and number <= ranges[place][1]:
        state, attempt = State(ranges[place][2]), ranges[place][3]
    failure = None
    if state is State.FAILED:
        failure = msgspec.json.decode(reason, type=Failure) if reason else Failure("failed", "")
    return Record(Task(key.hex(), data, attempt, number), state, failure)


def find(link: Link, queue: int, now: str | None, key: str) -> Record | None:
    """Look a task up by its number, or by its id's first digits when one task has them."""
    name = str(queue)
    if key.isascii() and key.isdecimal() and len(key) <= NUMBER_DIGITS:
        found = _one(link, name, now, int(key))
        if found is not None:
            return found
    digits = key.lower()
    if not digits or len(digits) > ID_BYTES * 2 or set(digits) - set("0123456789abcdef"):
        return None
    low, high = digits.ljust(ID_BYTES * 2, "0"), digits.ljust(ID_BYTES * 2, "f")
    rows = link.persist(lambda: link.query(_BY_ID, name, low, high))
    return _one(link, name, now, rows[0][0]) if len(rows) == 1 else None


def _one(link: Link, queue: str, now: str | None, number: int) -> Record | None:
    page = _page(link, queue, number, number)
    if not page:
        return None
    at = str(number)
    return _record(page[0], link.persist(lambda: link.query(_RANGES, queue, now, at, at)))


def retry(link: Link, queue: int, now: str | None, ids: Sequence[str] | None) -> int:
    """Put failed tasks (all, or these ids) back as new; return how many."""
    values = [str(queue), now, str(random.getrandbits(62))]
    if ids is None:
        sql = _RETRY_ALL
    else:
        sql = _RETRY_SOME
        keys = ",".join(key for key in dict.fromkeys(ids) if _is_id(key))
        values.append(f"{{{keys}}}")
    count: int = link.persist(lambda: link.query(sql, *values, often=False))[0][0]
    return count


def _is_id(key: str) -> bool:
    return len(key) == ID_BYTES * 2 and not set(key) - set("0123456789abcdef")


def purge(link: Link, queue: int, now: str | None, state: State | None) -> int:
    """Forget tasks: those of one state, or all that nobody holds; return how many."""
    states = [state] if state is not None else [*_PURGES]
    return link.persist(lambda: _purge(link, str(queue), now, states))


def _purge(link: Link, queue: str, now: str | None, states: list[State]) -> int:
    count = 0
    with link.transaction():
        # who puts waits: it must not number tasks that are being counted
        link.query(_ALONE, queue)
        for state in states:
            if state in _PURGES:
                count += link.query(_PURGES[state], queue, now, often=False)[0][0]
        link.query(_FEWER, queue, str(count))
    return count
