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
_HEAD: Final = struct.Struct("<B3xIdd")
ROOM: Final = SLOT_BYTES - _HEAD.size


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
        _HEAD.pack_into(
            self._memory, index % SLOTS * SLOT_BYTES, Mark.RUNNING, 0, start, 0.0
        )

    def ended(self, index: int, mark: int, start: float, end: float, payload: bytes) -> None:
        """Note how a task ended (in the function's process); the payload must fit `ROOM`."""
        base = index % SLOTS * SLOT_BYTES
        if payload:
            self._memory[base + _HEAD.size : base + _HEAD.size + len(payload)] = payload
        # the head, and the mark in it, come last: a slot counts only when it is whole
        _HEAD.pack_into(self._memory, base, mark, len(payload), start, end)

    def read(self, index: int) -> tuple[int, int, float, float]:
        """Read mark, payload's length, start and end of a slot."""
        return _HEAD.unpack_from(self._memory, index % SLOTS * SLOT_BYTES)

    def payload(self, index: int, length: int) -> bytes:
        """Read the payload of a slot."""
        base = index % SLOTS * SLOT_BYTES + _HEAD.size
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
    except Exception:
        carried = pickle.dumps(Raised(f"{cause}: {error}"))
    return pickle.dumps((cause, text, carried))


def load_raised(payload: bytes) -> tuple[str, str, BaseException]:
    """Read what `dump_raised` wrote: the class's name, the traceback, the exception."""
    cause, text, carried = pickle.loads(payload)  # noqa: S301 - from our own child
    try:
        error = pickle.loads(carried)  # noqa: S301 - from our own child
    except Exception:
        error = Raised(f"{cause}: {text.strip().rpartition(chr(10))[2]}")
    return cause, text, error


def load_value(payload: bytes) -> Any:
    """Read a function's result; nothing at all stands for None."""
    return pickle.loads(payload) if payload else None  # noqa: S301 - from our own child
