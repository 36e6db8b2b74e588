"""Where captured output goes: passed on without mixing, or kept in a file per task."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Self

from maniple.errors import StorageError
from maniple.runner import Outcome
from maniple.runners.process import Output
from maniple.scratch import unnamed_file
from maniple.task import Task

CHUNK: Final = 1 << 16


class Lock:
    """A lock between the processes of a crew, in a file without a name.

    It is the kernel's: whoever dies lets go of it.
    """

    def __init__(self) -> None:
        self._file = unnamed_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def copy_to(target: int, source: int) -> None:
    """Write a whole file (read by position) to a descriptor, piece by piece."""
    position = 0
    while piece := os.pread(source, CHUNK, position):
        position += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]


def forward(lock: Callable[[], AbstractContextManager[Any]]) -> Output:
    """Make an output that passes on what a task printed when it has ended, tasks never mixed.

    Args:
        lock: gives a context manager that keeps the other minions of a crew from writing.
    """
    clear = b"\r\x1b[K" if sys.stdout.isatty() and sys.stderr.isatty() else b""

    def output(task: Task, outcome: Outcome, stdout: int | None, stderr: int | None) -> None:  # noqa: ARG001 - an Output takes them
        with lock():
            if clear:
                # the progress line stands there; it is painted again below what we write
                os.write(sys.stdout.fileno(), clear)
            for source, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
                if source is not None:
                    _pass_on(stream.fileno(), source)

    return output


def _pass_on(target: int, source: int) -> None:
    try:
        copy_to(target, source)
    except BrokenPipeError:
        # whoever read our output has seen enough; the tasks go on
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, target)
        os.close(null)
    except OSError as error:
        raise StorageError(f"cannot pass on the tasks' output: {error.strerror}") from None


def directory_output(folder: str) -> Output:
    """Make an output that keeps what each attempt printed: `NUMBER.out`, `NUMBER.err` there.

    A file replaces that of an earlier attempt, whole or not at all.
    """

    def output(task: Task, outcome: Outcome, stdout: int | None, stderr: int | None) -> None:  # noqa: ARG001 - an Output takes it
        for source, ending in ((stdout, "out"), (stderr, "err")):
            if source is None:
                continue
            path = os.path.join(folder, f"{task.number}.{ending}")
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                fd = os.open(f"{path}.part", flags, 0o666)
                try:
                    copy_to(fd, source)
                finally:
                    os.close(fd)
                os.replace(f"{path}.part", path)
            except OSError as error:
                full = error.errno == errno.ENOSPC
                why = "the disk is full" if full else error.strerror
                raise StorageError(f"cannot keep output in {folder}: {why}") from None

    return output
