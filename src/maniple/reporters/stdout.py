"""Events as lines for people."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import msgspec

from maniple.errors import StorageError
from maniple.event import Event
from maniple.task import encode_param


class StdoutReporter:
    """Prints a line per event: time, minion, param, duration, and `ok` or what went wrong.

    Lines are kept until `flush`, so that those of several minions do not mix within a line.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Print to `stream`, or to what `sys.stdout` is at each flush."""
        self._stream = stream
        self._lines: list[str] = []

    def report(self, event: Event) -> None:
        """Make the event's line."""
        clock = time.strftime("%H:%M:%S", time.localtime(event.end))
        took = max(0.0, event.end - event.start)
        if event.error is None:
            verdict = "ok"
        else:
            verdict = f"failed: {last_line(event.error) or event.cause or 'no message'}"
        self._lines.append(
            f"{clock}  {event.uid}  {_as_text(event.param)}  {took:.3f} s  {verdict}\n"
        )

    def flush(self) -> None:
        """Print the lines.

        Raises:
            StorageError: the stream takes no more; the lines are dropped.
        """
        if not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        stream = self._stream if self._stream is not None else sys.stdout
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            stream.flush()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"cannot print events to {_name(stream)}: {reason}") from None

    def close(self) -> None:
        """Flush; the stream stays open, for it is not ours."""
        self.flush()


def last_line(text: str) -> str:
    """Return the last line of a message that says something, its ends stripped."""
    return text.rstrip().rpartition("\n")[2].strip()


def _as_text(param: Any) -> str:
    if isinstance(param, msgspec.Raw):
        return bytes(param).decode("utf-8", "replace")
    try:
        return encode_param(param).decode("utf-8", "replace")
    except Exception:
        return _repr(param)


def _repr(param: Any) -> str:
    """A param's own methods may raise anything, its `repr` included."""
    try:
        return repr(param)
    except Exception:
        return f"<{type(param).__name__}>"


def _name(stream: TextIO) -> str:
    return str(getattr(stream, "name", "the stream"))
