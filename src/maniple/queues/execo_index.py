"""The order of a sweep's tasks. execo keeps a set; tasks are numbered, and come by their number."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from maniple.queues.execo_values import task_of
from maniple.task import ID_BYTES

_GONE: Final = object()


class Index:
    """Numbers of what a sweep iterates on: a file of task ids in their order, which only grows.

    Use it while the folder is locked.

    Args:
        path: of the file; it is made when it is missing.
        originals: what execo iterates on. What is new gets the next numbers: short params first,
            then alphabetically, unless `append` has set the order.
    """

    def __init__(self, path: str, originals: Collection[Any]) -> None:
        self._numbers: dict[Any, int] = {}
        self._ids: dict[str, int] = {}
        self._keys: list[str] = []
        self._path = path
        for key in self._read():
            self._add(key)
        fresh = []
        for original in originals:
            task = task_of(original)
            number = self._ids.get(task.id)
            if number is None:
                fresh.append((len(task.data), task.data, task.id, original))
            else:
                self._numbers[original] = number
        fresh.sort(key=lambda entry: entry[:3])
        self.append([key for _, _, key, _ in fresh])
        for _, _, key, original in fresh:
            self._numbers[original] = self._ids[key]
        self._slots: list[Any] = [_GONE] * len(self._keys)
        for original, number in self._numbers.items():
            self._slots[number - 1] = original
        self._front = 0

    def _read(self) -> Iterator[str]:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        whole = len(data) // ID_BYTES * ID_BYTES
        if whole != len(data):
            # its writer was killed in mid-word
            os.truncate(self._path, whole)
        for at in range(0, whole, ID_BYTES):
            yield data[at : at + ID_BYTES].hex()

    def append(self, keys: Sequence[str]) -> None:
        """Give the next numbers to task ids that have none."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._ids]
        if not fresh:
            return
        with open(self._path, "ab") as file:
            file.write(b"".join(map(bytes.fromhex, fresh)))
        for key in fresh:
            self._add(key)

    def _add(self, key: str) -> None:
        self._keys.append(key)
        self._ids.setdefault(key, len(self._keys))

    def key(self, original: Any) -> str:
        """Give a task's id."""
        number = self._numbers.get(original)
        return task_of(original).id if number is None else self._keys[number - 1]

    def number(self, original: Any) -> int:
        """Give a task's number; 0 for what is not in the sweep."""
        return self._numbers.get(original, 0)

    def in_order(self, originals: Iterable[Any]) -> list[Any]:
        """Sort what execo iterates on."""
        return sorted(originals, key=self.number)

    def walk(self, remaining: Collection[Any]) -> Iterator[Any]:
        """Walk over what remains to be done, by number.

        From where the last walk stopped, first: nearly always the next ones are there. Then over
        everything, for what has come back meanwhile.
        """
        slots = self._slots
        while self._front < len(slots):
            original = slots[self._front]
            if original is not _GONE and original in remaining:
                yield original
            self._front += 1
        yield from self.in_order(remaining)

    def originals(self, keys: Iterable[str]) -> list[Any]:
        """Give what execo calls some tasks, by number; those that are in the sweep."""
        numbers = sorted(self._ids[key] for key in keys if key in self._ids)
        found = (self._slots[number - 1] for number in numbers if number <= len(self._slots))
        return [original for original in found if original is not _GONE]
