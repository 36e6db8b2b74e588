"""One process of a sandbox for JavaScript: started ahead, given one job, killed."""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import Final

from maniple import proctree
from maniple.algorithm.javascript_command import Starter
from maniple.algorithm.javascript_frames import SECRET_SIZE, Frames, Kind, TooLongError
from maniple.errors import StorageError

START_SECONDS: Final = 30.0
END_SECONDS: Final = 2.0
SLACK: Final = 96 << 20
"""Bytes of writable memory on top of the limit that the kernel lets a sandbox have: what V8 sets
aside and does not use must not end a call that keeps to its limit."""

_PIPE_SIZE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031
_CHUNK: Final = 1 << 16
_ROUTINE_FRAME: Final = 1 << 10
_KIB: Final = 1024


class SandboxProcess:
    """A deno that has evaluated the host script and waits for its job.

    Args:
        starter: makes the command.
        memory: bytes that a call may use, as far as it is known; a call may still allow less.

    Attributes:
        baseline: bytes of memory that it held before its job.
        grown: bytes that it had in use at most beyond those before its job, files that it runs
            included; known when it has ended.
    """

    def __init__(self, starter: Starter, memory: int) -> None:
        self.secret = os.urandom(SECRET_SIZE)
        self.code: object = None
        self.heap = memory
        self._answered = Frames(self.secret, _ROUTINE_FRAME)
        self._waiting = False
        self._process = subprocess.Popen(
            starter.command(heap=memory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=starter.environment,
            cwd="/",
            process_group=0,
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - three pipes were asked for
        assert self._process.stdout is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        self.stdin = self._process.stdin.fileno()
        self.stdout = self._process.stdout.fileno()
        self.stderr = self._process.stderr.fileno()
        for fd in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(fd, False)
        self.pid = self._process.pid
        self._inner = self.pid
        self._handle = -1
        self.baseline = 0
        self.grown = 0
        self._resident = 0
        self._reserved = 0
        _widen(self.stdin)
        _widen(self.stdout)
        with suppress(OSError):
            os.write(self.stdin, self.secret)

    def wait_ready(self) -> str | None:
        """Wait until the host script waits for a job; what went wrong, where something did."""
        frames = self._answered
        deadline = time.monotonic() + START_SECONDS
        said = b""
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            data = read_some(self.stdout)
            if data == b"":
                said += read_some(self.stderr) or b""
                code = self.end()
                last = said.strip().rpartition(b"\n")[2].decode("utf-8", "replace")
                return last or f"it ended with status {code}"
            for kind, _ in frames.feed(data or b""):
                if kind is Kind.READY:
                    self._found()
                    return None
        self.end()
        return f"it was not ready within {START_SECONDS:g} s"

    def _found(self) -> None:
        """See which process deno is, below bubblewrap's."""
        pid = self.pid
        while below := proctree.children(pid):
            pid = below[0]
        self._inner = pid
        if pid != self.pid:
            with suppress(OSError):
                self._handle = os.pidfd_open(pid)
        self.baseline = self.memory() or 0
        self._resident = self._measure(b"VmRSS:") or 0
        self._reserved = self._measure(b"VmData:") or 0

    def allow(self, memory: int) -> None:
        """Have the kernel refuse more writable memory than this, whatever asks for it.

        The watch over what is in use (`memory`) is exact but looks now and then; this is the wall
        behind it.
        """
        most = self._reserved + memory + SLACK
        with suppress(OSError, ValueError, AttributeError):
            _, hard = resource.prlimit(self._inner, resource.RLIMIT_DATA)
            resource.prlimit(self._inner, resource.RLIMIT_DATA, (most, hard))

    def memory(self) -> int | None:
        """Measure the bytes that the process holds for itself; None when it cannot be seen."""
        return self._measure(b"RssAnon:", b"RssShmem:", b"VmSwap:")

    def _measure(self, *names: bytes) -> int | None:
        try:
            with open(f"/proc/{self._inner}/status", "rb") as file:
                text = file.read()
        except OSError:
            return None
        return _KIB * sum(_field(text, name) for name in names)

    def give(self, message: bytes, code: object) -> bool:
        """Give it a code to prepare; False when it has ended instead of reading it."""
        self.code = code
        self._waiting = True
        view = memoryview(message)
        poll = select.poll()
        poll.register(self.stdin, select.POLLOUT)
        deadline = time.monotonic() + START_SECONDS
        while view and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return not view

    def prepared(self) -> bool:
        """Tell whether it has done with what it was given, and can take another code at once."""
        data = read_some(self.stdout)
        try:
            for kind, _ in self._answered.feed(data or b""):
                if kind is Kind.PREPARED:
                    self._waiting = False
        except TooLongError:
            return False
        return not self._waiting and data != b""

    def kill(self) -> None:
        """End it and all that is in it; `reap` waits for that."""
        if self._process.returncode is not None:
            return
        if self._handle >= 0:
            # bubblewrap sees it end, and ends: so nobody is left for others to wait for
            with suppress(OSError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        else:
            proctree.signal_group(self.pid, signal.SIGKILL)

    def reap(self) -> int:
        """Wait for its end, and give back what was open; return its code."""
        code = self._wait(END_SECONDS)
        if code is None:
            proctree.signal_group(self.pid, signal.SIGKILL)
            code = self._wait(math.inf) or 0
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        return code

    def _wait(self, seconds: float) -> int | None:
        """Wait as `Popen.wait` does, and learn how much memory was in use at most."""
        until = time.monotonic() + seconds
        nap = 0.0005
        while self._process.returncode is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.grown = max(0, usage.ru_maxrss * _KIB - self._resident)
            elif time.monotonic() > until:
                return None
            else:
                time.sleep(nap)
                nap = min(2 * nap, 0.05)
        return self._process.returncode

    def end(self) -> int:
        """Kill it, and wait for that."""
        self.kill()
        return self.reap()

    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        return self._process.poll() is not None


def start(starter: Starter, memory: int) -> SandboxProcess:
    """Start a process.

    Raises:
        StorageError: the machine cannot.
    """
    try:
        return SandboxProcess(starter, memory)
    except OSError as error:
        raise StorageError(
            f"a sandbox for JavaScript cannot be started: {error.strerror or error}"
        ) from None


def read_some(fd: int) -> bytes | None:
    """Read what is there; nothing at the end, None when there is nothing yet."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _field(text: bytes, name: bytes) -> int:
    at = text.find(name)
    return int(text[at + len(name) :].split(None, 1)[0]) if at >= 0 else 0


def _widen(fd: int) -> None:
    import fcntl

    with suppress(OSError):
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_SIZE)
