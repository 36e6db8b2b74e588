"""Notes of finished tasks that outlive the minion who wrote them.

A transaction costs far more than a small append to a file, and what is appended is there for others
even when the writer is killed at once. So a minion notes each finished task here, and tells the
database of many at a time; whoever takes over the leases of a dead minion reads its notes first.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_NUMBER: Final = struct.Struct("=q")


class Journal:
    """The notes of one queue object, in a file of its own in the folder `FILE-done`."""

    def __init__(self, database: str, name: str) -> None:
        self._folder = f"{database}-done"
        self._path = os.path.join(self._folder, name)
        self._fd = -1
        self._noted: set[int] = set()

    def add(self, numbers: list[int]) -> bool:
        """Note tasks as finished; False where notes cannot be kept (disk full, read-only)."""
        try:
            if self._fd < 0:
                os.makedirs(self._folder, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o666)
            data = array("q", numbers).tobytes()
            if os.write(self._fd, data) != len(data):
                self._mend()
                return False
        except OSError:
            return False
        self._noted.update(numbers)
        return True

    def _mend(self) -> None:
        """Cut off a torn note: whatever came after it would be read as other numbers."""
        size = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, size - size % _NUMBER.size)

    def settled(self, numbers: Iterable[int]) -> None:
        """Forget notes that the database has now."""
        if not self._noted:
            return
        self._noted.difference_update(numbers)
        if not self._noted:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Remove the file, unless it holds what the database does not know."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if not self._noted:
            self.remove(self._folder.removesuffix("-done"), os.path.basename(self._path))

    @staticmethod
    def names(database: str) -> list[str]:
        """List the queue objects that have notes."""
        try:
            return os.listdir(f"{database}-done")
        except OSError:
            return []

    @staticmethod
    def read(database: str, name: str) -> set[int]:
        """Read the notes of any queue object; a note that was cut short does not count."""
        try:
            with open(os.path.join(f"{database}-done", name), "rb") as file:
                data = file.read()
        except OSError:
            return set()
        return set(array("q", data[: len(data) // _NUMBER.size * _NUMBER.size]))

    @staticmethod
    def remove(database: str, name: str) -> None:
        """Remove the notes of a queue object that is gone, and the folder after the last one."""
        with suppress(OSError):
            os.unlink(os.path.join(f"{database}-done", name))
        with suppress(OSError):
            os.rmdir(f"{database}-done")
