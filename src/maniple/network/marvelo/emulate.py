"""Try one pipe, or one job in a process of its own, without a network."""

from __future__ import annotations

import io
import multiprocessing
import os
import tempfile
import traceback
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from maniple.errors import UsageError
from maniple.network.marvelo.head import Head
from maniple.network.marvelo.jobs import Adapter, BaseJob, Framed, PythonJob
from maniple.network.marvelo.pipes import BasePipe

_PATIENCE_SECONDS: Final = 60.0


class Stages(NamedTuple):
    """A value on its way through a pipe."""

    packed: bytes
    wire: bytes
    read: Any
    unpacked: Any


class EmulatedError(Exception):
    """A job raised an exception while it was tried; its traceback was printed."""


def emulate(what: BasePipe | BaseJob) -> PipeEmulator | JobEmulator:
    """Make something to call: a pipe with a value, or a job with its inputs.

    Raises:
        UsageError: it is neither a pipe nor a Python job.
    """
    if isinstance(what, BasePipe):
        return PipeEmulator(what)
    if isinstance(what, PythonJob):
        return JobEmulator(what)
    raise UsageError(f"only pipes and Python jobs can be tried, not {what!r}")


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

    Attributes:
        job: as it is here; the one that runs is a copy.
        cwd: its working directory.
    """

    def __init__(self, job: PythonJob) -> None:
        self.job = job
        self._folder = tempfile.TemporaryDirectory(prefix="maniple-emulate-")
        self.cwd = self._folder.name
        ours, theirs = multiprocessing.Pipe()
        self._connection = ours
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_serve, args=(job, theirs, self.cwd), daemon=True)
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
            EmulatedError: the job raised an exception, or its process ended.
        """
        try:
            self._connection.send((inputs, int(head)))
            if not self._connection.poll(_PATIENCE_SECONDS):
                raise EmulatedError(f"the job gave nothing within {_PATIENCE_SECONDS:g} s")
            well, answer = self._connection.recv()
        except (EOFError, OSError):
            raise EmulatedError("the job's process has ended") from None
        if not well:
            raise EmulatedError(answer)
        outputs: list[Any] = answer
        return outputs

    def kill(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()
        self._folder.cleanup()


def _serve(job: PythonJob, connection: Connection, folder: str) -> None:
    os.chdir(folder)
    adapter = Adapter(job, len(job.head) if job.HEAD else 0)
    values: Any = None
    try:
        adapter.setup()
        while True:
            inputs, head = connection.recv()
            try:
                if not job.inputs:
                    values = adapter.values() if values is None else values
                    answer = next(values, None)
                else:
                    blocks = [Framed((v, head)) for v in inputs] if job.HEAD else inputs
                    job.head = Head(head, len(job.head))
                    answer = adapter.run(*blocks)
                connection.send((True, _outputs(answer, len(job.outputs))))
            except Exception:
                connection.send((False, traceback.format_exc()))
    except EOFError:
        return
    except Exception:
        connection.send((False, traceback.format_exc()))


def _outputs(answer: Any, number: int) -> list[Any]:
    values = answer if type(answer) is tuple else (answer,) * max(1, number)
    return [value[0] if isinstance(value, Framed) else value for value in values]
