"""What a WASI sandbox makes of the way in which a call ended. Nothing is run or read here."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Final

import msgspec

from maniple.algorithm.call import NULL, Answer, Call
from maniple.algorithm.ends import End, Over, over
from maniple.algorithm.wasi_wire import Ended

_OUT_OF_MEMORY: Final = ("memory allocation of", "MemoryError", "out of memory")
_SAID: Final = 500
_LONGEST: Final = 2000


class DiedError(Exception):
    """The process has ended by itself, or something else has ended it.

    Attributes:
        status: its exit code, or the negative number of the signal.
        said: what it wrote on its standard error.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.said = said

    @property
    def out_of_memory(self) -> bool:
        """Whether it could not go on because the kernel gave it no more memory."""
        return any(word in self.said for word in _OUT_OF_MEMORY)

    @property
    def from_outside(self) -> bool:
        """Whether somebody else has ended it, so that the call may be tried again."""
        return self.status in _FROM_OUTSIDE and not self.out_of_memory


_FROM_OUTSIDE: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})


def answer_of(ended: Ended, stdout: bytes, stderr: bytes, start: float, end: float) -> Answer:
    """Put together the answer of a call.

    Args:
        ended: what the process said, or would have said.
        stdout: what the guest printed there.
        stderr: what the guest printed there.
        start: seconds since the epoch.
        end: seconds since the epoch.
    """
    return Answer(
        ok=ended.ok,
        value=_value(ended, stdout),
        files=ended.files,
        missing=ended.missing,
        stdout=stdout,
        stderr=stderr,
        cause=ended.cause,
        error=_printable(_with_last_line(ended, stderr))[:_LONGEST],
        exit_code=ended.exit_code,
        start=start,
        end=end,
    )


def end_of(died: DiedError, call: Call) -> End:
    """Say why the process has died in the middle of a call."""
    if died.out_of_memory:
        return over(Over.MEMORY, call.limits)
    if died.status < 0:
        with suppress(ValueError):
            name = signal.Signals(-died.status).name
            return End("crash", f"the sandbox's process was ended by {name}")
    last = died.said.strip().rpartition("\n")[2].strip()[:_SAID]
    return End("crash", f"the sandbox's process has ended with status {died.status}: {last}")


def _value(ended: Ended, stdout: bytes) -> bytes:
    if not ended.ok:
        return NULL
    if ended.value is not None:
        return ended.value
    text = stdout.strip()
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return NULL
    return text


def _with_last_line(ended: Ended, stderr: bytes) -> str:
    """Add the last line that a failed guest printed, where that is its own failure."""
    if not ended.cause.startswith(("exit", "trap")):
        return ended.error
    said = stderr.strip()[-2000:].rpartition(b"\n")[2].decode("utf-8", "replace").strip()[:_SAID]
    return f"{ended.error}: {said}" if said else ended.error


def _printable(text: str) -> str:
    """Keep names that a module made up from doing anything to a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
