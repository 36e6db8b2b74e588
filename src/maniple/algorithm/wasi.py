"""The sandbox for WASI modules: wasmtime, in a process of its own that is kept warm.

The parent opens the parts, watches the clock, the private folder and the cancel, and kills the
process when a call must end; the process does the rest (`wasi_child`). What a guest prints goes
into files in memory that both hold, so it is there however the call ends.

Where the time of a call goes: warm, with a file of 1 kB in and one out, 0.5 ms, of which the guest
with its seven calls on files takes 0.2 and the way to the process and back 0.2. What can make it
10 ms: compiling each time (a module that opens files carries 8 kB of libc, 7 to 12 ms), a private
folder on a disk (a file that is truncated and written again costs 2 ms on ext4, an fsync 3.5 ms),
and starting the process (60 ms). Hence modules are kept, and the folder is in memory.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import threading
import time
from typing import Final

import msgspec

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Answer, Call
from maniple.algorithm.ends import Over, over
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.wasi_answer import DiedError, answer_of, end_of
from maniple.algorithm.wasi_kept import KeptCode
from maniple.algorithm.wasi_process import StoppedError, WasiProcess, sweep
from maniple.algorithm.wasi_watch import Watch
from maniple.algorithm.wasi_wire import (
    Compile,
    Compiled,
    Ended,
    Load,
    Refused,
    Run,
    ToChild,
    ToParent,
)
from maniple.errors import AlgorithmError
from maniple.plugins import missing_extra
from maniple.runner import Cancel

COMPILE_MEMORY: Final = 1 << 30

_ATTEMPTS: Final = 2
_ROOM: Final = 16 << 20  # of an answer, for all that is not a file
_HEX: Final = frozenset("0123456789abcdef")
_DIGEST_LENGTH: Final = 64


class WasiSandbox:
    """Runs WASI modules (see `maniple.algorithm.sandbox.Sandbox`).

    The process is started by the first call, or by `warm`. It is used for many calls, and replaced
    when one had to be ended.

    Args:
        folder: where the private folder of a call is made, on disk: for files that are larger than
            memory. By default it is in memory, a mount of the process's own whose size the kernel
            limits; where the machine does not allow that, and on disk, the process is watched and
            ended soon after a limit is passed.
        compile_memory: bytes that compiling a module may take, even where a call may take less.
    """

    def __init__(self, *, folder: str | None = None, compile_memory: int = COMPILE_MEMORY) -> None:
        self._folder = folder
        self._compile_memory = compile_memory
        self._process: WasiProcess | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._running = False
        self._abort: Cancel | None = None
        self._streams = (-1, -1)
        self._kept: dict[str, KeptCode] = {}
        self._settings = ""

    @property
    def walls(self) -> list[str]:
        """Which walls beyond WebAssembly's stand around the process; none before the first call."""
        return [] if self._process is None else list(self._process.walls)

    def warm(self) -> None:
        """Start the process, so that the first call finds it ready; does not wait for it.

        Raises:
            MissingExtraError: wasmtime is not installed.
        """
        self._forget_after_fork()
        if self._process is not None:
            return
        if not self._settings:
            if importlib.util.find_spec("wasmtime") is None:
                raise missing_extra("wasmtime", "running a WASI algorithm")
            self._settings = _settings()
            sweep(self._folder)
        if self._streams[0] < 0:
            self._streams = _stream("stdout"), _stream("stderr")
        self._process = WasiProcess(*self._streams, self._folder)

    def run(self, call: Call, parts: Parts, cancel: Cancel) -> Answer:
        """Run a call to its end.

        Raises:
            MissingExtraError: wasmtime is not installed.
            AlgorithmError: a part of the algorithm cannot be read.
            StorageError: the process cannot be started.
        """
        start = time.time()
        with self._lock:
            abort = self._abort = Cancel()
            self._running = True
        try:
            return self._run(call, parts, _Cancels(cancel, abort), start)
        finally:
            with self._lock:
                self._running = False
                self._abort = None
                abort.close()

    def _run(self, call: Call, parts: Parts, cancels: _Cancels, start: float) -> Answer:
        ended = Ended()
        for attempt in range(_ATTEMPTS):
            try:
                ended = self._attempt(call, parts, cancels)
                if ended.last:
                    self._replace()
            except StoppedError as error:
                ended = Ended(cause=error.end.cause, error=error.end.error)
                self._replace()
            except DiedError as error:
                self._replace()
                if error.from_outside and attempt + 1 < _ATTEMPTS:
                    self._take_output()
                    continue
                end = end_of(error, call)
                ended = Ended(cause=end.cause, error=end.error)
            except BaseException:
                self.close()
                raise
            break
        return answer_of(ended, *self._take_output(), start, time.time())

    def _attempt(self, call: Call, parts: Parts, cancels: _Cancels) -> Ended:
        watch = Watch(call.limits)
        process = self._ready(watch, cancels)
        watch.begin(time.monotonic())
        digest = _digest(parts.wasm)
        if digest in process.loaded:
            process.loaded.move_to_end(digest)
        else:
            refused = self._load(call, digest, parts, watch, cancels)
            if refused is not None:
                return Ended(cause=refused.cause, error=refused.error)
        process = self._ready(watch, cancels)
        data = -1 if parts.data is None else _open(parts.data)
        try:
            process.used = True
            watch.started(time.monotonic())
            answer = self._ask(
                Run(
                    digest,
                    call.code.name.partition("@")[0] or "algorithm",
                    call.params,
                    call.arguments,
                    call.files,
                    call.results,
                    call.limits,
                    data >= 0,
                ),
                [data] if data >= 0 else [],
                watch,
                cancels,
                call.limits.disk + _ROOM,
            )
        finally:
            if data >= 0:
                os.close(data)
        assert isinstance(answer, Ended)  # noqa: S101 - the answer to Run
        return answer

    def _ready(self, watch: Watch, cancels: _Cancels) -> WasiProcess:
        self.warm()
        process = self._process
        assert process is not None  # noqa: S101 - just started
        process.wait_ready(watch, cancels, cancels.fds)
        return process

    def _ask(
        self,
        message: ToChild,
        fds: list[int],
        watch: Watch,
        cancels: _Cancels,
        most: int = _ROOM,
    ) -> ToParent:
        assert self._process is not None  # noqa: S101 - it was ready
        return self._process.ask(message, fds, watch, cancels, cancels.fds, most)

    def _load(
        self, call: Call, digest: str, parts: Parts, watch: Watch, cancels: _Cancels
    ) -> Refused | None:
        """Have the process take a module, from the kept machine code or compiled now."""
        kept = self._kept.get(parts.cache)
        if kept is None:
            kept = self._kept[parts.cache] = KeptCode(parts.cache, self._settings)
        code = kept.find(digest)
        if code is not None:
            if self._offer(digest, code, watch, cancels) is None:
                return None
            kept.drop(digest)
        process = self._ready(watch, cancels)
        if process.used:
            # who has run a guest's code makes no code that other processes trust
            self._replace()
            # nor is this start the call's
            watch.begin(math.inf)
            self._ready(watch, cancels)
            watch.begin(time.monotonic())
        memory = max(call.limits.memory, self._compile_memory)
        wasm = _open(parts.wasm)
        try:
            answer = self._ask(Compile(memory), [wasm], watch, cancels, memory)
        except DiedError as error:
            if not error.out_of_memory:
                raise
            end = over(Over.MEMORY, msgspec.structs.replace(call.limits, memory=memory))
            self._replace()
            return Refused(end.cause, f"compiling the module {end.error}")
        finally:
            os.close(wasm)
        if not isinstance(answer, Compiled):
            assert isinstance(answer, Refused)  # noqa: S101 - the other answer to Compile
            return answer
        kept.keep(digest, answer.code)
        return self._offer(digest, answer.code, watch, cancels)

    def _offer(self, digest: str, code: bytes, watch: Watch, cancels: _Cancels) -> Refused | None:
        process = self._process
        assert process is not None  # noqa: S101 - it was ready
        fd = os.memfd_create("code", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(code)
            os.lseek(fd, 0, os.SEEK_SET)
            answer = self._ask(Load(digest, process.make_room()), [fd], watch, cancels)
        finally:
            os.close(fd)
        if isinstance(answer, Refused):
            return answer
        process.loaded[digest] = None
        return None

    def _take_output(self) -> tuple[bytes, bytes]:
        """Take what was printed, and leave the files empty for the next call."""
        out, err = self._streams
        return (_take(out), _take(err)) if out >= 0 else (b"", b"")

    def _replace(self) -> None:
        """End the process; the next one starts while the caller goes on."""
        if self._process is not None:
            self._process.close()
            self._process = None
        self.warm()

    def abort(self) -> None:
        """End the running call, if there is one; safe from another thread."""
        with self._lock:
            if self._running and self._abort is not None:
                self._abort.request()

    def close(self) -> None:
        """End the process; a later call starts another."""
        self.abort()
        self._forget_after_fork()
        if self._process is not None:
            self._process.close()
            self._process = None
        for fd in self._streams:
            if fd >= 0:
                os.close(fd)
        self._streams = (-1, -1)

    def _forget_after_fork(self) -> None:
        """Leave the process to whoever started it, when this is a fork of that."""
        if self._owner == os.getpid():
            return
        self._owner = os.getpid()
        if self._process is not None:
            self._process.forget()
            self._process = None
        for fd in self._streams:
            if fd >= 0:
                os.close(fd)
        self._streams = (-1, -1)


class _Cancels:
    """The two ways in which a call is ended from outside, as one."""

    def __init__(self, *flags: Cancel) -> None:
        self._flags = flags
        self.fds = [flag.fileno() for flag in flags if flag.fileno() >= 0]

    def __call__(self) -> bool:
        return any(flag.requested for flag in self._flags)


def _settings() -> str:
    """Name all that machine code depends on, in letters for a file's name."""
    from importlib.metadata import PackageNotFoundError, version

    from maniple.algorithm.wasi_settings import SETTINGS

    try:
        made_by = version("wasmtime")
    except PackageNotFoundError:
        made_by = "unknown"
    return f"{made_by}-{platform.machine()}-{SETTINGS}"


def _stream(name: str) -> int:
    import fcntl

    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd


def _take(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    if not size:
        return b""
    data = os.pread(fd, size, 0)
    os.ftruncate(fd, 0)
    return data


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AlgorithmError(
            f"cannot read a part of the algorithm, {path}: {error.strerror}"
        ) from None


def _digest(path: str) -> str:
    """Tell the digest of a part: its file's name, or else that of its content."""
    name = os.path.basename(path)
    if len(name) == _DIGEST_LENGTH and _HEX.issuperset(name):
        return name
    fd = _open(path)
    with open(fd, "rb") as file:
        return digest_of(file.read())
