"""A Python job of the framework MARVELO as the network runs it."""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from maniple.errors import UsageError
from maniple.network.job import Job
from maniple.network.marvelo.head import CORRUPTED, FINISHED, Head, bitwise_or
from maniple.network.marvelo.jobs import CSVSinkJob, InteractiveJob, PythonJob

LOG_FORMAT: Final = "%(asctime)s %(levelname)s {name}: %(message)s"


class Log(NamedTuple):
    """What becomes of the words that jobs give to `logging`.

    Attributes:
        level: what is less is left out.
        file: gets them as well as the job's output, or None.
    """

    level: int = logging.INFO
    file: str | None = None

    def begin(self, name: str) -> None:
        """Set `logging` up in a process.

        Args:
            name: of the job; in front of its lines.
        """
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
        if self.file is not None:
            # every process appends: a line is one write
            handlers.append(logging.FileHandler(self.file, "a", encoding="utf-8"))
        logging.basicConfig(
            level=self.level, format=LOG_FORMAT.format(name=name), handlers=handlers, force=True
        )


class Framed(tuple):  # type: ignore[type-arg]  # noqa: SLOT001 - a value and its head
    """A block with its head: `(value, head as a number)`."""


class Adapter(Job):
    """A `PythonJob` as the network runs it.

    Args:
        job: of the user.
        heads: bytes of the heads that travel with all blocks of this network; 0: none do.
        log: for the job's process.
    """

    def __init__(self, job: PythonJob, heads: int, log: Log | None = None) -> None:
        super().__init__(job.inputs, job.outputs, name=job.name)
        self.job = job
        self.heads = heads
        self._log = log
        self._packed: bytes | None = None
        self.MAX_QUEUE = job.MAX_QUEUE
        self.GROUPS = [group for group in job.groups if group != "ALL"]
        self.interactive = isinstance(job, InteractiveJob)
        self.corrupted = False
        if not heads and self.inputs:
            # what is checked before the start; setup puts the job's own in its place
            self.run = job.run  # type: ignore[method-assign]

    def pack(self) -> None:
        """Pickle the job for its node; a job of the client stays as it is.

        Raises:
            UsageError: something in it cannot be pickled; the message names it. Or `run` does not
                take as many values as there are inputs.
        """
        signature = inspect.signature(self.job.run)
        try:
            signature.bind(*self.inputs)
        except TypeError as error:
            raise UsageError(
                f"job {self.name} has {len(self.inputs)} inputs, and its run{signature} does not"
                f" take them: {error}"
            ) from None
        if self.job.LOCAL:
            return
        try:
            self._packed = pickle.dumps(self.job)
        except Exception as error:
            raise UsageError(
                f"job {self.name} cannot travel to its node: {self._culprit()}cannot be pickled"
                f" ({' '.join(str(error).split())}); make it in setup, which runs there"
            ) from None

    def _culprit(self) -> str:
        """Name the attribute that cannot be pickled."""
        for name, value in vars(self.job).items():
            try:
                pickle.dumps(value)
            except Exception:
                return f"self.{name} "
        return ""

    def setup(self) -> None:
        """Set the user's job up."""
        if self._log is not None:
            self._log.begin(self.name)
        if os.getcwd() not in sys.path:
            # what DEPENDENCIES has brought can be imported
            sys.path.insert(0, os.getcwd())
        if self._packed is not None:
            self.job = pickle.loads(self._packed)  # noqa: S301 - the user's own job
        job = self.job
        if isinstance(job, CSVSinkJob):
            job.restarted = self.restarted
        job.head = Head(0, self.heads or 1)
        job.out_heads = [None] * len(self.outputs)
        if not self.heads and self.inputs:
            # one call less for each block
            self.run = job.run  # type: ignore[method-assign]
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
            job.head = Head(job.head_reduce(job.in_heads), self.heads)
            if self.corrupted:
                job.head[-CORRUPTED] = 1
        value = job.run(*(self._value_of(block) for block in blocks))
        return value if value is None or not self.outputs else self._framed(value)

    def _head_of(self, block: Any) -> Head:
        if isinstance(block, Framed):
            return Head(block[1], self.heads)
        blocks = block if isinstance(block, list) else []
        heads = [Head(each[1], self.heads) for each in blocks if isinstance(each, Framed)]
        return bitwise_or(heads, self.heads)

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
        values: Sequence[Any] = value if type(value) is tuple else (value,) * number
        if len(job.out_heads) != number:
            raise UsageError(
                f"job {self.name} has {number} outputs and sets {len(job.out_heads)} out_heads"
            )
        framed = []
        for each, own in zip(values, job.out_heads, strict=True):
            head = Head(job.head if own is None else own, self.heads)
            if job._finish:  # noqa: SLF001
                head[-FINISHED] = 1
            framed.append(Framed((each, int(head))))
        # they were for this block
        job.out_heads = [None] * number
        return tuple(framed)
