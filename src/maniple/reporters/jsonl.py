"""Events as JSON Lines: a folder with one file per minion, one object per line."""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from maniple import plugins
from maniple.errors import StorageError
from maniple.event import Event
from maniple.task import encode_param

_encode: Final = msgspec.json.Encoder().encode

MAX_PENDING: Final = 10_000
"""Events kept per minion while they cannot be written; older ones are dropped."""


class JsonlReporter:
    """Appends events to `<directory>/<uid>.jsonl`.

    `report` only encodes; `flush` writes whole lines in one call of write(2), so that a minion
    killed at any moment leaves at most its last line torn. Nothing is synced to the disk:
    events survive the death of every process, not that of the machine.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Name the folder; it is made by the first `flush` that has something to write."""
        self.directory = os.fspath(directory)
        self._pending: dict[str, list[bytes]] = {}
        self._files: dict[str, int] = {}
        self._paths: dict[str, str] = {}

    def report(self, event: Event) -> None:
        """Encode the event now (about a microsecond): its param may change afterwards.

        A param that JSON cannot hold is written as the text of its `repr`.
        """
        try:
            line = _encode(event)
        except Exception:
            line = _encode_rare(event)
        if b"\n" in line:
            # Only a `msgspec.Raw` brings a newline, and in JSON it can only be white space
            line = line.replace(b"\n", b" ")
        lines = self._pending.get(event.uid)
        if lines is None:
            lines = self._pending[event.uid] = []
        lines.append(line)

    def flush(self) -> None:
        """Append what was reported since the last flush.

        Raises:
            StorageError: the folder or a file cannot be made or written. The events are kept
                for the next flush, the newest `MAX_PENDING` of each minion.
        """
        for uid, lines in self._pending.items():
            if lines:
                self._append(uid, lines)

    def close(self) -> None:
        """Flush and close the files."""
        try:
            self.flush()
        finally:
            for uid in list(self._files):
                self._forget(uid)

    def read(self) -> list[Event]:
        """Read all events of the folder, of every minion, in order of their end.

        Raises:
            StorageError: a file cannot be read.
        """
        from maniple.stats.scan import read_events

        return read_events(self.directory)

    def to_pandas(self) -> Any:
        """Read all events of the folder as one `pandas.DataFrame`, a column per field.

        Times are in seconds since the epoch; `atomic_actions` holds lists of dicts.

        Raises:
            MissingExtraError: pandas is not installed.
            StorageError: a file cannot be read.
        """
        try:
            import pandas as pd
        except ImportError:
            raise plugins.missing_extra("pandas", "a table of events") from None
        events = self.read()
        columns: dict[str, Any] = {
            name: [getattr(event, name) for event in events] for name in Event.__struct_fields__
        }
        columns["atomic_actions"] = [msgspec.to_builtins(e.atomic_actions) for e in events]
        # Left to itself, pandas would turn the None of success into NaN
        columns["error"] = pd.Series(columns["error"], dtype=object)
        return pd.DataFrame(columns)

    def _append(self, uid: str, lines: list[bytes]) -> None:
        path = self._path(uid)
        written = 0
        data = b""
        try:
            file, torn = self._open(uid, path)
            data = b"\n".join([b"", *lines, b""] if torn else [*lines, b""])
            while written < len(data):
                written += os.write(file, data[written:] if written else data)
        except OSError as error:
            whole = data[:written].removeprefix(b"\n").count(b"\n")
            # What follows starts on a new line: the next opening sees the torn end
            self._forget(uid)
            del lines[:whole]
            dropped = max(0, len(lines) - MAX_PENDING)
            del lines[:dropped]
            loss = f" ({dropped} events dropped)" if dropped else ""
            raise StorageError(
                f"cannot write events to {path}: {error.strerror or error}{loss};"
                " free or mend the place, or name another folder"
            ) from None
        lines.clear()

    def _path(self, uid: str) -> str:
        path = self._paths.get(uid)
        if path is None:
            path = self._paths[uid] = os.path.join(self.directory, _file_name(uid))
        return path

    def _open(self, uid: str, path: str) -> tuple[int, bool]:
        """Return the file of a minion, and whether its last line is torn."""
        file = self._files.get(uid)
        if file is not None:
            if os.fstat(file).st_nlink:
                return file, False
            # Somebody emptied the folder: what went on to that file nobody could read
            self._forget(uid)
        os.makedirs(self.directory, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._files[uid] = file
        size = os.fstat(file).st_size
        return file, size > 0 and os.pread(file, 1, size - 1) != b"\n"

    def _forget(self, uid: str) -> None:
        file = self._files.pop(uid, None)
        if file is not None:
            os.close(file)


def _file_name(uid: str) -> str:
    """Name a minion's file, whatever its uid holds; hidden files are not read as events."""
    safe = "".join(c if c.isalnum() or c in "-_.@+=" else f"%{ord(c):x}" for c in uid)
    if safe.startswith("."):
        safe = "%2e" + safe[1:]
    return f"{safe}.jsonl"


def _encode_rare(event: Event) -> bytes:
    """Encode integers beyond 64 bits, text that is not valid UTF-8, and objects of any class."""
    texts = {
        name: value.encode("utf-8", "backslashreplace").decode()
        for name in ("uid", "error", "nodename", "oar_job_id", "task", "cause", "queue")
        if isinstance(value := getattr(event, name), str)
    }
    param = event.param
    if not isinstance(param, msgspec.Raw):
        try:
            param = msgspec.Raw(encode_param(param))
        except Exception:
            # A param's own methods may raise anything, its `repr` included
            param = _repr(param)
    return _encode(msgspec.structs.replace(event, param=param, **texts))


def _repr(param: Any) -> str:
    try:
        return repr(param).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return f"<{type(param).__name__}>"
