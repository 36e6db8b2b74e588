"""How tasks get into a PostgreSQL queue: by COPY, a batch a transaction, and none twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any, Final

from maniple.queue import as_tasks
from maniple.queues.postgresql_link import Link
from maniple.task import ID_BYTES

FIRST_BATCH: Final = 1_000
LAST_BATCH: Final = 32_000
BATCH_BYTES: Final = 8 << 20
LONGEST_RANGE: Final = 1024
RANGES: Final = 16
"""Into so many ranges a batch is cut at least: minions that lease at once take different ones."""

_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL: Final = b"\xff\xff"
# the number of fields, then each with its length
_ROW: Final = Struct(f">hiiiqi{ID_BYTES}si")
_FIELDS: Final = 4
_INT_BYTES: Final = 4
_BIGINT_BYTES: Final = 8

_LOCK: Final = (
    "SELECT last, pg_current_xact_id()::text FROM maniple_queue WHERE queue = $1 FOR UPDATE"
)
# each id is to be looked up in the index of ids, whatever the planner takes the table for
_KNOWN: Final = """
SELECT uuid_send(t.id) FROM unnest($2::uuid[]) AS n(id) CROSS JOIN LATERAL (
    SELECT id FROM maniple_task WHERE queue = $1::int AND id = n.id ORDER BY id LIMIT 1) t
"""
_COPY: Final = "COPY maniple_task (queue, number, id, data) FROM STDIN (FORMAT BINARY)"
_COUNT: Final = """
WITH counted AS (
    UPDATE maniple_queue SET last = $3::bigint, tasks = tasks + $3::bigint - $2::bigint
    WHERE queue = $1::int)
INSERT INTO maniple_fresh (queue, place, first, last, since)
SELECT $1::int, first, first, least(first + $4::bigint - 1, $3::bigint),
    coalesce($5::float8, extract(epoch FROM clock_timestamp())::float8)
FROM generate_series($2::bigint + 1, $3::bigint, $4::bigint) AS g(first)
"""
# a server that crashed may not have heard of the transaction at all
_FATE: Final = """
SELECT CASE WHEN $1::xid8 < pg_snapshot_xmax(pg_current_snapshot())
    THEN pg_xact_status($1::xid8) = 'committed' ELSE false END
"""


def fill(
    link: Link, queue: int, tasks: Iterable[Any], now: Callable[[], str | None]
) -> Iterator[int]:
    """Add tasks in batches that double: minions start early. Give how many were new in each."""
    size = FIRST_BATCH
    batch: dict[bytes, bytes] = {}
    weight = 0
    for task in as_tasks(tasks):
        batch.setdefault(bytes.fromhex(task.id), task.data)
        weight += len(task.data)
        if len(batch) >= size or weight >= BATCH_BYTES:
            yield _Batch(link, queue, batch, now()).put()
            size = min(size * 2, LAST_BATCH)
            batch = {}
            weight = 0
    if batch:
        yield _Batch(link, queue, batch, now()).put()


class _Batch:
    def __init__(self, link: Link, queue: int, tasks: dict[bytes, bytes], now: str | None) -> None:
        self._link = link
        self._queue = queue
        self._tasks = tasks
        self._now = now
        self._transaction: str | None = None
        self._added = 0

    def put(self) -> int:
        """Put it; when the answer is lost, find out whether it was done."""
        return self._link.persist(self._put)

    def _put(self) -> int:
        link = self._link
        with link.transaction():
            # numbers have no gaps, and a task has one: who puts is alone
            rows = link.query(_LOCK, str(self._queue))
            last: int = rows[0][0]
            before, self._transaction = self._transaction, rows[0][1]
            if before is not None and link.query(_FATE, before)[0][0]:
                return self._added
            tasks = self._new(last)
            self._added = len(tasks)
            if tasks:
                self._copy(last, tasks)
                size = max(1, min(LONGEST_RANGE, -(-len(tasks) // RANGES)))
                end = str(last + len(tasks))
                link.query(_COUNT, str(self._queue), str(last), end, str(size), self._now)
        return self._added

    def _new(self, last: int) -> dict[bytes, bytes]:
        if not last:
            return self._tasks
        ids = ",".join(key.hex() for key in self._tasks)
        known = {key for (key,) in self._link.query(_KNOWN, str(self._queue), f"{{{ids}}}")}
        if not known:
            return self._tasks
        return {key: data for key, data in self._tasks.items() if key not in known}

    def _copy(self, last: int, tasks: dict[bytes, bytes]) -> None:
        pack = _ROW.pack
        queue = self._queue
        parts = [_HEAD]
        for number, (key, data) in enumerate(tasks.items(), last + 1):
            size = len(data)
            parts += (
                pack(_FIELDS, _INT_BYTES, queue, _BIGINT_BYTES, number, ID_BYTES, key, size),
                data,
            )
        parts.append(_TAIL)
        self._link.copy(_COPY, b"".join(parts))
