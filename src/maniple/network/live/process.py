"""One job's process: starting it, and what the one that starts it holds of it."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TextIO

from maniple import proctree
from maniple.errors import Exit

MESSAGE_BYTES: Final = 1 << 20
KEPT_BYTES: Final = 16 << 20
SEPARATE_BYTES: Final = 4 << 20
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_OURS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class JobProcess:
    """What is known of one job's process.

    Args:
        place: of the job in its network.

    Attributes:
        pid: of the process that was started last; 0: none was.
        pidfd: tells when it ends.
        output: what it prints.
        input: what it reads, if somebody types for it.
        control: what it says about itself.
        restarts: how often it was started again.
        tries: how often since it last got further than before.
        reached: how far it had got by then.
        ended: it will not run again.
        stats: its last words about itself (`words.Stats`), or None.
        broken: its exception (`words.Broken`), or None.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.pid = 0
        self.pidfd = -1
        self.output = -1
        self.input = -1
        self.control: socket.socket | None = None
        self.restarts = 0
        self.tries = 0
        self.reached = 0
        self.ended = False
        self.stats: Any = None
        self.broken: Any = None

    def start(
        self,
        others: Iterable[JobProcess],
        host: Callable[[socket.socket], int],
        *,
        typed: bool,
    ) -> None:
        """Start it.

        Args:
            others: all processes of the run; the new one lets go what it inherits of them.
            host: does the job's work, given a socket to tell of it; returns the exit status.
            typed: it reads what somebody types.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        read, write = os.pipe2(os.O_CLOEXEC)
        lines, lines_in = os.pipe2(os.O_CLOEXEC) if typed else (-1, -1)
        for stream in (sys.stdout, sys.stderr):
            # what waits in them would be written by both
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        parent = os.getpid()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        pid = os.fork()
        if pid == 0:
            for fd in (read, lines_in):
                if fd >= 0:
                    os.close(fd)
            ours.close()
            _be(others, lambda: host(theirs), write, lines, parent, blocked)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        os.close(write)
        if typed:
            os.close(lines)
            os.set_blocking(lines_in, False)
        os.set_blocking(read, False)
        self.pid, self.output, self.input, self.control = pid, read, lines_in, ours
        self.pidfd = os.pidfd_open(pid)
        self.broken = None

    def _forget(self) -> None:
        for fd in (self.pidfd, self.output, self.input):
            if fd >= 0:
                os.close(fd)
        if self.control is not None:
            self.control.close()


def _be(
    others: Iterable[JobProcess],
    host: Callable[[], int],
    output: int,
    typed: int,
    parent: int,
    mask: Any,
) -> None:
    """Be the process of a job; does not return."""
    code: int = Exit.BROKEN
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        proctree.die_with_parent(signal.SIGKILL, parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for other in others:
            # an input of another job that we held open as well would never end
            other._forget()  # noqa: SLF001
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing if typed < 0 else typed, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in (nothing, typed, output):
            if fd > 2:  # noqa: PLR2004 - the standard ones
                os.close(fd)
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        _keep_memory()
        # line by line, and whatever the parent had put in their place
        sys.stdout, sys.stderr = _text(1), _text(2)
        code = host()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _keep_memory() -> None:
    """Have freed memory used again, and not given to the system and fetched for each block."""
    import ctypes

    with suppress(AttributeError, OSError):
        # only the C library of GNU has this
        tune = ctypes.CDLL(None).mallopt
        tune(_M_TRIM_THRESHOLD, KEPT_BYTES)
        tune(_M_MMAP_THRESHOLD, SEPARATE_BYTES)


def _text(fd: int) -> TextIO:
    raw = os.fdopen(fd, "wb", buffering=0, closefd=False)
    return io.TextIOWrapper(raw, "utf-8", "replace", line_buffering=True, write_through=True)
