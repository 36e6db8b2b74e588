"""From jobs of the framework MARVELO to a network that runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, BinaryIO

from maniple.errors import StorageError, UsageError
from maniple.network.encoding import Encoding
from maniple.network.graph import Network
from maniple.network.marvelo.adapter import Adapter, Framed, Log
from maniple.network.marvelo.head import CORRUPTED, Head
from maniple.network.marvelo.jobs import BaseJob, ExecutableJob, PythonJob
from maniple.network.marvelo.pipes import BasePipe, PipeEncoding


def build(
    name: str, jobs: Sequence[BaseJob], head_size: int = 1, log: Log | None = None
) -> Network:
    """Make a network of jobs.

    Args:
        name: of the network.
        jobs: in the order of their ids.
        head_size: bytes of the heads, where a job wants them.
        log: for the processes of the jobs.

    Raises:
        UsageError: a pipe joins jobs that it must not.
    """
    heads = head_size if any(job.HEAD for job in jobs) else 0
    for job in jobs:
        _check_ends(job)
    _check_sizes(jobs)
    if heads:
        _give_heads(jobs, heads)
    network = Network(name)
    for job in jobs:
        if isinstance(job, ExecutableJob):
            network.add(job.program())
        elif isinstance(job, PythonJob):
            network.add(Adapter(job, heads, log))
        else:
            raise UsageError(f"job {job.name} is neither a PythonJob nor an ExecutableJob")
    return network


def pack(network: Network) -> None:
    """Make the jobs ready to travel to their nodes.

    Raises:
        UsageError: one of them cannot.
    """
    for job in network.jobs:
        if isinstance(job, Adapter):
            job.pack()


def _check_ends(job: BaseJob) -> None:
    for pipes, what, attribute in (
        (job.outputs, "written", "SOURCE_JOBS"),
        (job.inputs, "read", "DESTINATION_JOBS"),
    ):
        for pipe in pipes:
            if not isinstance(pipe, BasePipe):
                raise UsageError(f"job {job.name}: {pipe!r} is no pipe of fission.core.pipes")
            allowed = getattr(pipe, attribute)
            allowed = (allowed,) if isinstance(allowed, type) else tuple(allowed)
            if allowed and not isinstance(job, allowed):
                names = ", ".join(each.__name__ for each in allowed)
                raise UsageError(
                    f"pipe {pipe.id} must not be {what} by {job.name}: {attribute} has {names}"
                )


def _check_sizes(jobs: Sequence[BaseJob]) -> None:
    """Both ends of a pipe must mean blocks of the same size."""
    written = {pipe.name: (job, pipe) for job in jobs for pipe in job.outputs}
    for job in jobs:
        for pipe in job.inputs:
            writer, other = written.get(pipe.name, (job, pipe))
            if type(pipe) is type(other) and pipe.BLOCK_SIZE != other.BLOCK_SIZE:
                raise UsageError(
                    f"pipe {pipe.id}: {writer.name} writes blocks of {other.BLOCK_SIZE} bytes,"
                    f" {job.name} reads blocks of {pipe.BLOCK_SIZE}"
                )


def _give_heads(jobs: Sequence[BaseJob], size: int) -> None:
    """Let all pipes carry heads; programs see them if they have HEAD."""

    def framed(pipe: BasePipe, side: str) -> bool:
        ends = [j for j in jobs if any(p.name == pipe.name for p in getattr(j, side))]
        return any(isinstance(j, ExecutableJob) and j.HEAD for j in ends)

    done: set[int] = set()
    for job in jobs:
        for pipe in (*job.inputs, *job.outputs):
            if id(pipe) not in done:
                done.add(id(pipe))
                _give_head(pipe, size, framed(pipe, "inputs"), framed(pipe, "outputs"))


def _give_head(pipe: BasePipe, size: int, written: bool, read: bool) -> None:  # noqa: FBT001
    pipe.encoding = WithHead(PipeEncoding(pipe), size, written=written, read=read)
    plain = pipe.stand_in

    def stand_in(previous: Any) -> Any:
        value, head = (previous[0], previous[1]) if isinstance(previous, Framed) else (previous, 0)
        marked = Head(head, size)
        marked[-CORRUPTED] = 1
        return Framed((plain(value), int(marked)))

    pipe.dummy = stand_in
    if pipe.optional and pipe.default is not None and not isinstance(pipe.default, Framed):
        pipe.default = Framed((pipe.default, 0))


class WithHead:
    """An encoding whose blocks carry heads.

    Args:
        inner: encodes the values.
        size: bytes of a head.
        written: the program that reads this pipe gets heads before its blocks.
        read: the program that writes this pipe gives heads before its blocks.
    """

    def __init__(self, inner: Encoding, size: int, *, written: bool, read: bool) -> None:
        self._inner = inner
        self._size = size
        self._written = written
        self._read = read

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
        if self._written:
            file.write(head.to_bytes(self._size, "big"))
        self._inner.write(file, value)

    def read(self, file: BinaryIO) -> Any:
        """Read a block from a program."""
        head = 0
        if self._read:
            data = file.read(self._size)
            if not data:
                raise EOFError
            head = int.from_bytes(data, "big")
        return Framed((self._inner.read(file), head))


def furnish(job: BaseJob, folder: str) -> None:
    """Make a job's working directory, with what the job depends on.

    Args:
        job: its DEPENDENCIES are a folder (what is in it is copied), or modules (with their folder,
            if they are packages), or a list of these; folders are looked for in its `sources`.
        folder: is made anew.

    Raises:
        UsageError: something is not there.
        StorageError: the folder cannot be written.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        wanted = job.DEPENDENCIES
        for each in wanted if isinstance(wanted, list | tuple | set) else [wanted]:
            if each:
                _copy(each, folder, job)
    except (OSError, shutil.Error) as error:
        said = getattr(error, "strerror", None) or error
        raise StorageError(f"job {job.name}: cannot make {folder}: {said}") from None


def _copy(what: Any, folder: str, job: BaseJob) -> None:
    if isinstance(what, ModuleType):
        path = what.__file__
        if path is None:
            raise UsageError(
                f"job {job.name}: DEPENDENCIES names {what.__name__}, which has no file"
            )
        if os.path.basename(path) == "__init__.py":
            package = os.path.dirname(path)
            shutil.copytree(
                package,
                os.path.join(folder, os.path.basename(package)),
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy2(path, folder)
        return
    if not isinstance(what, str | os.PathLike):
        raise UsageError(f"job {job.name}: DEPENDENCIES names {what!r}: give a folder or a module")
    places = [os.path.join(source, os.fspath(what)) for source in job.sources or [os.getcwd()]]
    path = next((place for place in places if os.path.exists(place)), None)
    if path is None:
        raise UsageError(
            f"job {job.name}: DEPENDENCIES names {os.fspath(what)}, which is not in {places[0]}"
        )
    if os.path.isdir(path):
        shutil.copytree(path, folder, dirs_exist_ok=True)
    else:
        shutil.copy2(path, folder)
