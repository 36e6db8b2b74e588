"""The files of a queue in a shared folder: opened, listed, written and renamed.

Only what NFS keeps its word on is used: rename and link are atomic, a file has one writer, and what
was written is seen by others once the file is closed. So nothing is kept open.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from maniple.errors import ManipleError, QueueError, StorageError

MARKER: Final = "maniple.json"
KIND: Final = "maniple queue folder"
VERSION: Final = 1
PLACES: Final = (
    "ready",
    "later",
    "leased",
    "logs",
    "done",
    "failed",
    "damaged",
    "ids",
    "minions",
    "tmp",
)
_NO_PERMISSION: Final = {errno.EACCES, errno.EPERM, errno.EROFS}

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def storage_error(root: str, error: OSError) -> ManipleError:
    """Say in one line what the file system refused."""
    reason = error.strerror or str(error)
    if error.errno in _NO_PERMISSION:
        return QueueError(f"cannot use the queue in {root}: {reason}; it must be writable")
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(f"cannot keep tasks in {root}: {reason}; make room and go on")
    if error.errno == errno.ENOENT:
        return StorageError(f"the queue in {root} is damaged or gone: {error.filename} is missing")
    return StorageError(f"the queue in {root} cannot be used: {reason}")


def guarded(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Turn what the file system refuses into one line for the user.

    The object must have its `Folder` as `folder`.
    """

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except OSError as error:
            folder: Folder = self.folder  # type: ignore[attr-defined]
            raise storage_error(folder.root, error) from None

    return call


class Folder:
    """The folder itself.

    Args:
        root: its path.
        create: make it when there is none.

    Raises:
        QueueError: there is none, it is something else, or it may not be used.
    """

    def __init__(self, root: str, *, create: bool) -> None:
        if not root:
            raise QueueError("which folder? write dir:PATH")
        self.root = os.path.abspath(root)
        try:
            self._open(create=create)
        except OSError as error:
            reason = error.strerror or error
            raise QueueError(f"cannot open a queue in {self.root}: {reason}") from None

    def _open(self, *, create: bool) -> None:
        if not os.path.lexists(self.root) and not create:
            raise QueueError(
                f"there is no queue in {self.root}: fill it with `maniple sweep -q dir:{self.root}`"
            )
        if os.path.lexists(self.root) and not os.path.isdir(self.root):
            raise QueueError(f"{self.root} is no folder: a dir: queue needs one")
        marker = os.path.join(self.root, MARKER)
        try:
            with open(marker, "rb") as file:
                self._check(file.read())
        except FileNotFoundError:
            self._make(marker, create=create)
        for place in PLACES:
            path = os.path.join(self.root, place)
            if not os.path.isdir(path):
                os.makedirs(path, exist_ok=True)

    def _check(self, text: bytes) -> None:
        try:
            marker: Any = msgspec.json.decode(text)
            kind, version = marker["kind"], marker["version"]
        except (ValueError, TypeError, KeyError):
            kind, version = None, None
        if kind != KIND or not isinstance(version, int):
            raise QueueError(f"{self.root} is not a maniple queue: its {MARKER} is something else")
        if version > VERSION:
            raise QueueError(
                f"the queue in {self.root} was made by a later maniple (format {version}, this one"
                f" reads {VERSION}): upgrade maniple"
            )

    def _make(self, marker: str, *, create: bool) -> None:
        if os.path.isdir(self.root):
            # somebody else may be making it just now
            others = [n for n in os.listdir(self.root) if not n.startswith((".maniple", MARKER))]
            if others and not os.path.exists(marker):
                raise QueueError(
                    f"{self.root} is not a maniple queue, and not empty: name another folder"
                )
            if not create and not os.path.exists(marker):
                raise QueueError(f"there is no queue in {self.root}, it is an empty folder")
        os.makedirs(self.root, exist_ok=True)
        temporary = os.path.join(self.root, f".maniple-{os.urandom(6).hex()}")
        _write(temporary, msgspec.json.encode({"kind": KIND, "version": VERSION}) + b"\n")
        os.rename(temporary, marker)

    def path(self, place: str, name: str) -> str:
        """Path of a file in one of the places."""
        return f"{self.root}/{place}/{name}"

    def names(self, place: str) -> list[str]:
        """List a place, in no order."""
        return [n for n in os.listdir(f"{self.root}/{place}") if not n.startswith(".")]

    def read(self, place: str, name: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: it is not there (any more).
        """
        fd = os.open(f"{self.root}/{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 1 << 20):
                parts.append(part)
        finally:
            os.close(fd)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_if_there(self, place: str, name: str) -> bytes | None:
        """Read a whole file, or return None where it is not there (any more)."""
        try:
            return self.read(place, name)
        except FileNotFoundError:
            return None

    def write(self, place: str, name: str, data: bytes) -> None:
        """Write a whole file; nothing of it stays when that fails."""
        _write(f"{self.root}/{place}/{name}", data)

    def append(self, place: str, name: str, data: bytes) -> None:
        """Add to a file that only we write; nothing of it stays when that fails."""
        fd = os.open(
            f"{self.root}/{place}/{name}",
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC,
            0o666,
        )
        try:
            written = os.write(fd, data)
            if written < len(data):
                self._append_rest(fd, data, written)
        finally:
            os.close(fd)

    @staticmethod
    def _append_rest(fd: int, data: bytes, written: int) -> None:
        start = os.fstat(fd).st_size - written
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            os.ftruncate(fd, start)
            raise

    def move(self, place: str, name: str, target: str, new: str) -> bool:
        """Rename; False when it is not there (any more).

        An NFS client may repeat a rename that succeeded, and hear that its source is missing: so
        the target decides, and `new` must be a name that only we would use.
        """
        destination = f"{self.root}/{target}/{new}"
        try:
            os.rename(f"{self.root}/{place}/{name}", destination)
        except FileNotFoundError:
            return os.path.lexists(destination)
        return True

    def has(self, place: str, name: str) -> bool:
        """Tell whether a file is there."""
        return os.path.lexists(f"{self.root}/{place}/{name}")

    def remove(self, place: str, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.root}/{place}/{name}")

    def refresh(self, place: str) -> None:
        """Make an NFS client look again at a place, by changing it."""
        name = f".{os.urandom(6).hex()}"
        self.write(place, name, b"")
        self.remove(place, name)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, data[written:])
        finally:
            # a full disk may be told only here
            os.close(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
