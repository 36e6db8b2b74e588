"""How tasks get into a SQLite queue: a million of them in seconds, and none twice."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from maniple.queue import as_tasks
from maniple.queues.sqlite_file import SqliteFile

FIRST_BATCH: Final = 1_000
LAST_BATCH: Final = 256_000
LARGE_CACHE: Final = "PRAGMA cache_size=-131072"
SMALL_CACHE: Final = "PRAGMA cache_size=-2000"


def fill(file: SqliteFile, tasks: Iterable[Any]) -> int:
    """Add tasks in batches that double: minions start early. Return how many were new."""
    rows = ((bytes.fromhex(task.id), task.data) for task in as_tasks(tasks))
    size = FIRST_BATCH
    added = 0
    try:
        while batch := list(islice(rows, size)):
            if size == LAST_BATCH:
                # ids are random: their index is written once per batch and page, if it stays here
                file.read(LARGE_CACHE)
            with file.writing():
                added += _insert(file, batch)
            size = min(size * 2, LAST_BATCH)
    finally:
        file.read(SMALL_CACHE)
    return added


def _insert(file: SqliteFile, rows: list[tuple[bytes, bytes]]) -> int:
    purged = "SELECT handed > coalesce((SELECT max(seq) FROM tasks), 0) FROM state"
    added = 0
    if file.execute(purged).fetchone()[0]:
        # SQLite would go on from the highest number there is, and higher ones have been used
        jump = "INSERT OR IGNORE INTO tasks SELECT handed + 1, ?, ? FROM state"
        left = iter(rows)
        added = int(any(file.execute(jump, row).rowcount for row in left))
        rows = list(left)
    insert = "INSERT OR IGNORE INTO tasks (id, param) VALUES (?, ?)"
    return added + max(0, file.executemany(insert, rows).rowcount)
