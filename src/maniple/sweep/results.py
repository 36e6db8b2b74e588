"""Results in a file, with the params beside them: JSON Lines or CSV, by the file's ending.

Minions append to one file. Each batch is one write under a lock, and one that does not fit on the
disk is taken back, so that the file never holds half a row of a living minion; the half row of a
machine that went down is closed before the next one is written.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from typing import Any, Final

import msgspec

from maniple.errors import StorageError, UsageError
from maniple.runner import Outcome
from maniple.task import Task

_ENDINGS: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}
_AFTER: Final = ("result", "error", "exit", "seconds", "attempt", "number")


class Row(msgspec.Struct, omit_defaults=True):
    """One result, as JSON Lines hold it.

    Attributes:
        param: of the task.
        result: what the function returned, or the program printed: as JSON where it is JSON.
        error: None when all went well.
        exit: exit code of a program; negative for a signal.
        seconds: how long the attempt took.
        attempt: counts from 1.
        number: of the task in its queue.
    """

    param: Any
    result: Any
    error: str | None
    exit: int | None
    seconds: float
    attempt: int
    number: int


class ResultFile:
    """Appends results to a file.

    Args:
        path: ends in .jsonl, .ndjson, .json or .csv.

    Raises:
        UsageError: another ending.
        StorageError: the file cannot be opened or written.
    """

    def __init__(self, path: str) -> None:
        ending = os.path.splitext(path)[1].lower()
        if ending not in _ENDINGS:
            raise UsageError(f"results go to a .jsonl or .csv file, not to {path}")
        self._csv = _ENDINGS[ending] == "csv"
        self._path = path
        self._rows: list[Row] = []
        self._columns: list[str] | None = None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise StorageError(f"cannot write results to {path}: {error.strerror}") from None

    def write(self, task: Task, outcome: Outcome) -> None:
        """Take one result."""
        param = task.param if self._csv else msgspec.Raw(task.data)
        error = outcome.error
        self._rows.append(
            Row(
                param,
                None if error is not None and not outcome.stdout else _result(outcome),
                error,
                outcome.exit_code,
                round(outcome.end - outcome.start, 6),
                task.attempt,
                task.number,
            )
        )

    def flush(self) -> None:
        """Append what was taken: all of it, or nothing and an error."""
        if not self._rows:
            return
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                size = os.fstat(self._fd).st_size
                data = self._closing(size) + (
                    self._csv_of(size) if self._csv else _lines(self._rows)
                )
                self._append(data, size)
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise StorageError(
                f"cannot write results to {self._path}: {error.strerror}; the tasks are not lost"
            ) from None
        # not before: rows that are not written stay, and keep their tasks from being acknowledged
        self._rows.clear()

    def _append(self, data: bytes, size: int) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def _closing(self, size: int) -> bytes:
        """End the last row, should it have been cut short."""
        return b"\n" if size and os.pread(self._fd, 1, size - 1) != b"\n" else b""

    def _csv_of(self, size: int) -> bytes:
        rows = self._rows
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not size:
            self._columns = [*_fields(rows[0].param), *_AFTER]
            writer.writerow(self._columns)
        elif self._columns is None:
            head = os.pread(self._fd, 1 << 20, 0).decode("utf-8", "replace")
            self._columns = next(csv.reader(io.StringIO(head)), [])
        for row in rows:
            known = {**_fields(row.param), **{name: getattr(row, name) for name in _AFTER}}
            extra = known.keys() - set(self._columns)
            if extra:
                raise StorageError(
                    f"{self._path} has no column {min(extra)!r}: params of several kinds "
                    "belong in a .jsonl file"
                )
            writer.writerow([_cell(known.get(name)) for name in self._columns])
        return text.getvalue().encode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Write the rest and close."""
        try:
            self.flush()
        finally:
            os.close(self._fd)


def _lines(rows: list[Row]) -> bytes:
    encode = msgspec.json.encode
    return b"".join([encode(row, enc_hook=repr) + b"\n" for row in rows])


def _fields(param: Any) -> dict[str, Any]:
    if isinstance(param, dict):
        # a field of the param must not hide a column of ours
        return {f"param.{k}" if k in _AFTER else str(k): value for k, value in param.items()}
    return {"param": param}


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, default=repr)


def _result(outcome: Outcome) -> Any:
    if outcome.exit_code is None:
        value = outcome.value
        return None if isinstance(value, BaseException) else value
    text = outcome.stdout.strip()
    if not text:
        return ""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text.decode("utf-8", "replace")
