"""What the processes of a run know of each other: some numbers in memory that they share.

They outlive the process that wrote them: a job that is started again finds what it had done.
"""

from __future__ import annotations

import mmap
from typing import Final

_DONE, _REACHED, _THROUGH, _ENOUGH, _OFFSETS = range(5)
_BYTES: Final = 8


class Slate:
    """The numbers of one job. Writing one is a single store: nobody sees half of it.

    Args:
        numbers: the memory of this job.
    """

    def __init__(self, numbers: memoryview[int]) -> None:
        self._numbers = numbers

    @property
    def done(self) -> int:
        """Calls of a sink that have returned."""
        return self._numbers[_DONE]

    @property
    def reached(self) -> int:
        """The most calls (a source: values) that any process of this job has come to."""
        return self._numbers[_REACHED]

    @property
    def through(self) -> bool:
        """The job is done with everything, and wants no more."""
        return bool(self._numbers[_THROUGH])

    @property
    def enough(self) -> bool:
        """A sink has said that it has seen its last block."""
        return bool(self._numbers[_ENOUGH])

    def offset(self, place: int) -> int:
        """Tell how many blocks of a sink's input were left out without a trace."""
        return self._numbers[_OFFSETS + place]

    def did(self, calls: int) -> None:
        """Note that all calls of a sink below a number have returned."""
        self._numbers[_DONE] = calls

    def reach(self, calls: int) -> None:
        """Note how far the job has come."""
        self._numbers[_REACHED] = max(self._numbers[_REACHED], calls)

    def end(self) -> None:
        """Note that the job is done with everything."""
        self._numbers[_THROUGH] = 1

    def say_enough(self) -> None:
        """Note that a sink has seen its last block."""
        self._numbers[_ENOUGH] = 1

    def set_offset(self, place: int, blocks: int) -> None:
        """Note how many blocks of an input were left out without a trace."""
        self._numbers[_OFFSETS + place] = blocks


def slates(inputs: list[int]) -> list[Slate]:
    """Make the numbers of some jobs.

    Args:
        inputs: how many each job has.
    """
    width = _OFFSETS + max(inputs, default=0)
    # without a file: nothing is left behind
    memory = memoryview(mmap.mmap(-1, _BYTES * width * max(1, len(inputs)))).cast("Q")
    return [Slate(memory[at * width : (at + 1) * width]) for at in range(len(inputs))]
