"""Runs a network on this machine: a process for each job, watched by the one that starts them."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maniple import proctree
from maniple.errors import Exit, ManipleError, MissingExtraError, UsageError
from maniple.network.graph import Edge, Network
from maniple.network.live.console import Console
from maniple.network.live.ending import bury, descendants, wait
from maniple.network.live.keyboard import Keyboard
from maniple.network.live.process import MESSAGE_BYTES, JobProcess
from maniple.network.live.slate import slates
from maniple.network.program import Program
from maniple.network.rules.windows import acknowledge_after, least_blocks
from maniple.plugins import missing_extra

if TYPE_CHECKING:
    from maniple.network.live.ports import Port

GRACE_SECONDS: Final = 0.5
MOST_RESTARTS: Final = 8
"""In a row, without getting further."""
CHUNK: Final = 1 << 16
LOOK_SECONDS: Final = 0.25
LAST_WORDS: Final = 64
"""Of `CHUNK` bytes: more than a pipe holds."""


class JobError(ManipleError):
    """A job raised an exception, or its process died; the text is one line."""

    exit_code = Exit.SOME_FAILED

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


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
        # loaded once, and not by each job's process
        from maniple.network.live import streamhost as _streamhost  # noqa: F401

        self.network = network
        self.edges = network.edges
        self._console = console
        self._restart = restart
        self._folders = folders
        self._watch = watch
        self._key = os.urandom(8).hex()
        self._processes = [JobProcess(place) for place in range(len(network.jobs))]
        self._started: set[int] = set()
        self._keyboard: Keyboard | None = None
        self._selector = selectors.DefaultSelector()
        self._slates = slates([len(job.inputs) for job in network.jobs])
        self._least = least_blocks(self.edges)
        self._windows = [
            max(edge.pipe.blocks, least)
            for edge, least in zip(self.edges, self._least, strict=True)
        ]
        self._every = acknowledge_after(self.edges, self._windows)
        self._stopped_by: int = 0
        self.error: JobError | None = None

    @property
    def stats(self) -> list[Any]:
        """The last words of each job about itself (`words.Stats`), or None."""
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
        network, processes = self.network, self._processes
        with self._signals() as wake:
            self._selector.register(wake, selectors.EVENT_READ, self._woken)
            try:
                for process in processes:
                    self._start(process)
                listeners = [(p, network.jobs[p.place].name) for p in processes if p.input >= 0]
                if listeners:
                    self._keyboard = Keyboard(self._selector, listeners)
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
            typed = self._keyboard is not None and self._keyboard.ready
            for key, _ in self._selector.select(0 if typed else LOOK_SECONDS):
                # what an earlier one did may have closed it
                if self._selector.get_map().get(key.fd) == key:
                    key.data(key.fileobj)
            if typed and self._keyboard is not None:
                self._keyboard.read()
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

    def _start(self, process: JobProcess) -> None:
        job = self.network.jobs[process.place]
        process.start(
            self._processes, lambda control: self._host(process, control), typed=job.interactive
        )
        self._started.add(process.pid)
        for fd, woken in (
            (process.output, self._printed),
            (process.control, self._heard),
            (process.pidfd, self._died),
        ):
            assert fd is not None  # noqa: S101 - it was started
            self._selector.register(fd, selectors.EVENT_READ, lambda _, woken=woken: woken(process))
        if self._keyboard is not None and self._keyboard.over:
            self._keyboard.leave(process)

    def _host(self, process: JobProcess, control: socket.socket) -> int:
        """Be a job."""
        from maniple.network.live.jobhost import JobHost
        from maniple.network.live.streamhost import StreamHost

        self._selector.close()
        folder = self._folders(process.place)
        if folder is not None:
            os.makedirs(folder, exist_ok=True)
            os.chdir(folder)
        place = process.place
        job = self.network.jobs[place]
        kind: Any = StreamHost if isinstance(job, Program) else JobHost
        inputs = [number for number, edge in enumerate(self.edges) if edge.reader == place]
        inputs.sort(key=lambda number: self.edges[number].position)
        outputs = [number for number, edge in enumerate(self.edges) if edge.writer == place]
        outputs.sort(key=lambda number: self.edges[number].output)
        host = kind(
            job,
            [self._port(number) for number in inputs],
            [self._port(number) for number in outputs],
            control.send,
            self._slates[place],
            restarted=process.restarts > 0,
        )
        well = host.run()
        if well:
            host.close()
        return Exit.OK if well else Exit.SOME_FAILED

    def _port(self, number: int) -> Port:
        from maniple.network.live.ports import Port

        edge = self.edges[number]
        reader = self._slates[edge.reader]
        return Port(
            edge.pipe,
            self.address(edge),
            lambda: reader.through,
            self._windows[number],
            self._least[number],
            self._every[number],
        )

    def _printed(self, process: JobProcess) -> bool:
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

    def _heard(self, process: JobProcess) -> bool:
        from maniple.network.live.words import Said

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

    def _died(self, process: JobProcess) -> None:
        try:
            _, status = os.waitpid(process.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = Exit.BROKEN
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self._let_go(process)
        slate = self._slates[process.place]
        if slate.through:
            process.ended = True
            return
        error = self._error(process, code)
        # a sink that dies among many calls has only noted which of them have returned
        reached = max(slate.reached, slate.done)
        if reached > process.reached:
            process.tries, process.reached = 0, reached
        job = self.network.jobs[process.place]
        if self._restart and process.tries < MOST_RESTARTS:
            if isinstance(job, Program):
                self.error = JobError(f"{error} (a program is not started again)", error.trace)
            elif job.is_source and not job.REWINDS:
                self.error = JobError(
                    f"{error} (a source that cannot rewind is not started again: see REWINDS)",
                    error.trace,
                )
            else:
                process.tries += 1
                process.restarts += 1
                self._start(process)
                return
        else:
            self.error = error
        process.ended = True

    def _let_go(self, process: JobProcess) -> None:
        """Take a process's last words, and close what we hold of it."""
        # they are in the pipes; who else still holds these may write for ever
        for _ in range(LAST_WORDS):
            if process.control is None or not self._heard(process):
                break
        for _ in range(LAST_WORDS):
            if process.output < 0 or not self._printed(process):
                break
        if self._keyboard is not None:
            self._keyboard.leave(process)
        elif process.input >= 0:
            os.close(process.input)
            process.input = -1
        self._selector.unregister(process.pidfd)
        os.close(process.pidfd)
        process.pidfd = -1
        if process.control is not None:
            self._selector.unregister(process.control)
            process.control.close()
            process.control = None
        if process.output >= 0:
            self._selector.unregister(process.output)
            os.close(process.output)
            process.output = -1
            self._console.end(process.place)

    def _error(self, process: JobProcess, code: int) -> JobError:
        job = self.network.jobs[process.place]
        if process.broken is not None:
            broken = process.broken
            where = ""
            if broken.number is not None and job.inputs:
                blocks = (f"{p.name} {broken.number * p.count}" for p in job.inputs)
                where = f" at block {', '.join(blocks)}"
            return JobError(f"job {job.name} failed{where}: {broken.error}", broken.trace)
        if code == 0:
            return JobError(f"job {job.name} ended its process before its inputs had ended")
        if code < 0:
            return JobError(f"job {job.name} was killed by {signal.Signals(-code).name}")
        return JobError(f"job {job.name} ended with exit status {code}")

    def _end_all(self) -> None:
        """End what still runs, in order if it is quick, and wait for it."""
        left = [process for process in self._processes if process.pidfd >= 0]
        below = [pid for process in left for pid in descendants(process.pid)]
        proctree.signal_all([process.pid for process in left], signal.SIGTERM)
        until = time.monotonic() + GRACE_SECONDS
        for process in left:
            wait(process.pidfd, until - time.monotonic())
        for process in left:
            below += descendants(process.pid)
            proctree.signal_group(process.pid, signal.SIGKILL)
        proctree.signal_all(below, signal.SIGKILL)
        for process in left:
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            self._let_go(process)
            process.ended = True
        bury(self._started, set(below))


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
