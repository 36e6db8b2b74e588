"""The sentences that say which limit ended a call; every sandbox uses the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from maniple.algorithm.call import Limits

_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Over(StrEnum):
    """The limits of a call; the value is the answer's cause."""

    TIME = "time limit"
    MEMORY = "memory limit"
    OUTPUT = "output limit"
    DISK = "disk limit"


class End(NamedTuple):
    """What an answer that is not ok holds as `cause` and `error`."""

    cause: str
    error: str


CANCELLED: Final = End("cancelled", "cancelled, and ended before it was done")


def over(which: Over, limits: Limits, *, files: bool = False) -> End:
    """Say that a call wanted more than its limits allow.

    Args:
        which: the limit.
        limits: of the call.
        files: of the disk limit: it was the number of files and not their bytes.
    """
    if which is Over.TIME:
        text = f"ran longer than the time limit of {limits.seconds or 0:g} s, and was ended"
    elif which is Over.MEMORY:
        text = f"wanted more memory than the memory limit of {size(limits.memory)}"
    elif which is Over.OUTPUT:
        text = f"printed more than the output limit of {size(limits.output)}, and was ended"
    elif files:
        text = f"made more files than the disk limit of {limits.files} files"
    else:
        text = f"wrote more than the disk limit of {size(limits.disk)}"
    return End(which.value, text)


def size(count: int) -> str:
    """Write a number of bytes as people do, exactly: `64 MiB`, `1000 bytes`."""
    for unit, name in _UNITS:
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"
