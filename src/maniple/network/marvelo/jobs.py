"""Jobs of the framework MARVELO."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from maniple.errors import UsageError
from maniple.network.job import Job
from maniple.network.marvelo.head import FINISHED, Head, bitwise_or
from maniple.network.marvelo.pipes import BasePipe
from maniple.network.program import Program

_ids = itertools.count(1)


def restart_ids() -> None:
    """Count jobs from 1 again: another network begins."""
    global _ids  # noqa: PLW0603 - jobs are counted in the order they are made
    _ids = itertools.count(1)


class BaseJob:
    """What all jobs have.

    Attributes:
        id: counts jobs from 1 in the order they are made.
        GROUPS: name or list of names of node groups, the most wanted first.
        DEFAULT_NODE: ip of the node to be placed on.
        MAX_QUEUE: inputs to hold before the oldest is dropped; 0: no bound.
        DEPENDENCIES: a folder that is copied into the working directory, or modules, or a list.
        HEAD: blocks carry heads.
    """

    GROUPS: ClassVar[str | Sequence[str]] = "ALL"
    DEFAULT_NODE: ClassVar[str | None] = None
    MAX_QUEUE: ClassVar[int] = 0
    DEPENDENCIES: ClassVar[Any] = None
    HEAD: ClassVar[bool] = False
    LOCAL: ClassVar[bool] = False

    id: int
    inputs: list[Any]
    outputs: list[Any]

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        """Number it, also where a subclass does not call our `__init__`."""
        made = super().__new__(cls)
        made.id = next(_ids)
        return made

    @property
    def name(self) -> str:
        """For messages and pictures."""
        return f"{type(self).__name__}-{self.id}"


class PythonJob(BaseJob):
    """Subclass it, with `run`.

    Args:
        inputs: pipes, in the order of `run`'s parameters.
        outputs: pipes, in the order of the values of a returned tuple.
        args: for `setup`.
        options: for `setup`.
    """

    def __init__(
        self,
        inputs: Sequence[BasePipe] | None = None,
        outputs: Sequence[BasePipe] | None = None,
        *args: Any,
        **options: Any,
    ) -> None:
        self.inputs = list(inputs or [])
        self.outputs = list(outputs or [])
        self.setup_args = args
        self.setup_options = options
        self.head: Any = Head()
        self.in_heads: list[Head] = []
        self.out_heads: list[Head | None] = [None] * len(self.outputs)
        self._finish = False

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Prepare, once, where the job runs."""

    def run(self, *inputs: Any) -> Any:
        """Compute on a complete set of inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no method run")

    def finish(self) -> None:
        """Make the next value the last one."""
        self._finish = True

    def head_reduce(self, heads: Sequence[Head]) -> Head:
        """Make one head of the inputs' heads."""
        return bitwise_or(heads, len(self.head))


class LocalJob(BaseJob):
    """Mixed in: the job always runs on the client."""

    LOCAL = True


class CSVSinkJob(LocalJob, PythonJob):
    """Writes a row for each set of inputs, flushed at once, under a header row.

    Args:
        path: of the file, relative to the job's working directory.
        inputs: a column each.
        col_pattern: of the header: `{pipe}` is the pipe.
    """

    def __init__(
        self, path: str, inputs: Sequence[BasePipe], col_pattern: str = "pipe_{pipe.id}"
    ) -> None:
        super().__init__(inputs)
        self.path = path
        self.col_pattern = col_pattern
        self.restarted = False

    def setup(self, *_args: Any, **_kwargs: Any) -> None:
        """Open the file and write the header."""
        import csv

        self._file = open(  # noqa: SIM115 - open as long as the job
            self.path, "a" if self.restarted else "w", newline="", encoding="utf-8"
        )
        self._write = csv.writer(self._file, lineterminator="\n").writerow
        if not self.restarted:
            self._write([self.col_pattern.format(pipe=pipe) for pipe in self.inputs])
            self._file.flush()

    def run(self, *inputs: Any) -> None:
        """Write a row."""
        self._write(inputs)
        self._file.flush()


class InteractiveJob(LocalJob, PythonJob):
    """A source whose values are the lines that somebody types for it."""

    def run(self) -> Iterator[str]:
        """Give the lines."""
        print("ready for lines", flush=True)
        for line in sys.stdin:
            yield line.rstrip("\n")


class Adapter(Job):
    """A `PythonJob` as the network runs it.

    Args:
        job: of the user.
        heads: bytes of the heads that travel with all blocks of this network; 0: none do.
    """

    def __init__(self, job: PythonJob, heads: int) -> None:
        super().__init__(job.inputs, job.outputs, name=job.name)
        self.job = job
        self.heads = heads
        self.MAX_QUEUE = job.MAX_QUEUE
        groups = [job.GROUPS] if isinstance(job.GROUPS, str) else list(job.GROUPS)
        self.GROUPS = [group for group in groups if group != "ALL"]
        self.interactive = isinstance(job, InteractiveJob)
        self.corrupted = False
        if not heads and self.inputs:
            self.run = job.run  # type: ignore[method-assign]

    def setup(self) -> None:
        """Set the user's job up."""
        job = self.job
        if isinstance(job, CSVSinkJob):
            job.restarted = self.restarted
        job.head = Head(0, self.heads or 1)
        job.setup(*job.setup_args, **job.setup_options)

    @property
    def _finishing(self) -> bool:
        return self.job._finish  # noqa: SLF001 - the job's word to us

    @_finishing.setter
    def _finishing(self, value: bool) -> None:
        pass

    def values(self) -> Iterator[Any]:
        """What a source gives."""
        job = self.job
        found = job.run()
        if isinstance(found, Iterator):
            for value in found:
                yield self._framed(value) if self.heads else value
            return
        while found is not None:
            yield self._framed(found) if self.heads else found
            if job._finish:  # noqa: SLF001
                return
            found = job.run()

    def run(self, *blocks: Any) -> Any:
        """Take the heads off, run the job, put heads on."""
        job = self.job
        if blocks:
            job.in_heads = [self._head_of(block) for block in blocks]
            job.head = job.head_reduce(job.in_heads)
            if self.corrupted:
                job.head[-1] = 1
        value = job.run(*(self._value_of(block) for block in blocks))
        return value if value is None or not self.outputs else self._framed(value)

    def _head_of(self, block: Any) -> Head:
        return Head(block[1] if isinstance(block, Framed) else 0, self.heads)

    @staticmethod
    def _value_of(block: Any) -> Any:
        if isinstance(block, list) and block and isinstance(block[0], Framed):
            return [each[0] for each in block]
        return block[0] if isinstance(block, Framed) else block

    def _framed(self, value: Any) -> Any:
        job = self.job
        if value is None:
            return None
        number = len(self.outputs)
        if type(value) is tuple and len(value) != number:
            return value
        values = value if type(value) is tuple else (value,) * number
        framed = []
        for each, own in zip(values, job.out_heads, strict=True):
            head = Head(job.head if own is None else own, self.heads)
            if job._finish:  # noqa: SLF001
                head[-FINISHED] = 1
            framed.append(Framed((each, int(head))))
        return tuple(framed)


class Framed(tuple):  # type: ignore[type-arg]  # noqa: SLOT001 - a value and its head
    """A block with its head: `(value, head as a number)`."""


class ExecutableJob(BaseJob):
    """Any program: one flag for each pipe, in order, followed by the path of a named pipe.

    Attributes:
        EXECUTABLE: the program, relative to the job's working directory or found on PATH.
        PARAMETERS: words (or text) after it.
        INPUT_FLAG: before each input.
        OUTPUT_FLAG: before each output.
    """

    EXECUTABLE: ClassVar[str] = ""
    PARAMETERS: ClassVar[str | Sequence[str]] = ""
    INPUT_FLAG: ClassVar[str] = "-i"
    OUTPUT_FLAG: ClassVar[str] = "-o"
    DESCRIPTORS: ClassVar[bool] = False

    def __init__(
        self,
        inputs: Sequence[BasePipe] | None = None,
        outputs: Sequence[BasePipe] | None = None,
    ) -> None:
        self.inputs = list(inputs or [])
        self.outputs = list(outputs or [])

    def program(self) -> Program:
        """Make the job that the network runs.

        Raises:
            UsageError: there is no executable.
        """
        import shlex

        if not self.EXECUTABLE:
            raise UsageError(f"job {self.name} has no EXECUTABLE")
        more = self.PARAMETERS
        words = shlex.split(more) if isinstance(more, str) else [str(word) for word in more]
        made = Program(
            [*shlex.split(self.EXECUTABLE), *words],
            self.inputs,
            self.outputs,
            name=self.name,
            input_flag=self.INPUT_FLAG,
            output_flag=self.OUTPUT_FLAG,
            descriptors=self.DESCRIPTORS,
        )
        groups = [self.GROUPS] if isinstance(self.GROUPS, str) else list(self.GROUPS)
        made.GROUPS = [group for group in groups if group != "ALL"]
        return made


class MARVELOJob(ExecutableJob):
    """Any program: each flag is followed by the number of an open file descriptor."""

    DESCRIPTORS = True


class DynamicExecutableJob(ExecutableJob):
    """An `ExecutableJob` without a class of its own.

    Args:
        dependencies: a folder that is copied into the working directory, or None.
        executable: as `EXECUTABLE`.
        parameters: as `PARAMETERS`.
        groups: as `GROUPS`.
        input_flag: as `INPUT_FLAG`.
        output_flag: as `OUTPUT_FLAG`.
        head: as `HEAD`.
        inputs: pipes.
        outputs: pipes.
    """

    def __init__(
        self,
        dependencies: Any,
        executable: str,
        parameters: str | Sequence[str] = "",
        groups: str | Sequence[str] = "",
        input_flag: str = "-i",
        output_flag: str = "-o",
        head: bool = False,  # noqa: FBT001, FBT002 - as the interface has it
        inputs: Sequence[BasePipe] | None = None,
        outputs: Sequence[BasePipe] | None = None,
    ) -> None:
        super().__init__(inputs, outputs)
        own: Any = self
        own.DEPENDENCIES, own.EXECUTABLE, own.PARAMETERS = dependencies, executable, parameters
        own.GROUPS = groups or "ALL"
        own.INPUT_FLAG, own.OUTPUT_FLAG, own.HEAD = input_flag, output_flag, head


class DynamicMARVELOJob(DynamicExecutableJob, MARVELOJob):
    """A `MARVELOJob` without a class of its own; see `DynamicExecutableJob`."""

    DESCRIPTORS = True
