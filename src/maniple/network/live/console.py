"""Where the output of jobs goes: to the console with the job's name in front, and to files."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import BinaryIO, Final

KEPT_BYTES: Final = 65_536


class Console:
    """Shows the output of many jobs, in whole lines.

    Args:
        names: of the jobs.
        stream: where to; None: nowhere.
        raw: as it comes, without names.
        folder: a log file per job goes there, or None.
        only: the jobs to show, or None for all.
    """

    def __init__(
        self,
        names: list[str],
        stream: BinaryIO | None,
        *,
        raw: bool = False,
        folder: str | None = None,
        only: set[str] | None = None,
    ) -> None:
        self._stream = stream
        self._raw = raw
        self._only = only
        width = max((len(name) for name in names), default=0)
        self._fronts = [f"{name:{width}} | ".encode() for name in names]
        self._names = names
        self._rest = [b""] * len(names)
        self._files: list[int | None] = [None] * len(names)
        if folder is not None:
            os.makedirs(folder, exist_ok=True)
            for place, name in enumerate(names):
                path = os.path.join(folder, f"{file_name(name)}.log")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._files[place] = os.open(path, flags, 0o666)

    def write(self, place: int, data: bytes) -> None:
        """Take output of a job."""
        if (file := self._files[place]) is not None:
            os.write(file, data)
        if self._stream is None or (
            self._only is not None and self._names[place] not in self._only
        ):
            return
        if self._raw:
            self._show(data)
            return
        whole, newline, rest = (self._rest[place] + data).rpartition(b"\n")
        if len(rest) > KEPT_BYTES:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._rest[place] = rest
        if newline:
            front = self._fronts[place]
            self._show(b"".join(front + line + b"\n" for line in whole.split(b"\n")))

    def end(self, place: int) -> None:
        """Show what is left of a job that has ended."""
        if self._rest[place]:
            self.write(place, b"\n")

    def _show(self, data: bytes) -> None:
        with suppress(OSError, ValueError):
            assert self._stream is not None  # noqa: S101 - only called when there is one
            self._stream.write(data)
            self._stream.flush()

    def close(self) -> None:
        """Close the files."""
        for place, file in enumerate(self._files):
            self.end(place)
            if file is not None:
                os.close(file)
        self._files = [None] * len(self._files)


def file_name(name: str) -> str:
    """Make a job's name safe for a file."""
    return re.sub(r"[^\w.+-]", "_", name) or "job"


def standard_output() -> BinaryIO | None:
    """The console, if there is one."""
    return sys.stdout.buffer if sys.stdout is not None else None
