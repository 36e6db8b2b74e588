"""The process of a WASI sandbox, as its parent sees it: started, asked, watched, killed."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from maniple import owner
from maniple.algorithm import wasi_wire
from maniple.algorithm.ends import End
from maniple.algorithm.wasi_answer import DiedError
from maniple.algorithm.wasi_folder import Folder, mounted_usage
from maniple.algorithm.wasi_watch import Watch
from maniple.algorithm.wasi_wire import Ready, ToChild, ToParent
from maniple.errors import StorageError

START_SECONDS: Final = 60.0
HOME_PREFIX: Final = "maniple-wasi-"
_ONE_READ: Final = 1 << 20
MODULES: Final = 32
_MEMORY: Final = "/dev/shm"  # noqa: S108 - folders there are made by mkdtemp
_ABOVE: Final = 32
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop());"
    "from maniple.algorithm.wasi_child import main; main()"
)
_PASSED_ON: Final = ("LD_LIBRARY_PATH",)


class StoppedError(Exception):
    """The call was ended from here; holds the end that says why."""

    def __init__(self, end: End) -> None:
        super().__init__(end.error)
        self.end = end


class WasiProcess:
    """One child of a sandbox.

    Attributes:
        pid: of the process.
        walls: which walls stand around it; known once it is ready.
        used: whether it has run a guest's code: it compiles nothing any more that others load.
        loaded: the digests of the modules that it has, the last used last.

    Args:
        stdout, stderr: files open for appending that take what guests print.
        folder: where private folders are made on disk, or None for memory where that can be.
    """

    def __init__(self, stdout: int, stderr: int, folder: str | None) -> None:
        self.walls: list[str] = []
        self.used = False
        self.loaded: OrderedDict[str, None] = OrderedDict()
        self._ready = False
        self._usage: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._root = -1
        self._home = ""
        self._errors = os.memfd_create("errors", os.MFD_CLOEXEC)
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        dies_with, self._alive = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.pid = _spawn(
                [null, null, self._errors, theirs.fileno(), dies_with, stdout, stderr], folder
            )
        finally:
            theirs.close()
            os.close(dies_with)
            os.close(null)
        self._link.setblocking(False)

    def wait_ready(self, watch: Watch, cancels: Callable[[], bool], wake: list[int]) -> None:
        """Wait until it can be asked.

        Raises:
            StoppedError: the call was cancelled meanwhile.
            DiedError: it could not start.
            StorageError: it has not started for a minute.
        """
        if self._ready:
            return
        deadline = time.monotonic() + START_SECONDS
        message, fds = self._receive(watch, cancels, wake, _ONE_READ, deadline)
        assert isinstance(message, Ready)  # noqa: S101 - it says so first
        self._root = fds[0]
        self.walls = message.walls
        self._home = message.folder
        if message.mounted:
            self._usage = lambda: mounted_usage(self._root)
        else:
            self._usage = Folder(f"/proc/self/fd/{self._root}").usage
        self._ready = True

    def ask(
        self,
        message: ToChild,
        fds: list[int],
        watch: Watch,
        cancels: Callable[[], bool],
        wake: list[int],
        most: int,
    ) -> ToParent:
        """Ask for something and wait for the answer.

        Args:
            message: what for.
            fds: descriptors that go with it.
            watch: says when to give up.
            cancels: tells whether the call is not wanted any more.
            wake: descriptors that turn readable when that changes.
            most: bytes that the answer may have; with more, something is wrong with the process.

        Raises:
            StoppedError: the watch says so; the process must be killed.
            DiedError: there is no answer, and the process has ended.
        """
        body = memoryview(encoded := wasi_wire.encode(message))
        try:
            if fds:
                socket.send_fds(self._link, [wasi_wire.header(encoded)], fds)
            else:
                # one system call for both, where they are small
                first = wasi_wire.header(encoded) + bytes(body[:_SMALL])
                sent = self._link.send(first) - wasi_wire.HEADER
                body = body[max(sent, 0) :]
            while body:
                try:
                    body = body[self._link.send(body[:_ONE_READ]) :]
                except BlockingIOError:
                    self._wait(select.POLLOUT, watch, cancels, wake, None)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None
        return self._receive(watch, cancels, wake, most)[0]

    def _receive(
        self,
        watch: Watch,
        cancels: Callable[[], bool],
        wake: list[int],
        most: int,
        deadline: float | None = None,
    ) -> tuple[ToParent, list[int]]:
        head = b""
        fds: list[int] = []
        body: bytearray | None = None
        at = 0
        while True:
            try:
                if body is None:
                    data, more, _, _ = socket.recv_fds(self._link, wasi_wire.HEADER - len(head), 1)
                    fds += more
                    head += data
                    if data and len(head) == wasi_wire.HEADER:
                        size = int.from_bytes(head, "little")
                        if size > most:
                            raise self._died()
                        body = bytearray(size)
                    got = len(data)
                else:
                    got = self._link.recv_into(memoryview(body)[at:])
                    at += got
            except BlockingIOError:
                self._wait(select.POLLIN, watch, cancels, wake, deadline)
                continue
            except ConnectionResetError:
                got = 0
            if not got:
                raise self._died()
            if body is not None and at == len(body):
                try:
                    return wasi_wire.decode_to_parent(body), fds
                except msgspec.MsgspecError:
                    raise self._died() from None

    def _wait(
        self,
        event: int,
        watch: Watch,
        cancels: Callable[[], bool],
        wake: list[int],
        deadline: float | None,
    ) -> None:
        """Wait until the link is ready.

        Raises:
            StoppedError: the watch says that the call must end.
            StorageError: the deadline of the start is over.
        """
        poll = select.poll()
        poll.register(self._link, event)
        for fd in wake:
            poll.register(fd, select.POLLIN)
        link = self._link.fileno()
        while True:
            now = time.monotonic()
            end = watch.decide(now, cancelled=cancels())
            if end is None and watch.wants_look(now):
                end = watch.used(*self._usage())
            if end is not None:
                raise StoppedError(end)
            if deadline is not None and now >= deadline:
                raise StorageError(f"the sandbox has not started for {START_SECONDS:g} s")
            patience = watch.patience(now)
            if deadline is not None:
                patience = min(patience if patience is not None else START_SECONDS, deadline - now)
            ready = poll.poll(None if patience is None else patience * 1000 + 1)
            if any(fd == link for fd, _ in ready):
                return

    def _died(self) -> DiedError:
        status = self.kill()
        return DiedError(status, self.errors())

    def errors(self) -> str:
        """Read what the process wrote on its standard error."""
        size = os.fstat(self._errors).st_size
        kept = min(size, 1 << 16)
        return os.pread(self._errors, kept, size - kept).decode("utf-8", "replace")

    def kill(self) -> int:
        """End the process, if it has not ended; return its exit code or minus the signal's number.

        What it keeps in memory is gone with it.
        """
        if not self.pid:
            return 0
        # one that is ending by itself keeps its own status
        if self._link.fileno() >= 0 and not _ends(
            self.pid, _LAST_WORDS_SECONDS if self._hung_up() else 0
        ):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        os.close(self._alive)
        if self._root >= 0:
            os.close(self._root)
        if self._home:
            remove_home(self._home)
        self._link.close()
        return status

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._link, 0)
        return bool(poll.poll(0))

    def close(self) -> None:
        """End the process and give everything back."""
        self.kill()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1

    def forget(self) -> None:
        """Give back what a fork has copied of this; the process is another's."""
        self.pid = 0
        for fd in (self._alive, self._root, self._errors):
            if fd >= 0:
                os.close(fd)
        self._errors = -1
        self._link.close()

    def make_room(self) -> list[str]:
        """Choose the modules to give up when one more is loaded."""
        gone = []
        while len(self.loaded) >= MODULES:
            gone.append(self.loaded.popitem(last=False)[0])
        return gone


_SMALL: Final = 1 << 15
_LAST_WORDS_SECONDS: Final = 1.0


def _ends(pid: int, seconds: float) -> bool:
    """Tell whether a child has ended, or does so within some time; leave it to be waited for."""
    deadline = time.monotonic() + seconds
    nap = 0.0005
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(nap)
        nap = min(nap * 2, 0.02)
    return True


def _spawn(fds: list[int], folder: str | None) -> int:
    """Start the child with these descriptors as 0, 1, 2, ... and nothing else of this process's."""
    prefix = os.path.join(folder or plain_folder(), f"{HOME_PREFIX}{owner.identity()}-")
    mount = "mount" if folder is None else "plain"
    # the kernel's signal comes when the thread ends that started a process
    lasting = threading.current_thread() is threading.main_thread()
    parent = str(os.getpid() if lasting else 0)
    # above the numbers they are to have, so that no dup2 overwrites one that is still needed
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in fds]
    try:
        return os.posix_spawn(
            sys.executable,
            [
                *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM),
                *(prefix, mount, parent, json.dumps(sys.path)),
            ],
            {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(high)],
            setsid=True,
        )
    except OSError as error:
        raise StorageError(f"cannot start the sandbox's process: {error.strerror}") from None
    finally:
        for fd in high:
            os.close(fd)


def plain_folder() -> str:
    """Where private folders are made when none is named and they cannot be mounts: in memory."""
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else tempfile.gettempdir()


def remove_home(home: str) -> None:
    """Remove the plain folder of a process that has ended."""
    with suppress(OSError):
        Folder(home).empty()
        os.rmdir(home)


def sweep(folder: str | None = None) -> None:
    """Remove the plain folders of sandboxes whose parents are dead."""
    folder = folder or plain_folder()
    with suppress(OSError):
        for name in os.listdir(folder):
            if not name.startswith(HOME_PREFIX):
                continue
            path = os.path.join(folder, name)
            whose = name.removeprefix(HOME_PREFIX).rpartition("-")[0]
            if os.lstat(path).st_uid == os.geteuid() and owner.is_dead(whose):
                remove_home(path)
