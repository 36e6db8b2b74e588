"""What a job's process says to the one that watches it."""

from __future__ import annotations

import traceback
from typing import Final

import msgspec

from maniple.errors import ManipleError
from maniple.network.usercode import trace

_LONGEST: Final = 30_000
"""A socket takes no message of any size."""


class Stats(msgspec.Struct):
    """What a job tells about itself. Times in seconds since it started.

    Attributes:
        state: `setup`, `running`, `waiting`, `blocked` (by a full pipe) or `ended`.
        calls: of `run`.
        busy: time spent in `run`.
        received: blocks per input.
        sent: blocks per output.
        queued: blocks that wait at the inputs.
        kept: blocks per output that the readers are not done with.
        dropped: blocks that were dropped because too many waited.
        dummies: stand-ins for blocks that were lost.
    """

    state: str = "setup"
    calls: int = 0
    busy: float = 0.0
    received: list[int] = []
    sent: list[int] = []
    queued: int = 0
    kept: list[int] = []
    dropped: int = 0
    dummies: int = 0


class Broken(msgspec.Struct):
    """A job's exception.

    Attributes:
        error: in one line.
        trace: the traceback.
        number: of the set of blocks that it was given, or None.
    """

    error: str
    trace: str
    number: int | None = None


class Said(msgspec.Struct):
    """One message."""

    stats: Stats | None = None
    broken: Broken | None = None


def broken_by(error: BaseException, number: int | None) -> Broken:
    """Tell of an exception, cut to what can be sent.

    Args:
        error: the exception.
        number: of the set of blocks.
    """
    summary = traceback.TracebackException.from_exception(error, compact=True)
    # a note that was added would come last
    summary.__notes__ = None
    line = " ".join("".join(summary.format_exception_only()).strip().splitlines())
    if isinstance(error, SyntaxError):
        line = f"{type(error).__name__}: {error}"
    if isinstance(error, ManipleError):
        line = str(error)
    return Broken(_cut(line, 2000), _cut(trace(error)), number)


def _cut(text: str, most: int = _LONGEST) -> str:
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} [...] {text[-most // 2 :]}"
