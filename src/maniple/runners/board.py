"""The memory that a function's process shares with its minion: one slot per task in flight.

The process writes a result into its task's slot and moves on, with no system call; the minion
reads it when it looks. What was finished is there even when the process dies in the next task.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import traceback
from enum import IntEnum
from typing import Any, Final

SLOTS: Final = 256
SLOT_BYTES: Final = 1024
_MARK_BYTES: Final = 4
_BODY: Final = struct.Struct("<Idd")
_HEAD_BYTES: Final = _MARK_BYTES + _BODY.size
ROOM: Final = SLOT_BYTES - _HEAD_BYTES


class Mark(IntEnum):
    """What a slot says of its task."""

    FREE = 0
    RUNNING = 1
    DONE = 2
    RAISED = 3
    DONE_APART = 4
    RAISED_APART = 5


class Board:
    """`SLOTS` slots of shared memory; task n uses slot n modulo `SLOTS`."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT_BYTES)

    def running(self, index: int, start: float) -> None:
        """Note that a task starts (in the function's process)."""
        base = index % SLOTS * SLOT_BYTES
        _BODY.pack_into(self._memory, base + _MARK_BYTES, 0, start, 0.0)
        self._memory[base] = Mark.RUNNING

    def ended(self, index: int, mark: int, start: float, end: float, payload: bytes) -> None:
        """Note how a task ended (in the function's process); the payload must fit `ROOM`."""
        base = index % SLOTS * SLOT_BYTES
        if payload:
            self._memory[base + _HEAD_BYTES : base + _HEAD_BYTES + len(payload)] = payload
        _BODY.pack_into(self._memory, base + _MARK_BYTES, len(payload), start, end)
        # a store of its own, and the last one: the minion may read at any moment
        self._memory[base] = mark

    def read(self, index: int) -> tuple[int, int, float, float]:
        """Read mark, payload's length, start and end of a slot."""
        base = index % SLOTS * SLOT_BYTES
        # the mark first: what it stands for was written before it
        mark = self._memory[base]
        return mark, *_BODY.unpack_from(self._memory, base + _MARK_BYTES)

    def payload(self, index: int, length: int) -> bytes:
        """Read the payload of a slot."""
        base = index % SLOTS * SLOT_BYTES + _HEAD_BYTES
        return self._memory[base : base + length]

    def free(self, index: int) -> None:
        """Make a slot ready for its next task."""
        self._memory[index % SLOTS * SLOT_BYTES] = Mark.FREE

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()


class Raised(Exception):  # noqa: N818 - it stands for another's exception
    """Stands in for an exception that cannot travel by pickle."""


def dump_raised(error: BaseException) -> bytes:
    """Write an exception with its traceback's text, so that another process can raise it."""
    text = "".join(traceback.format_exception(error))
    cause = type(error).__name__
    try:
        carried = pickle.dumps(error)
        pickle.loads(carried)  # noqa: S301 - our own bytes; many exceptions pickle but do not load
    except BaseException:  # its own code is run here, and may do anything
        carried = pickle.dumps(Raised(_last_line(text)))
    return pickle.dumps((cause, text, carried))


def load_raised(payload: bytes) -> tuple[str, str, BaseException]:
    """Read what `dump_raised` wrote: the class's name, the traceback, the exception."""
    cause, text, carried = pickle.loads(payload)  # noqa: S301 - from our own child
    try:
        error = pickle.loads(carried)  # noqa: S301 - from our own child
    except BaseException:  # likewise
        error = Raised(_last_line(text))
    if not isinstance(error, BaseException):
        error = Raised(_last_line(text))
    return cause, text, error


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def load_value(payload: bytes) -> Any:
    """Read a function's result; nothing at all stands for None."""
    return pickle.loads(payload) if payload else None  # noqa: S301 - from our own child
