"""Passes on what is typed to the jobs that it is for."""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from maniple.network.live.process import JobProcess

CHUNK: Final = 1 << 16


class Keyboard:
    """Standard input, line by line; `NAME:` in front of a line chooses another job.

    Nothing here waits: what a job does not read keeps us from reading more.

    Args:
        selector: of the loop that all this happens in; its data are functions of the descriptor.
        listeners: the processes and the names of the jobs that lines may be for, one at least.

    Attributes:
        over: nothing will be typed any more; all inputs are closed.
        ready: there is something to `read` that the selector does not tell of.
    """

    def __init__(
        self, selector: selectors.BaseSelector, listeners: Sequence[tuple[JobProcess, str]]
    ) -> None:
        self._selector = selector
        self._listeners = listeners
        self._chosen = listeners[0][0]
        self._read = b""
        self._line = b""
        self._fd = -1
        self._listens = False
        self._blocked = -1
        self._at_end = False
        self.over = False
        self.ready = False
        names = [name for _, name in listeners]
        with suppress(AttributeError, OSError, ValueError):
            # whatever stands in for standard input may be no file
            self._fd = sys.stdin.fileno()
        if self._fd >= 0 and os.isatty(self._fd) and len(names) > 1:
            print(f"lines go to {names[0]}; write NAME: for {', '.join(names[1:])}", flush=True)
        self._listen()

    def _listen(self) -> None:
        if self._fd < 0:
            self._at_end = True
            self._pass_on()
            return
        try:
            self._selector.register(self._fd, selectors.EVENT_READ, lambda _: self.read())
            self._listens = True
        except PermissionError:
            # an ordinary file: it can always be read
            self.ready = True

    def _pause(self) -> None:
        self.ready = False
        if self._listens:
            self._selector.unregister(self._fd)
            self._listens = False

    def read(self) -> None:
        """Read what is there."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._read += data
        if not data:
            self._at_end = True
            self._pause()
        self._pass_on()

    def _pass_on(self) -> None:
        """Hand on whole lines, as long as the jobs take them."""
        while self._blocked < 0:
            if not self._line:
                line, newline, rest = self._read.partition(b"\n")
                if not newline and not (self._at_end and line):
                    break
                self._read = rest
                self._line = self._addressed(line) + newline
            process = self._chosen
            try:
                written = os.write(process.input, self._line) if process.input >= 0 else None
            except BlockingIOError:
                written = 0
            except OSError:
                written = None
            # who cannot read any more misses it
            self._line = b"" if written is None else self._line[written:]
            if self._line:
                self._pause()
                self._blocked = process.input
                self._selector.register(self._blocked, selectors.EVENT_WRITE, self._writable)
        if self._at_end and self._blocked < 0:
            self.over = True
            for process, _ in self._listeners:
                self.leave(process)

    def _addressed(self, line: bytes) -> bytes:
        """Choose the job that a line is for; give the line without the name."""
        front, colon, rest = line.partition(b":")
        name = front.strip().decode("utf-8", "replace")
        for process, known in self._listeners:
            if colon and name in {known, known.rpartition("-")[2]}:
                self._chosen = process
                return rest.lstrip(b" ")
        return line

    def _writable(self, _fd: object) -> None:
        self._unblock()
        self._pass_on()

    def _unblock(self) -> None:
        self._selector.unregister(self._blocked)
        self._blocked = -1
        if not self._at_end:
            self._listen()

    def leave(self, process: JobProcess) -> None:
        """Close a job's input."""
        fd, process.input = process.input, -1
        if fd < 0:
            return
        if fd == self._blocked:
            self._line = b""
            self._unblock()
        os.close(fd)
