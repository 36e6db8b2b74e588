"""The reading end of a pipe: delivers each block once, in order; sender.py tells the protocol."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

HELLO_SECONDS: Final = 0.05


class Hello(NamedTuple):
    """Tell the writer to send from a number on; -1: from the first that is not acknowledged.

    All blocks below `done` are done with; -1: that is not known.
    """

    epoch: int
    wanted: int
    done: int


class Ack(NamedTuple):
    """Tell the writer that all blocks below a number are done with."""

    upto: int


class Deliver(NamedTuple):
    """Blocks for the job: of these `count` the first `skip` are known already."""

    first: int
    blocks: int
    payload: Any
    skip: int


class End(NamedTuple):
    """No block will follow; the number is the one after the last block."""

    number: int


Instruction = Hello | Ack | Deliver | End


class Receiver:
    """The state of a reading end.

    Args:
        epochs: gives a number that no reader of this pipe has used before (a random one, say).
        every: acknowledge after so many blocks at least.
        wanted: the first block that is wanted; -1: whatever the writer has not been acknowledged.
    """

    def __init__(self, epochs: Any, every: int, wanted: int = -1) -> None:
        self._epochs = epochs
        self._every = every
        self._epoch = epochs()
        self.wanted = wanted
        self.done = wanted
        self._told = wanted
        self._asked: int | None = None
        self._met = False
        self._hello_at = 0.0
        self.ended = False

    def tick(self, now: float) -> list[Instruction]:
        """Greet until it is answered: a writer that had a reader before us may be silent."""
        if self._met or now < self._hello_at:
            return []
        first = not self._hello_at
        self._hello_at = now + HELLO_SECONDS
        # most often its own first word is on its way
        return [] if first else [Hello(self._epoch, self.wanted, self.done)]

    def open(self, epoch: int = 0, number: int = -1) -> list[Instruction]:
        """Hear a writer that is new, or that has heard nothing for a while.

        Args:
            epoch: that it writes in, or 0.
            number: of its next block.
        """
        if epoch == self._epoch and number == self.wanted:
            # nothing is lost: it only waits for us
            return [Ack(self.done)]
        self._epoch = self._epochs()
        self._asked = None
        return [Hello(self._epoch, self.wanted, self.done)]

    def data(
        self, epoch: int, start: int, first: int, count: int, payload: Any
    ) -> list[Instruction]:
        """Hear blocks."""
        if epoch != self._epoch:
            return []
        self._met = True
        if start > self.wanted:
            # a reader before us was done with what is below
            self.wanted = self.done = self._told = start
        if first > self.wanted:
            # something on the way was lost: once is enough to ask for it
            if self._asked == self.wanted:
                return []
            self._asked = self.wanted
            self._epoch = self._epochs()
            return [Hello(self._epoch, self.wanted, self.done)]
        if first + count <= self.wanted:
            # seen before: the writer has not heard our word
            return [Ack(self.done)] if self.done >= first + count else []
        skip = self.wanted - first
        self.wanted = first + count
        self._asked = None
        if payload is None:
            self.ended = True
            return [End(first)]
        return [Deliver(first, count, payload, skip)]

    def finished(self, upto: int, *, now: bool = False) -> list[Instruction]:
        """Note that the job is done with all blocks below a number.

        Args:
            upto: the number.
            now: acknowledge at once, otherwise when it is worth a message.
        """
        self.done = max(self.done, upto)
        if self.done - self._told >= (1 if now else self._every):
            self._told = self.done
            return [Ack(self.done)]
        return []
