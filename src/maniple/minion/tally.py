"""The numbers that the minions of one crew share: what each has done, and the word to stop."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

_SLOT: Final = struct.Struct("<QQQQq")
_COUNTS: Final = struct.Struct("<QQQQ")
_GROUP: Final = struct.Struct("<q")
_FLAGS: Final = 8


class Count(msgspec.Struct, frozen=True):
    """What minions have done.

    Attributes:
        done: tasks that ended well.
        failed: tasks set aside.
        retried: failed attempts that get another.
        returned: tasks given back, or lost to another minion.
    """

    done: int = 0
    failed: int = 0
    retried: int = 0
    returned: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.done + other.done,
            self.failed + other.failed,
            self.retried + other.retried,
            self.returned + other.returned,
        )


class Tally:
    """Shared memory: it lives as long as one of the processes that were forked with it.

    Each slot has one writer; the flags are single bytes. So nothing needs a lock.
    """

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self._memory = mmap.mmap(-1, _FLAGS + slots * _SLOT.size)

    def add(self, slot: int, count: Count) -> None:
        """Add to the numbers of a slot (from 1)."""
        total = self.of(slot) + count
        _COUNTS.pack_into(
            self._memory,
            _FLAGS + (slot - 1) * _SLOT.size,
            total.done,
            total.failed,
            total.retried,
            total.returned,
        )

    def of(self, slot: int) -> Count:
        """Read the numbers of a slot (from 1)."""
        return Count(*_COUNTS.unpack_from(self._memory, _FLAGS + (slot - 1) * _SLOT.size))

    def running(self, slot: int, group: int) -> None:
        """Note the process group that a slot's minion runs a task in; 0 for none.

        Just before there is one, it is minus the minion's process.
        """
        _GROUP.pack_into(self._memory, _FLAGS + slot * _SLOT.size - _GROUP.size, group)

    def groups(self) -> list[int]:
        """List the process groups that run tasks."""
        return [group for group in self._groups() if group > 0]

    def starting(self) -> list[int]:
        """List the minions that are starting a task, whose group is not known yet."""
        return [-group for group in self._groups() if group < 0]

    def _groups(self) -> Iterator[int]:
        for slot in range(1, self.slots + 1):
            yield _GROUP.unpack_from(self._memory, _FLAGS + slot * _SLOT.size - _GROUP.size)[0]

    def total(self) -> Count:
        """Read the numbers of all slots together."""
        total = Count()
        for slot in range(1, self.slots + 1):
            total += self.of(slot)
        return total

    @property
    def halted(self) -> bool:
        """No task is to be started any more."""
        return bool(self._memory[0])

    def halt(self) -> None:
        """Let running tasks end, and start none."""
        self._memory[0] = 1

    @property
    def filling(self) -> bool:
        """More tasks are to come: an empty queue is not the end."""
        return bool(self._memory[1])

    @filling.setter
    def filling(self, value: bool) -> None:
        self._memory[1] = value
