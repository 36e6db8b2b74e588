"""Filling a shared folder, by one filler at a time.

A chunk is written to tmp/, recorded with its ids, and renamed to ready/. The record commits it: the
next filler renames what a dead one had recorded, and throws away the rest. A filler that was taken
for dead and comes back finds that out after its record and before its rename.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from maniple import owner
from maniple.errors import StorageError
from maniple.queue import as_tasks
from maniple.queues.folder_chunks import chunk_name, encode_line
from maniple.queues.folder_files import Folder
from maniple.queues.folder_ids import Ids, create_file, encode_record
from maniple.task import Task

MAX_CHUNK_TASKS: Final = 1024
MAX_CHUNK_BYTES: Final = 1 << 20
GROWTH: Final = 1024
"""A chunk holds one task for each so many before it: small sweeps are shared one by one."""
BUFFER_TASKS: Final = 1 << 16
BUFFER_BYTES: Final = 16 << 20
BUFFER_SECONDS: Final = 1.0
SILENCE: Final = 30.0
"""Seconds without growth after which a filler counts as dead."""
UNSIGNED_SILENCE: Final = 1.0
"""The same for one that has not even written who it is, which takes a moment."""
POLL_SECONDS: Final = 0.02

A = TypeVar("A")
R = TypeVar("R")


class Filler:
    """Adds tasks to the folder, and takes ids off the record.

    Args:
        folder: the folder.
        clock: by which a silent filler is taken for dead.
        chunk: how many tasks go into a file; None lets the files grow with the queue.

    Attributes:
        ids: what is known of the ids.
    """

    def __init__(
        self, folder: Folder, clock: Callable[[], float], chunk: int | None = None
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._chunk = chunk
        self.ids = Ids(folder)
        self._file = ""
        self._written = 0

    def put(self, items: Iterable[Task]) -> int:
        """Add tasks with new ids, in batches; return how many were added.

        The lock is held for a batch only, never while the next item is waited for. When an item
        cannot be had or encoded, those before it are kept.
        """
        added = 0
        batch: list[tuple[bytes, Task]] = []
        seen: set[bytes] = set()
        ids = self.ids
        ids.update()
        resets = ids.resets
        clock, decode = self._clock, bytes.fromhex
        size, since = 0, clock()
        try:
            for task in as_tasks(items):
                raw = decode(task.id)
                if raw in ids.known or raw in seen:
                    continue
                seen.add(raw)
                batch.append((raw, task))
                size += len(task.data)
                if (
                    len(batch) >= BUFFER_TASKS
                    or size > BUFFER_BYTES
                    or clock() - since > BUFFER_SECONDS
                ):
                    full, batch, size = batch, [], 0
                    added += self._locked(self._add, full)
                    seen.clear()
                    since = clock()
        finally:
            # what a dead filler left is finished even when there is nothing to add
            if batch or not ids.all_ended():
                added += self._locked(self._add, batch)
        if ids.resets != resets:
            raise self._overtaken()
        return added

    def forget(self, ids: Iterable[str]) -> None:
        """Let ids be added again."""
        self._locked(self._forget, [bytes.fromhex(text) for text in ids])

    def _forget(self, ids: list[bytes]) -> None:
        if ids:
            self._record("forget", 0, "-", ids)
            self.ids.known.difference_update(ids)

    def _locked(self, work: Callable[[A], R], argument: A) -> R:
        self._acquire()
        try:
            result = work(argument)
        except BaseException:
            self._abandon()
            raise
        self._record("end", 0, "-")
        self.ids.wrote(self._file, self._written)
        return result

    def _abandon(self) -> None:
        """Leave the folder as our records say, not as we meant."""
        self.ids.reset()
        try:
            self.ids.update()
            if not self._is_overtaken():
                self._recover(self._file)
                self._record("end", 0, "-")
        except OSError:
            # the next filler does that, once we are dead or silent
            return

    def _acquire(self) -> None:
        before, since = ("", -1), self._clock()
        ids = self.ids
        while True:
            ids.update()
            files = ids.files()
            last = files[-1] if files else ""
            state = (last, ids.size(last))
            now = self._clock()
            if state != before:
                before, since = state, now
            writer = ids.writer(last)
            if (
                not last
                or ids.ended(last)
                # we could not write the end of our own
                or last == self._file
                or now - since >= (SILENCE if writer else UNSIGNED_SILENCE)
                or (writer and owner.is_dead(writer))
            ):
                if self._take(last):
                    return
            else:
                time.sleep(POLL_SECONDS)

    def _take(self, last: str) -> bool:
        """Make the next file, unless somebody else does; then finish what dead fillers left."""
        name = f"{int(last or 0) + 1:08d}"
        if not create_file(self._folder, name):
            return False
        self._file, self._written = name, 0
        self._record("owner", 0, owner.identity())
        # what was recorded until now counts
        self.ids.update()
        left = [file for file in self.ids.files() if file < name and not self.ids.ended(file)]
        for file in left:
            if not self.ids.sealed(file):
                self._record("seal", self.ids.size(file), file)
        for file in left:
            self._recover(file)
        return True

    def _recover(self, file: str) -> None:
        recorded = set(self.ids.chunks.get(file, ()))
        prefix = f"fill{file}~"
        for name in self._folder.names("tmp"):
            if name.startswith(prefix):
                chunk = name.removeprefix(prefix)
                if chunk in recorded:
                    self._folder.move("tmp", name, "ready", chunk)
                else:
                    self._folder.remove("tmp", name)

    def _add(self, batch: list[tuple[bytes, Task]]) -> int:
        known = self.ids.known
        first = number = self.ids.last_number + 1
        lines: list[bytes] = []
        raws: list[bytes] = []
        size = 0
        wanted = self._chunk_tasks(first)
        for raw, task in batch:
            if raw in known:
                continue
            known.add(raw)
            line = encode_line(Task(task.id, task.data, task.attempt, number), task.attempt, 0)
            lines.append(line)
            raws.append(raw)
            size += len(line)
            number += 1
            if len(lines) >= wanted or size >= MAX_CHUNK_BYTES:
                self._commit(number - len(lines), lines, raws)
                lines, raws, size = [], [], 0
                wanted = self._chunk_tasks(number)
        if lines:
            self._commit(number - len(lines), lines, raws)
        return number - first

    def _commit(self, first: int, lines: list[bytes], raws: list[bytes]) -> None:
        folder = self._folder
        chunk = chunk_name(first, f"fill{int(self._file)}", len(lines))
        temporary = f"fill{self._file}~{chunk}"
        folder.write("tmp", temporary, b"".join(lines))
        self._record("chunk", first, chunk, raws)
        if self._is_overtaken() or not folder.move("tmp", temporary, "ready", chunk):
            raise self._overtaken()
        self.ids.last_number = first + len(lines) - 1

    def _is_overtaken(self) -> bool:
        return self._folder.has("ids", f"{int(self._file) + 1:08d}")

    def _overtaken(self) -> StorageError:
        return StorageError(
            f"filling the queue in {self._folder.root} took so long that somebody else took over:"
            " fill it again, nothing is lost or doubled"
        )

    def _record(self, kind: str, first: int, name: str, raws: list[bytes] | None = None) -> None:
        data = encode_record(kind, first, name, raws or [])
        self._folder.append("ids", self._file, data)
        self._written += len(data)

    def _chunk_tasks(self, number: int) -> int:
        return self._chunk or max(1, min(MAX_CHUNK_TASKS, number // GROWTH))
