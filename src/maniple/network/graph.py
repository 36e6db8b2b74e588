"""A network: jobs joined by pipes, and what must hold before it may run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_type_hints

from maniple.errors import UsageError
from maniple.network.job import FunctionJob, Job
from maniple.network.pipe import Pipe


class Edge(NamedTuple):
    """A pipe and its two ends: places in the network's list of jobs, and among their pipes."""

    pipe: Pipe
    writer: int
    output: int
    reader: int
    position: int


_End = tuple[int, int, Pipe]


class Network:
    """Jobs, and the pipes that join them by name.

    Example:
        >>> network = Network("squares")
        >>> network.add(lambda: iter(range(3)), outputs=["numbers"], name="count")
        >>> network.add(print, inputs=["numbers"])
        >>> network.check()

    Args:
        name: for messages and pictures.
        jobs: added at once.
    """

    def __init__(self, name: str = "network", jobs: Sequence[Job] = ()) -> None:
        self.name = name
        self.jobs: list[Job] = []
        for job in jobs:
            self.add(job)

    def add(
        self,
        work: Job | Callable[..., Any],
        *,
        inputs: Sequence[Pipe | str] = (),
        outputs: Sequence[Pipe | str] = (),
        name: str | None = None,
        rewinds: bool = False,
    ) -> None:
        """Add a job.

        Args:
            work: a job, or a function (a generator function for a source).
            inputs: of a function's job; a `Job` knows its own.
            outputs: likewise.
            name: likewise; the function's name by default.
            rewinds: see `Job.REWINDS`.

        Raises:
            UsageError: it is neither, or a `Job` and pipes are given.
        """
        if isinstance(work, Job):
            if inputs or outputs:
                raise UsageError(f"job {work.name}: give its pipes to {type(work).__name__}(...)")
            job = work
        else:
            job = FunctionJob(work, inputs, outputs, name=name, rewinds=rewinds)
        names = {each.name for each in self.jobs}
        stem, number = job.name, 2
        while job.name in names:
            job.name = f"{stem}-{number}"
            number += 1
        self.jobs.append(job)

    @property
    def edges(self) -> list[Edge]:
        """The pipes with both ends, in the order of their writers.

        Raises:
            UsageError: as `check`, for the ends of pipes.
        """
        writers: dict[str, _End] = {}
        readers: dict[str, _End] = {}
        for place, job in enumerate(self.jobs):
            for what, pipes, ends in (
                ("writer", job.outputs, writers),
                ("reader", job.inputs, readers),
            ):
                for number, pipe in enumerate(pipes):
                    if pipe.name in ends:
                        other = self.jobs[ends[pipe.name][0]].name
                        raise UsageError(
                            f"pipe {pipe.name} has two {what}s, {other} and {job.name}:"
                            " each pipe joins one job to one other"
                        )
                    ends[pipe.name] = (place, number, pipe)
        for name, end in writers.items():
            if name not in readers:
                raise UsageError(
                    f"pipe {name}: {self.jobs[end[0]].name} writes it, no job reads it"
                )
        for name, end in readers.items():
            if name not in writers:
                raise UsageError(
                    f"pipe {name}: {self.jobs[end[0]].name} reads it, no job writes it"
                )
        edges: list[Edge] = []
        for name, (writer, output, written) in writers.items():
            reader, position, pipe = readers[name]
            if type(pipe) is not type(written) or pipe.kind != written.kind:
                raise UsageError(
                    f"pipe {name}: {self.jobs[writer].name} writes {written!r},"
                    f" {self.jobs[reader].name} reads {pipe!r}: both must name the same kind"
                )
            # what the reader says about reading holds: counts, options
            edges.append(Edge(pipe, writer, output, reader, position))
        return edges

    def check(self) -> None:
        """See that the network can run.

        Raises:
            UsageError: a pipe lacks an end or has two on one side, two ends disagree, the graph
                has a cycle without an optional pipe, or a function's parameters or types do
                not fit; the message names job and pipe.
        """
        if not self.jobs:
            raise UsageError(f"network {self.name} has no jobs")
        edges = self.edges
        for job in self.jobs:
            if not job.inputs and not job.outputs:
                raise UsageError(f"job {job.name} has neither inputs nor outputs")
            if not job.is_source and all(pipe.optional for pipe in job.inputs):
                names = ", ".join(pipe.name for pipe in job.inputs)
                raise UsageError(
                    f"job {job.name} has optional inputs only ({names}): nothing would tell it"
                    " when to run"
                )
            _check_call(job)
        self._check_cycles(edges)
        for edge in edges:
            _check_types(edge, self.jobs[edge.writer], self.jobs[edge.reader])

    def _check_cycles(self, edges: list[Edge]) -> None:
        waits = {place: [e for e in edges if e.writer == place] for place in range(len(self.jobs))}
        state: dict[int, int] = {}

        def visit(place: int, path: list[Edge]) -> None:
            state[place] = 1
            for edge in waits[place]:
                if edge.pipe.optional:
                    continue
                if state.get(edge.reader) == 1:
                    trail = [*path, edge]
                    start = next(i for i, e in enumerate(trail) if e.writer == edge.reader)
                    names = " -> ".join(
                        f"{self.jobs[e.writer].name} -({e.pipe.name})" for e in trail[start:]
                    )
                    raise UsageError(
                        f"the jobs wait for each other: {names} -> {self.jobs[edge.reader].name};"
                        " make one of these pipes optional"
                    )
                if edge.reader not in state:
                    visit(edge.reader, [*path, edge])
            state[place] = 2

        for place in range(len(self.jobs)):
            if place not in state:
                visit(place, [])


def _signature(job: Job) -> tuple[inspect.Signature, dict[str, Any]] | None:
    function = job.function if isinstance(job, FunctionJob) else job.run
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        hints = get_type_hints(function)
    except Exception:
        hints = {}
    return signature, hints


def _check_call(job: Job) -> None:
    """See that a job's function takes as many values as it has inputs."""
    found = _signature(job)
    if found is None:
        return
    try:
        found[0].bind(*job.inputs)
    except TypeError as error:
        pipes = ", ".join(pipe.name for pipe in job.inputs) or "none"
        raise UsageError(
            f"job {job.name}: its function {found[0]} does not take its inputs ({pipes}): {error}"
        ) from None


def _check_types(edge: Edge, writer: Job, reader: Job) -> None:
    """See that what is written is what is read, where both say so with plain classes."""
    wrote, reads = _signature(writer), _signature(reader)
    if wrote is None or reads is None or edge.pipe.count > 1 or edge.pipe.optional:
        return
    given = wrote[1].get("return")
    if writer.is_source:
        arguments = getattr(given, "__args__", ())
        given = arguments[0] if arguments else None
    if len(writer.outputs) > 1:
        parts = (
            getattr(given, "__args__", ()) if getattr(given, "__origin__", None) is tuple else ()
        )
        if parts and Ellipsis not in parts and len(parts) != len(writer.outputs):
            raise UsageError(
                f"job {writer.name} returns {len(parts)} values and has"
                f" {len(writer.outputs)} outputs"
            )
        given = parts[edge.output] if len(parts) == len(writer.outputs) else None
    names = [
        p.name
        for p in reads[0].parameters.values()
        if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
    ]
    wanted = reads[1].get(names[edge.position]) if edge.position < len(names) else None
    if not isinstance(given, type) or not isinstance(wanted, type):
        return
    if issubclass(given, wanted) or (given is int and wanted in {float, complex}):
        return
    raise UsageError(
        f"pipe {edge.pipe.name}: {writer.name} writes {given.__name__},"
        f" {reader.name} reads {wanted.__name__}"
    )
