"""Runs a network on this machine: a process for each job, watched by the one that starts them."""

from __future__ import annotations

import io
import mmap
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TextIO

import msgspec

from maniple import proctree
from maniple.errors import Exit, ManipleError, MissingExtraError, UsageError
from maniple.network.graph import Edge, Network
from maniple.network.live.console import Console
from maniple.network.program import Program
from maniple.plugins import missing_extra

GRACE_SECONDS: Final = 0.5
MOST_RESTARTS: Final = 5
MESSAGE_BYTES: Final = 1 << 20
CHUNK: Final = 1 << 16


class JobError(ManipleError):
    """A job raised an exception, or its process died; the text is one line."""

    exit_code = Exit.SOME_FAILED

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


class _Process:
    """One job's process."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.pid = 0
        self.pidfd = -1
        self.output = -1
        self.input = -1
        self.control: socket.socket | None = None
        self.restarts = 0
        self.ended = False
        self.stats: Any = None
        self.broken: Any = None


class LocalRun:
    """A run of a network.

    Args:
        network: checked here.
        console: takes the jobs' output.
        restart: start a job again whose process was killed, or that raised an exception; otherwise
            the network ends.
        folders: gives a job's working directory, by its place in the network, or None.
        watch: called now and then with the run itself.

    Raises:
        UsageError: the network cannot run.
    """

    def __init__(
        self,
        network: Network,
        console: Console,
        *,
        restart: bool = False,
        folders: Callable[[int], str | None] = lambda _: None,
        watch: Callable[[LocalRun], None] = lambda _: None,
    ) -> None:
        network.check()
        try:
            import zmq as _zmq  # noqa: F401 - said now, and not by each job
        except ImportError:
            raise missing_extra("pyzmq", "a network") from None
        self.network = network
        self.edges = network.edges
        self._console = console
        self._restart = restart
        self._folders = folders
        self._watch = watch
        self._key = os.urandom(8).hex()
        self._processes = [_Process(place) for place in range(len(network.jobs))]
        self._selector = selectors.DefaultSelector()
        # shared with the processes; what a sink has done outlives it
        self._progress = memoryview(mmap.mmap(-1, 8 * len(network.jobs))).cast("Q")
        self._stopped_by: int = 0
        self.error: JobError | None = None

    @property
    def stats(self) -> list[Any]:
        """The last words of each job about itself (`jobhost.Stats`), or None."""
        return [process.stats for process in self._processes]

    @property
    def pids(self) -> list[int]:
        """The processes of the jobs; 0 where one has ended."""
        return [0 if process.ended else process.pid for process in self._processes]

    @property
    def restarts(self) -> list[int]:
        """How often the process of each job was started again."""
        return [process.restarts for process in self._processes]

    def address(self, edge: Edge) -> str:
        """Where a pipe's reader listens: a name without a file, so that none is left behind."""
        return f"ipc://@maniple-{self._key}-{edge.pipe.name}"

    def run(self) -> None:
        """Run until all jobs have ended.

        Raises:
            JobError: a job failed; everything was ended.
            KeyboardInterrupt: Ctrl-C; likewise.
            SystemExit: SIGTERM or SIGHUP; likewise.
        """
        proctree.adopt_orphans()
        with self._signals() as wake:
            self._selector.register(wake, selectors.EVENT_READ, self._woken)
            try:
                for process in self._processes:
                    self._start(process)
                if any(process.input >= 0 for process in self._processes):
                    self._listen()
                self._loop()
            finally:
                self._end_all()
                self._selector.close()
        if self._stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)
        if self.error is not None:
            raise self.error

    def _loop(self) -> None:
        while not self._stopped_by and self.error is None:
            if all(process.ended for process in self._processes):
                return
            for key, _ in self._selector.select(0.25):
                key.data(key.fileobj)
            self._watch(self)

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Have the signals that end programs wake the loop."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before: dict[int, Any] = {}
        main = False
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before[number] = signal.signal(number, self._note)
            main = True
            old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        except ValueError:
            # not in the main thread: signals are for somebody else
            before.clear()
        try:
            yield read
        finally:
            if main:
                signal.set_wakeup_fd(old)
            for caught, handler in before.items():
                signal.signal(caught, handler)
            os.close(read)
            os.close(write)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._stopped_by = self._stopped_by or number

    @staticmethod
    def _woken(fd: Any) -> None:
        with suppress(BlockingIOError):
            os.read(fd, 4096)

    # Processes

    def _start(self, process: _Process) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        read, write = os.pipe2(os.O_CLOEXEC)
        typed = -1
        if self.network.jobs[process.place].interactive:
            typed, process.input = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        blocked = signal.pthread_sigmask(
            signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        )
        pid = os.fork()
        if pid == 0:
            self._be(process, theirs, write, typed, parent, blocked)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        os.close(write)
        if typed >= 0:
            os.close(typed)
        os.set_blocking(read, False)
        process.pid, process.output, process.control = pid, read, ours
        process.pidfd = os.pidfd_open(pid)
        process.broken = None
        self._selector.register(read, selectors.EVENT_READ, lambda _: self._printed(process))
        self._selector.register(ours, selectors.EVENT_READ, lambda _: self._heard(process))
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda _: self._died(process))

    def _be(
        self,
        process: _Process,
        control: socket.socket,
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
            for other in self._processes:
                if other.input >= 0:
                    # an input that we hold open as well would never end
                    os.close(other.input)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing if typed < 0 else typed, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            # line by line, and whatever the parent had put in their place
            sys.stdout, sys.stderr = _text(1), _text(2)
            self._selector.close()
            folder = self._folders(process.place)
            if folder is not None:
                os.makedirs(folder, exist_ok=True)
                os.chdir(folder)
            code = self._host(process, control)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
            with suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    def _host(self, process: _Process, control: socket.socket) -> int:
        from maniple.network.live.jobhost import JobHost, Port
        from maniple.network.live.streamhost import StreamHost

        place = process.place
        job = self.network.jobs[place]
        kind: Any = StreamHost if isinstance(job, Program) else JobHost
        inputs = sorted((e for e in self.edges if e.reader == place), key=lambda e: e.position)
        outputs = sorted((e for e in self.edges if e.writer == place), key=lambda e: e.output)
        host = kind(
            job,
            [Port(edge.pipe, self.address(edge)) for edge in inputs],
            [Port(edge.pipe, self.address(edge)) for edge in outputs],
            control.send,
            self._progress[place : place + 1],
            restarted=process.restarts > 0,
        )
        well = host.run()
        if well:
            host.close()
        return Exit.OK if well else Exit.SOME_FAILED

    def _printed(self, process: _Process) -> bool:
        """Take output; False when there is none now, or no more."""
        try:
            data = os.read(process.output, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(process.output)
            os.close(process.output)
            process.output = -1
            self._console.end(process.place)
            return False
        self._console.write(process.place, data)
        return True

    def _heard(self, process: _Process) -> bool:
        from maniple.network.live.jobhost import Said

        assert process.control is not None  # noqa: S101 - registered with it
        try:
            data = process.control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(process.control)
            process.control.close()
            process.control = None
            return False
        said = msgspec.msgpack.decode(data, type=Said)
        if said.stats is not None:
            process.stats = said.stats
        if said.broken is not None:
            process.broken = said.broken
        return True

    def _died(self, process: _Process) -> None:
        try:
            _, status = os.waitpid(process.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = Exit.BROKEN
        # its last words are in the pipes, unless a child of its own still holds them
        while process.control is not None and self._heard(process):
            pass
        while process.output >= 0 and self._printed(process):
            pass
        self._let_go(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if code == 0:
            process.ended = True
            return
        error = self._error(process, code)
        job = self.network.jobs[process.place]
        if self._restart and process.restarts < MOST_RESTARTS:
            if isinstance(job, Program):
                self.error = JobError(f"{error} (a program is not started again)", error.trace)
            elif job.is_source and not job.REWINDS:
                self.error = JobError(
                    f"{error} (a source that cannot rewind is not started again: see REWINDS)",
                    error.trace,
                )
            else:
                process.restarts += 1
                self._start(process)
                return
        else:
            self.error = error
        process.ended = True

    def _listen(self) -> None:
        """Pass on what is typed; in a thread, for a terminal cannot be asked without waiting."""
        import threading

        interactive = [
            (p, self.network.jobs[p.place].name) for p in self._processes if p.input >= 0
        ]
        names = [name for _, name in interactive]
        if sys.stdin is None:
            return
        if sys.stdin.isatty() and len(names) > 1:
            print(f"lines go to {names[0]}; write NAME: for {', '.join(names[1:])}", flush=True)

        def listen() -> None:
            chosen = interactive[0][0]
            for line in sys.stdin:
                text = line
                front, colon, rest = line.partition(":")
                for process, name in interactive:
                    if colon and front.strip() in {name, name.rpartition("-")[2]}:
                        chosen, text = process, rest.lstrip(" ")
                with suppress(OSError):
                    os.write(chosen.input, text.encode("utf-8", "replace"))
            for process, _ in interactive:
                self._close_input(process)

        threading.Thread(target=listen, name="maniple-typing", daemon=True).start()

    @staticmethod
    def _close_input(process: _Process) -> None:
        fd, process.input = process.input, -1
        if fd >= 0:
            os.close(fd)

    def _let_go(self, process: _Process) -> None:
        self._close_input(process)
        self._selector.unregister(process.pidfd)
        os.close(process.pidfd)
        if process.control is not None:
            self._selector.unregister(process.control)
            process.control.close()
            process.control = None
        if process.output >= 0:
            self._selector.unregister(process.output)
            os.close(process.output)
            process.output = -1
            self._console.end(process.place)

    def _error(self, process: _Process, code: int) -> JobError:
        job = self.network.jobs[process.place]
        if process.broken is not None:
            broken = process.broken
            where = ""
            if broken.number is not None and job.inputs:
                blocks = (f"{p.name} {broken.number * p.count}" for p in job.inputs)
                where = f" at block {', '.join(blocks)}"
            return JobError(f"job {job.name} failed{where}: {broken.error}", broken.trace)
        if code < 0:
            return JobError(f"job {job.name} was killed by {signal.Signals(-code).name}")
        return JobError(f"job {job.name} ended with exit status {code}")

    def _end_all(self) -> None:
        """End what still runs, in order if it is quick, and wait for it."""
        left = [process for process in self._processes if process.pid and not process.ended]
        proctree.signal_all([process.pid for process in left], signal.SIGTERM)
        until = time.monotonic() + GRACE_SECONDS
        for process in left:
            selectors_ready = _wait(process.pidfd, until - time.monotonic())
            if not selectors_ready:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            while process.output >= 0 and self._printed(process):
                pass
            self._let_go(process)
            process.ended = True


def _text(fd: int) -> TextIO:
    raw = os.fdopen(fd, "wb", buffering=0, closefd=False)
    return io.TextIOWrapper(raw, "utf-8", "replace", line_buffering=True, write_through=True)


def _wait(pidfd: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def simulate(network: Network, **options: Any) -> None:
    """Run a network on this machine, its jobs' output on standard output.

    Raises:
        JobError: a job failed.
    """
    from maniple.network.live.console import standard_output

    console = Console([job.name for job in network.jobs], standard_output())
    try:
        LocalRun(network, console, **options).run()
    finally:
        console.close()


__all__ = ["JobError", "LocalRun", "MissingExtraError", "UsageError", "simulate"]
