"""The reading end of a pipe: delivers each block once, in order; sender.py tells the protocol."""

from __future__ import annotations

from typing import Any, NamedTuple


class Hello(NamedTuple):
    """Tell the writer to send from a number on; -1: from the first that is not acknowledged."""

    epoch: int
    wanted: int


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
        self.ended = False
        self.lost_messages = 0

    def start(self) -> list[Instruction]:
        """Begin: a writer may be waiting, perhaps for one before us."""
        return [Hello(self._epoch, self.wanted)]

    def open(self) -> list[Instruction]:
        """Hear a writer that is new, or that has heard nothing for a while."""
        self._epoch = self._epochs()
        self._asked = None
        hello: list[Instruction] = [Hello(self._epoch, self.wanted)]
        # our last acknowledgement may be what it did not hear
        return hello if self.done < 0 else [*hello, Ack(self.done)]

    def data(
        self, epoch: int, start: int, first: int, count: int, payload: Any
    ) -> list[Instruction]:
        """Hear blocks."""
        if epoch != self._epoch:
            return []
        if start > self.wanted:
            # a reader before us was done with what is below
            self.wanted = self.done = self._told = start
        if first > self.wanted:
            # something on the way was lost: once is enough to ask for it
            self.lost_messages += 1
            if self._asked == self.wanted:
                return []
            self._asked = self.wanted
            self._epoch = self._epochs()
            return [Hello(self._epoch, self.wanted)]
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
