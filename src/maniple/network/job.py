"""A job: what runs at a node of the graph, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from maniple.errors import UsageError
from maniple.network.pipe import Pipe

NOTHING: Final = object()


class Job:
    """Subclass it, with `run`; a job without inputs is a source.

    `__init__` runs where the network is made; `setup` once in the job's own process, before the
    first block. With inputs, `run(*inputs)` is called for each set of blocks of the same number,
    and returns one value per output in a tuple (or one value for all of them). A source's `run()`
    is a generator, or is called again and again until it returns None.

    Args:
        inputs: pipes, or their names, in the order of `run`'s parameters.
        outputs: pipes, or their names, in the order of the values that `run` gives.
        name: for messages, log files and pictures; the class's name by default.

    Attributes:
        MAX_QUEUE: blocks that may wait at each input before the oldest is dropped; 0: the writer
            waits instead, and nothing is dropped.
        GROUPS: names that pictures group jobs by.
        REWINDS: a source that gives the same blocks again when it is started anew, so that it may
            be restarted: what has been delivered is skipped.
        restarted: in `setup` and later: this process stands in for one that died.
        corrupted: in `run`: one of the inputs stands in for a block that was lost.
        interactive: standard input holds the lines that somebody types for this job.
    """

    MAX_QUEUE: int = 0
    GROUPS: str | Sequence[str] = ()
    REWINDS: bool = False
    restarted: bool = False
    corrupted: bool = False
    interactive: bool = False

    def __init__(
        self,
        inputs: Sequence[Pipe | str] = (),
        outputs: Sequence[Pipe | str] = (),
        *,
        name: str | None = None,
    ) -> None:
        self.inputs = [as_pipe(pipe) for pipe in inputs]
        self.outputs = [as_pipe(pipe) for pipe in outputs]
        self.name = name or type(self).__name__
        self._finishing = False

    def setup(self) -> None:
        """Prepare, in the job's own process."""

    def run(self, *inputs: Any) -> Any:
        """Compute."""
        raise NotImplementedError(f"job {self.name} has no method run")

    def close(self) -> None:
        """Clean up after the last block, in the job's own process."""

    def finish(self) -> None:
        """Make the next value the last one: the jobs downstream end after it."""
        self._finishing = True

    @property
    def is_source(self) -> bool:
        """It has no inputs."""
        return not self.inputs

    def values(self) -> Iterator[Any]:
        """What a source gives, one after the other."""
        found = self.run()
        if isinstance(found, Iterator):
            yield from found
            return
        while found is not None:
            yield found
            if self._finishing:
                return
            found = self.run()


class FunctionJob(Job):
    """A plain function as a job; a generator function is a source.

    Args:
        function: takes one argument per input.
        inputs: as in `Job`.
        outputs: as in `Job`.
        name: the function's name by default.
        rewinds: see `Job.REWINDS`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Pipe | str] = (),
        outputs: Sequence[Pipe | str] = (),
        *,
        name: str | None = None,
        rewinds: bool = False,
    ) -> None:
        if not callable(function):
            raise UsageError(f"a job needs a function or a Job, not {function!r}")
        super().__init__(
            inputs, outputs, name=name or getattr(function, "__name__", type(function).__name__)
        )
        self.function = function
        self.REWINDS = rewinds
        if self.inputs:
            # one call less for each block
            self.run = function  # type: ignore[method-assign]

    def run(self, *inputs: Any) -> Any:
        """Call the function."""
        return self.function(*inputs)


def as_pipe(pipe: Pipe | str) -> Pipe:
    """Let callers name a pipe."""
    return pipe if isinstance(pipe, Pipe) else Pipe(pipe)
