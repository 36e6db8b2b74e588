"""The child of a WASI sandbox: compiles, loads and runs modules, one call after the other.

Started by `wasi_process` with nothing of its parent's but the descriptors below. A guest that
passes a limit while it runs is ended together with this process, after a last word to the parent.
"""

from __future__ import annotations

import codecs
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Final, NoReturn

from maniple import proctree
from maniple.algorithm import wasi_wire
from maniple.algorithm.call import Limits
from maniple.algorithm.ends import Over, over
from maniple.algorithm.wasi_folder import Folder, FolderError, MountedFolder
from maniple.algorithm.wasi_walls import BOX, enter
from maniple.algorithm.wasi_wire import Compile, Compiled, Ended, Load, Loaded, Ready, Refused, Run

LINK_FD: Final = 3
ALIVE_FD: Final = 4
STDOUT_FD: Final = 5
STDERR_FD: Final = 6
SLACK: Final = 96 << 20
"""Bytes that the process may take beyond a call's memory: stacks of threads, buffers, Python."""

_COPIES: Final = 3  # of what goes in and out, while it is packed and unpacked
_STDIN: Final = "/stdin"
_PARENT_GONE: Final = 99
_HIGHEST_INHERITED: Final = 65536
_DATA_COLUMN: Final = 5  # of /proc/self/statm, in pages: what RLIMIT_DATA counts, and the stack


class Child:
    """The state of the child program.

    Args:
        prefix: of the path of the folder that is made where there is no private mount.
        mount: whether there should be one.
    """

    def __init__(self, prefix: str, *, mount: bool) -> None:
        # imported here, before the walls: they take the library's file out of reach
        from maniple.algorithm import wasi_engine

        self._engines = wasi_engine
        self._link = socket.socket(fileno=LINK_FD)
        self._sizes = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        walls, self._mount = enter(mount=mount)
        self._home = "" if self._mount is not None else _make_home(prefix)
        self._folder: Folder = (
            MountedFolder(BOX) if self._mount is not None else Folder(f"{self._home}{BOX}")
        )
        self._memory_above = resource.getrlimit(resource.RLIMIT_DATA)[1]
        self._limits = Limits()
        self._stdin = _STDIN
        if self._mount is None:
            # not in the folder, which may be on a disk: ext4 writes a truncated file out at once
            fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
            self._stdin = f"/proc/self/fd/{fd}"
        self._written = [0, 0]
        self._too_large = False
        signal.signal(signal.SIGXFSZ, self._file_too_large)
        self._engine = wasi_engine.Engine(self._memory_passed)
        threading.Thread(target=_watch_parent, args=(self._home,), daemon=True).start()
        root = os.open(self._folder.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mounted = self._mount is not None
        ready = Ready(walls, mounted, self._home)
        wasi_wire.send(self._link, ready, [root])
        os.close(root)

    @property
    def mounted(self) -> bool:
        """Whether the private folder is a mount, which needs no removing."""
        return self._mount is not None

    def _file_too_large(self, *_: object) -> None:
        self._too_large = True

    def serve(self) -> NoReturn:
        """Do what the parent asks for until it is gone."""
        try:
            while True:
                body, fds = wasi_wire.receive(self._link)
                self._handle(wasi_wire.decode_to_child(body), fds)
        except (EOFError, OSError):
            self._leave(_PARENT_GONE)

    def _handle(self, message: wasi_wire.ToChild, fds: list[int]) -> None:
        try:
            if isinstance(message, Compile):
                answer = self._compile(message, fds[0])
            elif isinstance(message, Load):
                answer = self._load(message, fds[0])
            else:
                answer = self._run(message, fds[0] if message.data else None)
        finally:
            for fd in fds:
                os.close(fd)
            # the next message may be larger than what this call was allowed
            self._set_memory(resource.RLIM_INFINITY)
        wasi_wire.send(self._link, answer)
        if isinstance(message, Run):
            try:
                self._folder.empty()
            except OSError:
                self._leave(1)

    def _compile(self, message: Compile, fd: int) -> wasi_wire.ToParent:
        self._allow_memory(message.memory)
        try:
            return Compiled(self._engine.compile(_content(fd)))
        except self._engines.GuestError as error:
            return Refused(error.end.cause, error.end.error)

    def _load(self, message: Load, fd: int) -> wasi_wire.ToParent:
        for digest in message.forget:
            self._engine.forget(digest)
        code = _content(fd)
        self._allow_memory(_COPIES * len(code) + SLACK)
        try:
            self._engine.load(message.digest, code)
        except self._engines.GuestError as error:
            return Refused(error.end.cause, error.end.error)
        return Loaded()

    def _allow_memory(self, more: int) -> None:
        """Have the kernel refuse this process more writable memory than it has now, and `more`."""
        held = int(os.pread(self._sizes, 256, 0).split()[_DATA_COLUMN]) * mmap.PAGESIZE
        self._set_memory(held + more + SLACK)

    def _set_memory(self, most: int) -> None:
        hard = self._memory_above
        if hard != resource.RLIM_INFINITY:
            most = hard if most == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

    def _run(self, run: Run, data: int | None) -> Ended:
        limits = self._limits = run.limits
        carried = sum(map(len, run.files.values())) + len(run.params)
        self._allow_memory(limits.memory + _COPIES * carried)
        self._written = [0, 0]
        self._too_large = False
        try:
            self._allow_files(limits)
            if data is None:
                self._folder.fill(None, run.files, limits)
            else:
                with open(data, "rb", closefd=False) as file:
                    self._folder.fill(file, run.files, limits)
            self._check_folder(limits)
            ended = self._call(run)
            self._check_folder(limits)
            ended.files, ended.missing = self._folder.collect(run.results, limits)
        except FolderError as error:
            return Ended(cause=error.end.cause, error=error.end.error)
        except MemoryError:
            end = over(Over.MEMORY, limits)
            return Ended(cause=end.cause, error=end.error)
        return ended

    def _check_folder(self, limits: Limits) -> None:
        passed = over(Over.DISK, limits) if self._too_large else self._folder.passed(limits)
        if passed is not None:
            raise FolderError(passed)

    def _allow_files(self, limits: Limits) -> None:
        """Hold the limits on files with what the kernel has for it."""
        if self._mount is not None:
            self._mount.resize(limits.disk, limits.files)
        # one limit for all files of a process: of the streams, too
        most = max(limits.disk, limits.output) + mmap.PAGESIZE
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    def _call(self, run: Run) -> Ended:
        import wasmtime

        streams = wasmtime.WasiConfig()
        streams.argv = [run.name, *run.arguments]
        with open(self._stdin, "wb", buffering=0) as file:
            file.write(run.params)
        streams.stdin_file = self._stdin
        streams.stdout_custom = lambda data: self._print(0, data)
        streams.stderr_custom = lambda data: self._print(1, data)
        streams.preopen_dir(self._folder.root, "/")
        try:
            value = self._engine.run(run.digest, streams, run.params, run.limits)
        except self._engines.GuestError as error:
            return Ended(cause=error.end.cause, error=error.end.error, exit_code=error.exit_code)
        return Ended(ok=True, value=value, exit_code=0 if value is None else None)

    def _print(self, stream: int, data: bytes) -> None:
        left = self._limits.output - self._written[stream]
        kept = data[:left]
        self._written[stream] += len(kept)
        fd = STDERR_FD if stream else STDOUT_FD
        while kept:
            kept = kept[os.write(fd, kept) :]
        if len(data) > left:
            self._last(Over.OUTPUT)

    def _memory_passed(self) -> None:
        self._last(Over.MEMORY)

    def _last(self, which: Over) -> NoReturn:
        """Say which limit was passed, and end: the guest must not run on."""
        end = over(which, self._limits)
        with suppress(OSError):
            wasi_wire.send(self._link, Ended(cause=end.cause, error=end.error, last=True))
        self._leave(0)

    def _leave(self, code: int) -> NoReturn:
        os._exit(code)


def _content(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _make_home(prefix: str) -> str:
    home = tempfile.mkdtemp(dir=os.path.dirname(prefix), prefix=os.path.basename(prefix))
    os.mkdir(f"{home}{BOX}", 0o700)
    return home


def _watch_parent(home: str) -> None:
    """End this process when the parent has ended, also in the middle of a guest's run."""
    with suppress(OSError):
        os.read(ALIVE_FD, 1)
    if home:
        with suppress(OSError):
            Folder(home).empty()
            os.rmdir(home)
    os._exit(_PARENT_GONE)


def main() -> NoReturn:
    """Run the child program; its arguments are those of `Child`."""
    os.closerange(STDERR_FD + 1, _HIGHEST_INHERITED)
    codecs.lookup("cp437")  # names in zips; nothing can be imported behind the walls
    _, prefix, mount, parent = sys.argv
    child = Child(prefix, mount=mount == "mount")
    if parent != "0" and child.mounted:
        # after the walls, for a change of rights takes it back. The watch on the pipe is for other
        # threads than the parent's first, and removes a plain folder; but a fork of the parent may
        # hold the pipe open
        proctree.die_with_parent(signal.SIGKILL, int(parent))
    child.serve()
