"""Which ids a shared folder knows, and the lock of who adds to them.

ids/ holds a file for each time somebody filled or purged, numbered in order. Such a file is the
lock (only one process can create it), the record of the ids that were added, and its growth is the
heartbeat of its writer. Its records are a line `kind first count name`, followed by `count` ids of
16 bytes and a newline:

    owner 0 0 IDENTITY       who writes
    seal SIZE 0 FILE         the bytes of the file before that count, though its writer did not end
    chunk FIRST COUNT NAME   that many tasks from that number on, in that chunk
    forget 0 COUNT -         ids that may be added again
    end 0 0 -                the lock is free
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from maniple.queues.folder_files import Folder
from maniple.task import ID_BYTES

SINGLE: Final = 2
"""So many tasks found are too many."""


def encode_record(kind: str, first: int, name: str, ids: Sequence[bytes] = ()) -> bytes:
    """Write a record."""
    head = f"{kind} {first} {len(ids)} {name}\n".encode()
    return head + b"".join(ids) + b"\n" * bool(ids)


def decode_records(data: bytes, start: int = 0) -> Iterator[tuple[str, int, int, str, int, int]]:
    """Walk over the whole records: kind, first, count, name, where the ids start, and the end.

    A record that was cut off ends the walk.
    """
    while (line := data.find(b"\n", start)) >= 0:
        kind, first, count, name = data[start:line].decode().split(" ", 3)
        ids = line + 1
        size = int(count) * ID_BYTES
        start = ids + size + bool(size)
        if size and data[start - 1 : start] != b"\n":
            return
        yield kind, int(first), int(count), name, ids, start


class Ids:
    """All ids that a queue knows, read as far as they were needed.

    Attributes:
        known: the ids.
        last_number: the highest number of a task.
        chunks: the chunks that each file records.
        resets: how often what was read turned out not to count.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.resets = -1
        self.reset()

    def reset(self) -> None:
        """Forget what was read."""
        self.known: set[bytes] = set()
        self.last_number = 0
        self.chunks: dict[str, list[str]] = {}
        self.resets += 1
        self._ended: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._seals: dict[str, int] = {}
        self._writers: dict[str, str] = {}

    def files(self) -> list[str]:
        """List the files in order."""
        return sorted(self._folder.names("ids"))

    def ended(self, name: str) -> bool:
        """Tell whether the writer of a file has ended its work."""
        return name in self._ended

    def sealed(self, name: str) -> bool:
        """Tell whether a later writer has settled what of a file counts."""
        return name in self._seals

    def all_ended(self) -> bool:
        """Tell whether nobody was adding tasks when we looked last."""
        last = max(self._sizes, default=None)
        return last is None or last in self._ended

    def size(self, name: str) -> int:
        """Bytes of a file that were understood."""
        return self._sizes.get(name, 0)

    def writer(self, name: str) -> str:
        """Identity of the process that writes a file; nothing when it has not said so yet."""
        return self._writers.get(name, "")

    def update(self) -> None:
        """Read what is new."""
        files = self.files()
        data = {name: self._new(name) for name in files}
        for name in files:
            self._sizes.setdefault(name, 0)
        for name in reversed(files):
            for kind, first, _, what, _, _ in decode_records(data[name]):
                if kind == "seal":
                    self._seals[what] = first
                elif kind != "owner":
                    break
        if any(self.size(name) > size for name, size in self._seals.items()):
            # a writer that was taken for dead went on for a while, and we had read that
            self.reset()
            self.update()
            return
        for name in files:
            self._learn(name, data[name])

    def _new(self, name: str) -> bytes:
        start = self.size(name)
        if name in self._ended or start >= self._seals.get(name, start + 1):
            return b""
        return self._folder.read("ids", name)[start:]

    def _learn(self, name: str, data: bytes) -> None:
        start = self.size(name)
        if name in self._seals:
            data = data[: max(0, self._seals[name] - start)]
        for kind, first, count, what, ids, end in decode_records(data):
            raw = (data[i : i + ID_BYTES] for i in _steps(ids, count))
            if kind == "owner":
                self._writers[name] = what
            elif kind == "chunk":
                self.known.update(raw)
                self.last_number = max(self.last_number, first + count - 1)
                self.chunks.setdefault(name, []).append(what)
            elif kind == "forget":
                self.known.difference_update(raw)
            elif kind == "end":
                self._ended.add(name)
            self._sizes[name] = start + end

    def wrote(self, name: str, size: int) -> None:
        """Note that a file of ours has ended, all of which is in `known` already."""
        self._sizes[name] = size
        self._ended.add(name)

    def find(self, prefix: str) -> list[int]:
        """Find the numbers of the tasks whose id starts so, two of them at most."""
        self.update()
        digits = prefix.lower()
        try:
            whole = bytes.fromhex(digits[: len(digits) // 2 * 2])
            int(digits, 16)
        except ValueError:
            return []
        found: dict[bytes, int] = {}
        for name in self.files():
            data = self._folder.read("ids", name)[: self.size(name)]
            if whole not in data:
                continue
            for kind, first, count, _, ids, end in decode_records(data):
                if kind != "chunk" or data.find(whole, ids, end) < 0:
                    continue
                for offset, i in enumerate(_steps(ids, count)):
                    raw = data[i : i + ID_BYTES]
                    if raw.startswith(whole) and raw.hex().startswith(digits) and raw in self.known:
                        # an id that was forgotten and added again has its latest number
                        found[raw] = first + offset
                if len(found) >= SINGLE:
                    break
        return list(found.values())[:SINGLE]


def _steps(position: int, count: int) -> range:
    return range(position, position + count * ID_BYTES, ID_BYTES)


def create_file(folder: Folder, name: str) -> bool:
    """Create the next file of ids/, which takes the lock; False when somebody else was first."""
    try:
        fd = os.open(
            folder.path("ids", name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
        )
    except FileExistsError:
        return False
    os.close(fd)
    return True
