"""Event files to records: all lines of a folder, or those added since the last look."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from maniple.errors import StorageError
from maniple.event import Event, Step
from maniple.task import decode_param

CHUNK_BYTES: Final = 1 << 22


class StepLine(msgspec.Struct, gc=False):
    """One step as it stands in a file; a time may be missing."""

    name: str
    start: float | None = None
    end: float | None = None


class Line(msgspec.Struct, gc=False):
    """One event as it stands in a file, with the fewest demands: older tools wrote less."""

    uid: str
    start: float
    end: float
    param: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    atomic_actions: list[StepLine] | None = None
    nodename: str | None = None
    task: str = ""
    attempt: int = 1
    cause: str = ""
    queue: str = ""
    generation: int = 0
    pid: int = 0
    oar_job_id: Any = ""


_decoder: Final = msgspec.json.Decoder(Line)
_decode: Final = _decoder.decode
_decode_lines: Final = _decoder.decode_lines


class Scanner:
    """Reads a folder of event files (or a single one), and later what was added to it.

    Every file whose name does not start with a dot is read. A line that is torn, damaged or no
    event is counted and skipped.

    Attributes:
        path: the folder or file.
        damaged: lines skipped so far, the unfinished last lines of files included.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._places: dict[str, tuple[int, int]] = {}
        self._skipped = 0
        self._unfinished: set[str] = set()

    @property
    def damaged(self) -> int:
        """Lines skipped so far, the unfinished last lines of files included."""
        return self._skipped + len(self._unfinished)

    def stale(self) -> bool:
        """Tell whether a file that was read is gone, replaced or shorter: begin anew then."""
        for path, (inode, offset) in self._places.items():
            try:
                status = os.stat(path)
            except OSError:
                return True
            if status.st_ino != inode or status.st_size < offset:
                return True
        return False

    def read(self) -> Iterator[list[Line]]:
        """Give the events added since the last call, in batches, file by file.

        Raises:
            StorageError: the folder or a file cannot be read. A folder that does not exist (yet)
                holds no events.
        """
        for path in self._files():
            try:
                yield from self._read_file(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(path, error) from None

    def _files(self) -> list[str]:
        try:
            with os.scandir(self.path) as entries:
                return sorted(e.path for e in entries if e.name[0] != "." and e.is_file())
        except NotADirectoryError:
            return [self.path]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _read_file(self, path: str) -> Iterator[list[Line]]:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            offset = self._places.get(path, (0, 0))[1]
            if status.st_size == offset:
                self._places[path] = (status.st_ino, offset)
                return
            file.seek(offset)
            rest = b""
            while block := file.read(CHUNK_BYTES):
                lines, newline, rest = (rest + block).rpartition(b"\n")
                if newline:
                    offset += len(lines) + 1
                    self._places[path] = (status.st_ino, offset)
                    yield self._decode(lines)
            self._unfinished.discard(path)
            if rest:
                # A minion is writing it, or died there; a tool may also leave out the last newline
                last = decode_line(rest)
                if last is None:
                    self._unfinished.add(path)
                else:
                    offset += len(rest)
                    yield [last]
            self._places[path] = (status.st_ino, offset)

    def _decode(self, data: bytes) -> list[Line]:
        try:
            return _decode_lines(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        good: list[Line] = []
        for text in data.split(b"\n"):
            if text and not text.isspace():
                line = decode_line(text)
                if line is None:
                    self._skipped += 1
                else:
                    good.append(line)
        return good


def decode_line(text: bytes) -> Line | None:
    """Read one line, or None when it is no event.

    What Python's `json` writes beyond JSON (NaN, lone surrogates) is understood as well.
    """
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        value = json.loads(text)
        param = json.dumps(value.pop("param", None), sort_keys=True, separators=(",", ":"))
        line = msgspec.convert(_clean(value), Line)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    line.param = msgspec.Raw(param.encode())
    return line


def _clean(value: Any) -> Any:
    """Make lone surrogates harmless."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def read_events(path: str | os.PathLike[str]) -> list[Event]:
    """Read all events of a folder, params decoded, in order of their end; damaged lines skipped.

    Raises:
        StorageError: the folder or a file cannot be read.
    """
    events = [_as_event(line) for batch in Scanner(path).read() for line in batch]
    events.sort(key=lambda event: event.end)
    return events


def _as_event(line: Line) -> Event:
    steps = [
        Step(step.name, step.start, step.end)
        for step in line.atomic_actions or ()
        if step.start is not None and step.end is not None
    ]
    return Event(
        uid=line.uid,
        generation=line.generation,
        start=line.start,
        end=line.end,
        param=decode_param(bytes(line.param)),
        error=line.error,
        atomic_actions=steps,
        nodename=line.nodename or "",
        oar_job_id="" if line.oar_job_id is None else str(line.oar_job_id),
        task=line.task,
        attempt=line.attempt,
        cause=line.cause,
        pid=line.pid,
        queue=line.queue,
    )


def _unreadable(path: str, error: OSError) -> StorageError:
    return StorageError(f"cannot read events from {path}: {error.strerror or error}")
