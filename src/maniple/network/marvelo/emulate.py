"""Try one pipe, or one job in a process of its own, without a network."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from maniple.errors import ManipleError, UsageError
from maniple.network.marvelo.adapter import Adapter, Framed
from maniple.network.marvelo.build import WithHead, build, furnish, pack
from maniple.network.marvelo.head import Head
from maniple.network.marvelo.jobs import BaseJob
from maniple.network.marvelo.pipes import BasePipe
from maniple.network.program import Program

_PATIENCE_SECONDS: Final = 60.0


class Stages(NamedTuple):
    """A value on its way through a pipe."""

    packed: bytes
    wire: bytes
    read: Any
    unpacked: Any


class EmulatedError(ManipleError):
    """A job failed while it was tried; the text holds its traceback."""


def emulate(what: BasePipe | BaseJob) -> PipeEmulator | JobEmulator:
    """Make something to call: a pipe with a value, or a job with its inputs.

    Raises:
        UsageError: it is neither a pipe nor a job, or a job that cannot travel.
    """
    if isinstance(what, BasePipe):
        return PipeEmulator(what)
    if isinstance(what, BaseJob):
        return JobEmulator(what)
    raise UsageError(f"only pipes and jobs can be tried, not {what!r}")


class PipeEmulator:
    """Shows a value at each stage of a pipe."""

    def __init__(self, pipe: BasePipe) -> None:
        self.pipe = pipe

    def __call__(self, value: Any) -> Stages:
        """Print and return what the pipe makes of a value."""
        pipe, wire = self.pipe, io.BytesIO()
        packed = pipe.pack(value)
        pipe.write(wire, packed)
        read = pipe.read(io.BytesIO(wire.getvalue()))
        stages = Stages(packed, wire.getvalue(), read, pipe.unpack(read))
        for name, stage in zip(("value", *Stages._fields), (value, *stages), strict=True):
            print(f"{name:9}{stage!r}")
        return stages


class JobEmulator:
    """Runs a job in a process of its own, where it was set up.

    It may be the object of a `with` statement, which kills it at the end.

    Attributes:
        job: as it is here; the one that runs is a copy.
        cwd: its working directory.

    Raises:
        UsageError: the job cannot travel, or what it depends on is missing.
    """

    def __init__(self, job: BaseJob) -> None:
        self.job = job
        network = build("emulate", [job])
        pack(network)
        self.cwd = tempfile.mkdtemp(prefix="maniple-emulate-")
        try:
            furnish(job, self.cwd)
        except ManipleError:
            shutil.rmtree(self.cwd, ignore_errors=True)
            raise
        ours, theirs = multiprocessing.Pipe()
        self._connection = ours
        context = multiprocessing.get_context("fork")
        self._process: Any = context.Process(
            target=_serve, args=(network.jobs[0], ours, theirs, self.cwd), daemon=True
        )
        self._process.start()
        theirs.close()

    def __call__(self, *inputs: Any, head: int = 0) -> list[Any]:
        """Run the job once.

        Args:
            inputs: one value for each input.
            head: of all inputs.

        Returns:
            One value per output; of a sink, what `run` returned.

        Raises:
            EmulatedError: the job raised an exception, gave nothing in a minute, or has ended.
        """
        if self._process is None:
            raise EmulatedError(f"job {self.job.name} was killed")
        try:
            self._connection.send((inputs, int(head)))
            if not self._connection.poll(_PATIENCE_SECONDS):
                raise EmulatedError(
                    f"job {self.job.name} gave nothing within {_PATIENCE_SECONDS:g} s"
                    " (a program must flush its output after each block)"
                )
            well, answer = self._connection.recv()
        except (EOFError, OSError):
            raise EmulatedError(f"job {self.job.name} has ended") from None
        if not well:
            raise EmulatedError(f"job {self.job.name} failed:\n{answer}")
        outputs: list[Any] = answer
        return outputs

    def kill(self) -> None:
        """End the process and remove its folder."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.join()
        process.close()
        self._connection.close()
        shutil.rmtree(self.cwd, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def __del__(self) -> None:
        with suppress(Exception):
            self.kill()


class _Tried(Protocol):
    """A job in its process."""

    def __call__(self, inputs: Sequence[Any], head: int) -> list[Any]: ...


def _serve(job: Adapter | Program, ours: Connection, theirs: Connection, folder: str) -> None:
    # whoever holds the other end as well would never see it closed
    ours.close()
    os.chdir(folder)
    try:
        work: _Tried = _TriedProgram(job) if isinstance(job, Program) else _TriedJob(job)
        while True:
            inputs, head = theirs.recv()
            try:
                theirs.send((True, work(inputs, head)))
            except Exception:
                theirs.send((False, traceback.format_exc()))
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        theirs.send((False, traceback.format_exc()))


class _TriedJob:
    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._values: Any = None
        adapter.setup()

    def __call__(self, inputs: Sequence[Any], head: int) -> list[Any]:
        adapter = self._adapter
        number = len(adapter.outputs)
        if not adapter.inputs:
            self._values = adapter.values() if self._values is None else self._values
            answer = next(self._values, None)
        else:
            blocks = [Framed((v, head)) for v in inputs] if adapter.heads else inputs
            adapter.job.head = Head(head, adapter.heads or 1)
            answer = adapter.run(*blocks)
        values = answer if type(answer) is tuple else (answer,) * max(1, number)
        if number and len(values) != number:
            raise ValueError(f"{len(values)} values were given, and the job has {number} outputs")
        return [value[0] if isinstance(value, Framed) else value for value in values]


class _TriedProgram:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._feeds, self._results = program.start()

    def __call__(self, inputs: Sequence[Any], head: int) -> list[Any]:
        for file, pipe, value in zip(self._feeds, self._program.inputs, inputs, strict=True):
            framed = isinstance(pipe.encoding, WithHead)
            pipe.encoding.write(file, Framed((value, head)) if framed else value)
            file.flush()
        read = [
            pipe.encoding.read(file)
            for file, pipe in zip(self._results, self._program.outputs, strict=True)
        ]
        return [value[0] if isinstance(value, Framed) else value for value in read]
