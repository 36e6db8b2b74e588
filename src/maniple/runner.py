"""The runner contract: what a task runs, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from maniple.task import Task


class Outcome(msgspec.Struct, gc=False):
    """How one attempt ended.

    Attributes:
        ok: the task did what it should.
        start, end: when, in seconds since the epoch.
        cause: for a failure, a few words that group alike ones: `exit 3`, `timeout`.
        error: for a failure, the whole message.
        value: what a function returned.
        stdout, stderr: what was captured.
        exit_code: of a process; negative for a signal.
        interrupted: the minion stopped it: neither done nor failed, to be given back.
    """

    ok: bool
    start: float
    end: float
    cause: str | None = None
    error: str | None = None
    value: Any = None
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int | None = None
    interrupted: bool = False


MINION_VARIABLE: Final = b"MANIPLE_MINION"
"""In the environment of a task: the process of the minion that runs it."""


class Cancel:
    """A flag that a runner can also wait for: its file descriptor turns readable."""

    def __init__(self) -> None:
        self.requested = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Readable once the cancel was requested."""
        return self._read

    def request(self) -> None:
        """Ask whoever waits to stop; safe in a signal handler."""
        if not self.requested:
            self.requested = True
            os.write(self._write, b"x")

    def close(self) -> None:
        """Give the descriptors back; a request after that does nothing."""
        if self._read >= 0:
            self.requested = True
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1


def _nothing() -> None:
    pass


def _ignore(_group: int) -> None:
    pass


class Context(msgspec.Struct):
    """What a minion gives its runner.

    Attributes:
        cancel: set when the minion must stop; a runner ends its task then, within a second.
        time_limit: seconds that one attempt may take, or None.
        slot: which minion of its crew this is, from 1.
        directory: where tasks run, or None for the current directory.
        logs: where a runner may leave files, or None.
        meanwhile: called by a runner whose `calls_meanwhile` is true as soon as a task has
            started: the minion tells the queue of the tasks before it while this one runs.
        running: told the process group of each task when it starts, and 0 when it has ended, so
            that a guard can end it should the minion be killed. Just before the start it is told
            minus the minion's process, which the task then has in `MINION_VARIABLE`.
    """

    cancel: Cancel
    time_limit: float | None = None
    slot: int = 1
    directory: str | None = None
    logs: str | None = None
    meanwhile: Callable[[], None] = _nothing
    running: Callable[[int], None] = _ignore


@runtime_checkable
class Runner(Protocol):
    """Runs one task at a time, and kills all that it started, always."""

    def run(self, task: Task, context: Context) -> Outcome:
        """Run one attempt to its end. Failures are outcomes, not exceptions."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...


@runtime_checkable
class StreamRunner(Protocol):
    """Runs a stream of tasks, in order, in a process beside the minion: no wait between two.

    Attributes:
        lock: held by every call but while it waits; a minion puts its own here, so that no other
            thread of its is in the middle of something when the runner forks.
    """

    lock: AbstractContextManager[Any]

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks; they start as soon as those before them have ended."""
        ...

    def collect(self, context: Context, timeout: float) -> list[tuple[Task, Outcome]]:
        """Wait up to `timeout` seconds for ended attempts; return all there are."""
        ...

    def withdraw(self) -> list[Task]:
        """Take back the tasks that have not started. Safe from another thread."""
        ...

    def stop(self) -> list[tuple[Task, Outcome]]:
        """End what runs; return the attempts that had ended by themselves before."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...
