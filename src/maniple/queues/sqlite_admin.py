"""What people ask of a SQLite queue: lists of its tasks, one of them, another try, a clean-up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from maniple.queue import Failure, Record, State
from maniple.queues.sqlite_file import SqliteFile
from maniple.task import ID_BYTES, Task

PAGE: Final = 256
NUMBER_DIGITS: Final = 18

_HELD: Final = "EXISTS (SELECT 1 FROM leases WHERE t.seq BETWEEN first AND last)"
_FRESH: Final = "t.seq > (SELECT handed FROM state)"
_LEASES: Final = "SELECT first, last, attempt FROM leases ORDER BY first"
_FROM_TASKS: Final = (
    "tasks t LEFT JOIN failed f ON f.seq = t.seq LEFT JOIN again a ON a.seq = t.seq"
)
# failed and delayed tasks are looked up from their own small tables
_FROM: Final[dict[State | None, str]] = {
    State.FAILED: "failed f JOIN tasks t USING (seq) LEFT JOIN again a USING (seq)",
    State.DELAYED: "again a JOIN tasks t USING (seq) LEFT JOIN failed f USING (seq)",
}
_AND: Final[dict[State | None, str]] = {
    State.WAITING: f"AND ({_FRESH} OR a.seq NOTNULL)",
    State.DONE: f"AND NOT {_FRESH} AND a.seq IS NULL AND f.seq IS NULL",
}
_PURGED: Final[dict[State | None, str]] = {
    None: f"NOT {_HELD}",
    State.DONE: f"NOT {_FRESH} AND NOT {_HELD}"  # noqa: S608 - no outside text in it
    " AND NOT EXISTS (SELECT 1 FROM again a WHERE a.seq = t.seq)"
    " AND NOT EXISTS (SELECT 1 FROM failed f WHERE f.seq = t.seq)",
    State.FAILED: "t.seq IN (SELECT seq FROM failed)",
    State.LEASED: "0",
    State.DELAYED: "t.seq IN (SELECT seq FROM again WHERE due > :now)",
    State.WAITING: f"({_FRESH} OR t.seq IN (SELECT seq FROM again WHERE due <= :now))",  # noqa: S608 - likewise
}
_TOP: Final = 1 << 62


def records(file: SqliteFile, clock: Callable[[], float], state: State | None) -> Iterator[Record]:
    """Walk over the tasks in order of their number; each page of them is of one moment."""
    after = 0
    while True:
        first, last = after + 1, _TOP
        if state is State.LEASED:
            found = file.read(
                "SELECT max(first, ?), last FROM leases WHERE last > ? ORDER BY first LIMIT 1",
                (first, after),
            )
            if not found:
                return
            first, last = found[0]
        page = _page(file, clock(), state, first, last)
        for record in page:
            if state is None or record.state is state:
                yield record
        if page:
            after = page[-1].task.number
        elif state is State.LEASED:
            after = last
        else:
            return


def _page(file: SqliteFile, now: float, state: State | None, first: int, last: int) -> list[Record]:
    base = _FROM.get(state, _FROM_TASKS)
    sql = (
        "SELECT t.seq, t.id, t.param, f.cause, f.error, f.output, f.at, f.attempt, a.attempt,"  # noqa: S608 - no outside text in it
        f" a.due, {_FRESH} FROM {base} WHERE {base.split()[1]}.seq BETWEEN ? AND ?"
        f" {_AND.get(state, '')} ORDER BY {base.split()[1]}.seq LIMIT {PAGE}"
    )
    ranges, rows = file.snapshot([(_LEASES, ()), (sql, (first, last))])
    return [_record(row, ranges, now) for row in rows]


def _record(row: tuple[Any, ...], ranges: list[tuple[Any, ...]], now: float) -> Record:
    seq, key, data, cause, error, output, at, tries, back_as, due, fresh = row
    place = bisect_right(ranges, seq, key=lambda held: held[0]) - 1
    attempt = 1
    failure = None
    if cause is not None:
        state, attempt = State.FAILED, tries
        failure = Failure(cause, error, output, at)
    elif place >= 0 and seq <= ranges[place][1]:
        state, attempt = State.LEASED, ranges[place][2]
    elif due is not None:
        state, attempt = State.DELAYED if due > now else State.WAITING, back_as
    else:
        state = State.WAITING if fresh else State.DONE
    return Record(Task(key.hex(), data, attempt, seq), state, failure)


def find(file: SqliteFile, clock: Callable[[], float], key: str) -> Record | None:
    """Look a task up by its number, or by its id's first digits when one task has them."""
    if key.isascii() and key.isdecimal() and len(key) <= NUMBER_DIGITS:
        page = _page(file, clock(), None, int(key), int(key))
        if page:
            return page[0]
    digits = key.lower()
    if not digits or len(digits) > ID_BYTES * 2 or set(digits) - set("0123456789abcdef"):
        return None
    low = bytes.fromhex(digits.ljust(ID_BYTES * 2, "0"))
    high = bytes.fromhex(digits.ljust(ID_BYTES * 2, "f"))
    rows = file.read("SELECT seq FROM tasks WHERE id BETWEEN ? AND ? LIMIT 2", (low, high))
    if len(rows) != 1:
        return None
    page = _page(file, clock(), None, rows[0][0], rows[0][0])
    return page[0] if page else None


def retry(file: SqliteFile, ids: Sequence[str] | None) -> int:
    """Put failed tasks (all, or these ids) back as new; return how many."""
    with file.writing():
        if ids is None:
            rows = file.execute("SELECT seq FROM failed").fetchall()
        else:
            rows = []
            for key in dict.fromkeys(ids):
                rows += file.execute(
                    "SELECT seq FROM failed JOIN tasks USING (seq) WHERE id = ?", (_bytes(key),)
                ).fetchall()
        file.executemany("DELETE FROM failed WHERE seq = ?", rows)
        file.executemany("INSERT INTO again VALUES (?, 0, 1, 0)", rows)
    return len(rows)


def _bytes(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        return b""


def purge(file: SqliteFile, now: float, state: State | None) -> int:
    """Forget tasks: those of one state, or all that nobody holds; return how many."""
    where = _PURGED[state]
    known = "EXISTS (SELECT 1 FROM tasks t WHERE t.seq = {}.seq)"
    with file.writing():
        count: int = file.execute(
            f"DELETE FROM tasks AS t WHERE {where}",  # noqa: S608 - no outside text in it
            {"now": now},
        ).rowcount
        for table in ("failed", "again"):
            file.execute(f"DELETE FROM {table} WHERE NOT {known.format(table)}")  # noqa: S608 - likewise
        # `handed` stays, so that no number is given out twice: a stale lease must not mean another
        file.execute(
            "UPDATE state SET gone = handed - (SELECT count(*) FROM tasks WHERE seq <= handed)"
        )
    return count
