"""The file under the SQLite queue: opening, transactions, and errors in a user's words."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from maniple.errors import ManipleError, QueueError, StorageError

APPLICATION_ID: Final = 0x4D4E_504C
FORMAT: Final = 1
MAGIC: Final = b"SQLite format 3\0"
BUSY_SECONDS: Final = 120.0
READ_TRIES: Final = 1000

# `back` and `failed` of the state count the rows of `again` and `failed`, so that nobody has to.
SCHEMA: Final = """
CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, param BLOB NOT NULL);
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), handed INTEGER NOT NULL, gone INTEGER NOT NULL,
    back INTEGER NOT NULL, failed INTEGER NOT NULL, boot TEXT NOT NULL);
CREATE TABLE leases (
    lease INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, until REAL NOT NULL,
    owner TEXT NOT NULL, attempt INTEGER NOT NULL, lapses INTEGER NOT NULL);
CREATE INDEX leases_by_id ON leases (lease, first);
CREATE TABLE again (
    seq INTEGER PRIMARY KEY, due REAL NOT NULL, attempt INTEGER NOT NULL,
    lapses INTEGER NOT NULL);
CREATE INDEX again_by_due ON again (due);
CREATE TABLE failed (
    seq INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, cause TEXT NOT NULL, error TEXT NOT NULL,
    output TEXT NOT NULL, at REAL NOT NULL);
CREATE TRIGGER back_up AFTER INSERT ON again BEGIN UPDATE state SET back = back + 1; END;
CREATE TRIGGER back_down AFTER DELETE ON again BEGIN UPDATE state SET back = back - 1; END;
CREATE TRIGGER failed_up AFTER INSERT ON failed BEGIN UPDATE state SET failed = failed + 1; END;
CREATE TRIGGER failed_down AFTER DELETE ON failed BEGIN UPDATE state SET failed = failed - 1; END;
INSERT INTO state VALUES (1, 0, 0, 0, 0, '');
"""


def boot_id() -> str:
    """Name the running system, so that times since its boot are comparable."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot_clock() -> float:
    """Seconds since the machine was started: the same for all its processes, and never set."""
    return time.clock_gettime(_BOOT_CLOCK)


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SqliteFile:
    """A connection to a queue file. It belongs to the process that opened it."""

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        if not path:
            raise QueueError("a SQLite queue needs a file: sqlite:NAME.db")
        if os.path.isdir(path):
            raise QueueError(f"{path} is a folder; a folder queue is written dir:{path}")
        if not os.path.exists(path):
            if not create:
                raise QueueError(
                    f"there is no queue {path}; fill one with: maniple sweep x=1..10 "
                    f"-q sqlite:{path}"
                )
            folder = os.path.dirname(path) or "."
            if not os.path.isdir(folder):
                raise QueueError(f"there is no folder {folder} to make the queue {path} in")
        elif _is_foreign(path):
            raise QueueError(f"{path} is not a maniple queue: it is no SQLite file")
        with self.errors():
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare(create=create)
        except BaseException:
            self._connection.close()
            raise
        self.execute = self._connection.execute
        self.executemany = self._connection.executemany

    def _prepare(self, *, create: bool) -> None:
        connection = self._connection
        with self.errors():
            # in this order: another process may be making the tables, and its mark with them
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            kind = connection.execute("PRAGMA application_id").fetchone()[0]
            if kind != APPLICATION_ID:
                if tables or not create:
                    raise QueueError(f"{self.path} is an SQLite file, but not a maniple queue")
                self._create()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != FORMAT:
                raise QueueError(
                    f"{self.path} has queue format {version}; this maniple reads format {FORMAT}"
                )
            connection.execute("PRAGMA synchronous=NORMAL")
            # a checkpoint waits for the disk, and everybody waits for it
            connection.execute("PRAGMA wal_autocheckpoint=8000")
            connection.execute("PRAGMA temp_store=MEMORY")
            # waiting for the write lock is done by begin(): SQLite's own naps are 1 ms and more
            connection.execute("PRAGMA busy_timeout=0")

    def _create(self) -> None:
        connection = self._connection
        for turn in count(1):
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # another process is making the same file; SQLite does not wait for that
                if not _is_busy(error) or turn == READ_TRIES:
                    raise
                time.sleep(0.001 + random.random() * 0.004)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            # another process may have been quicker
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock for one transaction; all of it happens, or nothing."""
        with self.errors():
            self._begin()
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise

    def _begin(self) -> None:
        nap = 20e-6
        waited = 0.0
        while True:
            try:
                self.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or waited > BUSY_SECONDS:
                    raise
                pause = nap * (0.5 + random.random())
                time.sleep(pause)
                waited += pause
                nap = min(nap * 1.5, 0.005)
            else:
                return

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one query outside a transaction and fetch all its rows."""
        return self.snapshot([(sql, values)])[0]

    def snapshot(self, queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """Run queries that see the same state of the file, and fetch all rows of each."""
        with self.errors():
            for turn in count(1):
                try:
                    return self._fetch(queries)
                except sqlite3.OperationalError as error:
                    # only while another process repairs or removes the write-ahead log
                    if not _is_busy(error) or turn == READ_TRIES:
                        raise
                    time.sleep(0.001 + random.random() * 0.004)
        raise AssertionError

    def _fetch(self, queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        if len(queries) == 1:
            return [self.execute(*queries[0]).fetchall()]
        self.execute("BEGIN")
        try:
            return [self.execute(sql, values).fetchall() for sql, values in queries]
        finally:
            self._connection.rollback()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say SQLite's errors in a line that tells what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from None

    def _explain(self, error: sqlite3.Error) -> ManipleError:
        text = str(error)
        name = getattr(error, "sqlite_errorname", "") or ""
        path = self.path
        if name.startswith("SQLITE_NOTADB"):
            return QueueError(f"{path} is not a maniple queue: it is no SQLite file")
        if name.startswith("SQLITE_CORRUPT"):
            return StorageError(
                f"the queue {path} is damaged ({text}); save what is left with: "
                f"sqlite3 {path} .recover | sqlite3 saved.db"
            )
        if name.startswith("SQLITE_FULL"):
            return StorageError(f"the disk is full: {path} cannot grow; make room, then run again")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return QueueError(
                f"cannot write the queue {path} ({text}): check the rights of the file and its "
                "folder"
            )
        if _is_busy(error):
            return StorageError(f"the queue {path} stayed locked for {BUSY_SECONDS:.0f} s")
        if name.startswith("SQLITE_IOERR"):
            return StorageError(f"cannot read or write {path} ({text}): is its disk full or gone?")
        return StorageError(f"the queue {path} cannot be used: {text}")

    def close(self) -> None:
        """Close the connection."""
        with self.errors():
            self._connection.close()


def _is_foreign(path: str) -> bool:
    """Tell a file of another kind; SQLite itself would write over a very short one."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC))
    except OSError:
        # SQLite says what is wrong with it
        return False
    return bool(head) and head != MAGIC


def _is_busy(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
