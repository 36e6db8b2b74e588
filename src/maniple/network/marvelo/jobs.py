"""Jobs of the framework MARVELO."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from maniple.errors import StorageError, UsageError
from maniple.network.marvelo.head import Head, bitwise_or
from maniple.network.marvelo.pipes import BasePipe
from maniple.network.marvelo.place import NodeFacts
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

    # where folders in DEPENDENCIES are looked for, one after the other
    sources: Sequence[str] = ()
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

    def __repr__(self) -> str:
        return self.name

    @property
    def groups(self) -> list[str]:
        """GROUPS as a list."""
        groups = [self.GROUPS] if isinstance(self.GROUPS, str) else list(self.GROUPS)
        return groups or ["ALL"]

    def preference(self, facts: NodeFacts) -> float:
        """Tell how much a node is wanted; of those of one group the highest is taken.

        Args:
            facts: about the node, with what has been placed there already.
        """
        return facts.cpu_free + facts.memory_free - facts.swap_used + facts.link


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
        return bitwise_or(heads, len(heads[0]) if heads else 1)


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
        """Open the file and write the header.

        Raises:
            StorageError: it cannot be written.
        """
        import csv

        try:
            self._file = open(  # noqa: SIM115 - open as long as the job
                self.path, "a" if self.restarted else "w", newline="", encoding="utf-8"
            )
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from None
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
        try:
            words = shlex.split(more) if isinstance(more, str) else [str(word) for word in more]
        except ValueError as error:
            raise UsageError(f"job {self.name}: PARAMETERS: {error}") from None
        made = Program(
            [*shlex.split(self.EXECUTABLE), *words],
            self.inputs,
            self.outputs,
            name=self.name,
            input_flag=self.INPUT_FLAG,
            output_flag=self.OUTPUT_FLAG,
            descriptors=self.DESCRIPTORS,
        )
        made.GROUPS = [group for group in self.groups if group != "ALL"]
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
