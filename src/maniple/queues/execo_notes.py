"""What we keep beside the files of a `ParamSweeper`: who has taken which param, and failures.

`maniple-owners/ID` says who holds a param and how long, or how often it was tried before it was
given back. `maniple-failed/ID` says why a param was set aside. Files are replaced as a whole, and
all changes are made under one lock file, as execo's own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from maniple.queue import Failure

OWNERS: Final = "maniple-owners"
FAILED: Final = "maniple-failed"
_LOCK: Final = ".lock"
_NEW: Final = ".new"


class Note(msgspec.Struct, frozen=True):
    """What is known of a param that was taken.

    Attributes:
        token: of the last lease.
        owner: who holds it (see `maniple.owner`); empty when it was given back.
        beat: changes whenever its owner renews the lease.
        ttl: seconds that the lease lasts from each beat, or that the pause lasts.
        until: when that is over, by the owner's monotonic clock: for who shares this clock.
        attempt: of the task.
        lapses: how many leases have lapsed.
        clock: which clock `until` was read from.
    """

    token: str
    owner: str
    beat: int
    ttl: float
    until: float
    attempt: int
    lapses: int = 0
    clock: str = ""


class Aside(msgspec.Struct, frozen=True):
    """A param that was set aside."""

    failure: Failure
    attempt: int


Kept = TypeVar("Kept", Note, Aside)


class Notes:
    """The notes of one folder.

    Raises:
        OSError: in any method: the folder cannot be read or written.
    """

    def __init__(self, directory: str) -> None:
        self._owners = os.path.join(directory, OWNERS)
        self._failed = os.path.join(directory, FAILED)
        self._fd: int | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody else out, in other processes and on other machines too."""
        if self._fd is None:
            for folder in (self._owners, self._failed):
                os.makedirs(folder, exist_ok=True)
            path = os.path.join(self._owners, _LOCK)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # by name: a forked child of the user's may hold a copy of the descriptor
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def all(self) -> dict[str, Note]:
        """Read all notes, by task id."""
        found = ((key, self.note(key)) for key in _names(self._owners))
        return {key: note for key, note in found if note is not None}

    def failed(self) -> set[str]:
        """List the ids that were set aside."""
        return _names(self._failed)

    def note(self, key: str) -> Note | None:
        """Read a note; None where there is none, or a torn one."""
        return _read(self._owners, key, Note)

    def aside(self, key: str) -> Aside | None:
        """Read why a param was set aside."""
        return _read(self._failed, key, Aside)

    def write(self, key: str, note: Note) -> None:
        """Write a note."""
        _write(self._owners, key, note)

    def set_aside(self, key: str, aside: Aside) -> None:
        """Write why a param is set aside."""
        failure = aside.failure
        texts = {name: _text(getattr(failure, name)) for name in ("cause", "error", "output")}
        _write(self._failed, key, replace(aside, failure=replace(failure, **texts)))

    def forget(self, key: str) -> None:
        """Remove a note."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._owners, key))

    def pardon(self, key: str) -> bool:
        """Remove the reason why a param was set aside; tell whether there was one."""
        try:
            os.unlink(os.path.join(self._failed, key))
        except FileNotFoundError:
            return False
        return True


class Watch:
    """Tells when leases and pauses are over, without trusting anybody's date.

    Processes that share our monotonic clock (same boot) are believed when they name a time.
    Of the others only this is known: nothing has changed for as long as we have looked.

    Args:
        clock: seconds; never goes back.
        name: what names this clock; see `Note.clock`.
    """

    def __init__(self, clock: Callable[[], float], name: str) -> None:
        self._clock = clock
        self._name = name
        self._seen: dict[str, tuple[str, int, float]] = {}

    def over(self, key: str, note: Note) -> bool:
        """Tell whether the time of a note is over."""
        now = self._clock()
        if note.ttl <= 0:
            return True
        if note.clock == self._name:
            return now >= note.until
        seen = self._seen.get(key)
        if seen is None or seen[:2] != (note.token, note.beat):
            self._seen[key] = (note.token, note.beat, now)
            return False
        return now >= seen[2] + note.ttl

    def forget(self, key: str) -> None:
        """Stop looking at a note."""
        self._seen.pop(key, None)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _names(folder: str) -> set[str]:
    try:
        return {name for name in os.listdir(folder) if not name.startswith(".")}
    except FileNotFoundError:
        return set()


def _read(folder: str, key: str, kind: type[Kept]) -> Kept | None:
    try:
        with open(os.path.join(folder, key), "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(folder: str, key: str, value: msgspec.Struct) -> None:
    data = msgspec.json.encode(value)
    _replace(os.path.join(folder, key), data)


def _replace(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name}{_NEW}")
    with open(draft, "wb") as file:
        file.write(data)
    os.replace(draft, path)
