"""From jobs of the framework MARVELO to a network that runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from maniple.errors import StorageError, UsageError
from maniple.network.encoding import Encoding
from maniple.network.graph import Network
from maniple.network.marvelo.head import CORRUPTED, Head
from maniple.network.marvelo.jobs import Adapter, BaseJob, ExecutableJob, Framed, PythonJob
from maniple.network.marvelo.pipes import BasePipe


def build(name: str, jobs: Sequence[BaseJob], head_size: int = 1) -> Network:
    """Make a network of jobs.

    Args:
        name: of the network.
        jobs: in the order of their ids.
        head_size: bytes of the heads, where a job wants them.

    Raises:
        UsageError: something in the list is no job, or a pipe joins jobs that it must not.
    """
    heads = head_size if any(job.HEAD for job in jobs if isinstance(job, BaseJob)) else 0
    network = Network(name)
    done: set[int] = set()
    for job in jobs:
        if not isinstance(job, BaseJob):
            raise UsageError(f"JOBS holds {job!r}, which is no job")
        _check_ends(job)
        if heads:
            for pipe in (*job.inputs, *job.outputs):
                if id(pipe) not in done:
                    done.add(id(pipe))
                    _give_head(pipe, heads, framed=not isinstance(job, ExecutableJob) or job.HEAD)
        if isinstance(job, ExecutableJob):
            network.add(job.program())
        elif isinstance(job, PythonJob):
            network.add(Adapter(job, heads))
        else:
            raise UsageError(f"job {job.name} is neither a PythonJob nor an ExecutableJob")
    return network


def _check_ends(job: BaseJob) -> None:
    for pipes, what, attribute in (
        (job.outputs, "written", "SOURCE_JOBS"),
        (job.inputs, "read", "DESTINATION_JOBS"),
    ):
        for pipe in pipes:
            if not isinstance(pipe, BasePipe):
                raise UsageError(f"job {job.name}: {pipe!r} is no pipe of fission.core.pipes")
            allowed = tuple(getattr(pipe, attribute))
            if allowed and not isinstance(job, allowed):
                names = ", ".join(each.__name__ for each in allowed)
                raise UsageError(
                    f"pipe {pipe.id} must not be {what} by {job.name}: {attribute} has {names}"
                )


def _give_head(pipe: BasePipe, size: int, *, framed: bool) -> None:
    pipe.encoding = WithHead(pipe.encoding, size, framed=framed)
    plain = pipe.stand_in

    def stand_in(previous: Any) -> Any:
        value, head = (previous[0], previous[1]) if isinstance(previous, Framed) else (previous, 0)
        marked = Head(head, size)
        marked[-CORRUPTED] = 1
        return Framed((plain(value), int(marked)))

    pipe.dummy = stand_in
    if pipe.optional and pipe.default is not None:
        pipe.default = Framed((pipe.default, 0))


class WithHead:
    """An encoding whose blocks carry heads.

    Args:
        inner: encodes the values.
        size: bytes of a head.
        framed: a program at this end reads and writes heads before its blocks.
    """

    def __init__(self, inner: Encoding, size: int, *, framed: bool) -> None:
        self._inner = inner
        self._size = size
        self._framed = framed

    def prepare(self, block: Any) -> Any:
        """Take value and head as they are now."""
        value, head = (block[0], block[1]) if isinstance(block, Framed) else (block, 0)
        return head.to_bytes(self._size, "big"), self._inner.prepare(value)

    def encode(self, prepared: Sequence[Any]) -> list[bytes]:
        """Put the heads into a frame of their own."""
        heads = b"".join(head for head, _ in prepared)
        return [heads, *self._inner.encode([value for _, value in prepared])]

    def decode(self, frames: Sequence[Any], count: int) -> list[Any]:
        """Give values with their heads."""
        heads, size = bytes(frames[0]), self._size
        values = self._inner.decode(frames[1:], count)
        return [
            Framed((value, int.from_bytes(heads[at * size : at * size + size], "big")))
            for at, value in enumerate(values)
        ]

    def write(self, file: BinaryIO, block: Any) -> None:
        """Write a block for a program."""
        value, head = (block[0], block[1]) if isinstance(block, Framed) else (block, 0)
        if self._framed:
            file.write(head.to_bytes(self._size, "big"))
        self._inner.write(file, value)

    def read(self, file: BinaryIO) -> Any:
        """Read a block from a program."""
        head = 0
        if self._framed:
            data = file.read(self._size)
            if not data:
                raise EOFError
            head = int.from_bytes(data, "big")
        return Framed((self._inner.read(file), head))


def furnish(job: BaseJob, folder: str, source: str) -> None:
    """Make a job's working directory, with what the job depends on.

    Args:
        job: its DEPENDENCIES are a folder (what is in it is copied), or modules (with their folder,
            if they are packages), or a list of these.
        folder: is made anew.
        source: where relative folders are looked for.

    Raises:
        UsageError: something is not there.
        StorageError: the folder cannot be written.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        wanted = job.DEPENDENCIES
        for each in wanted if isinstance(wanted, list | tuple) else [wanted]:
            if each is not None:
                _copy(each, folder, source, job)
    except OSError as error:
        raise StorageError(f"job {job.name}: cannot make {folder}: {error.strerror}") from None


def _copy(what: Any, folder: str, source: str, job: BaseJob) -> None:
    if hasattr(what, "__file__"):
        path = cast("str", what.__file__)
        if os.path.basename(path) == "__init__.py":
            package = os.path.dirname(path)
            shutil.copytree(package, os.path.join(folder, os.path.basename(package)))
        else:
            shutil.copy2(path, folder)
        return
    path = os.path.join(source, os.fspath(what))
    if os.path.isdir(path):
        shutil.copytree(path, folder, dirs_exist_ok=True)
    elif os.path.isfile(path):
        shutil.copy2(path, folder)
    else:
        raise UsageError(f"job {job.name}: DEPENDENCIES names {path}, which is not there")
