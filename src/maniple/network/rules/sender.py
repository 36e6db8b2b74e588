"""The writing end of a pipe: numbers blocks, and keeps them until they are acknowledged.

The protocol, over a carrier that may lose, repeat or delay messages, or deliver old ones late:

    writer                                reader
    open                 ------------->              (again and again until it is answered)
                         <-------------   hello epoch next done
    data epoch start     ------------->              (blocks from `next` on; `start` repeats it)
                         <-------------   ack next

A reader that starts, or that finds a gap, says hello with a new epoch; data of other epochs are
ignored by it, so what an earlier connection still held is not taken for something newer. A reader
that knows nothing yet says `next` -1: from the first block that is not acknowledged; `start` then
tells it which one that is, even when the first message is lost, and a message without blocks when
there is none to send. A writer that was started again answers when it knows its own place.
The end of a pipe is one more number after the last block.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

PROBE_SECONDS: Final = 0.2
LONGEST_PROBE_SECONDS: Final = 2.0


class Message(NamedTuple):
    """Blocks that travel together.

    Attributes:
        first: number of the first block.
        blocks: how many; the end of the pipe is a message of one without a payload.
        payload: what the carrier sends; None: the end.
        size: bytes.
    """

    first: int
    blocks: int
    payload: Any
    size: int


class Open(NamedTuple):
    """Ask the reader where to begin, or whether it has heard what was sent.

    Attributes:
        epoch: that the reader began, as far as is known; 0: none.
        next: the number of the next block.
    """

    epoch: int
    next: int


class Data(NamedTuple):
    """Send a message in an epoch, which began with the block `start`."""

    epoch: int
    start: int
    message: Message


class Sender:
    """The state of a writing end. Instructions are to be carried out in their order.

    Args:
        most_blocks: no more are taken while so many are kept.
        most_bytes: likewise.
        first: the number of the first block; None: it is not known yet, see `place`.
        least: so many blocks are taken, however large they are.

    Attributes:
        next: the number of the next block.
        acked: the reader is done with all blocks below.
        wanted: where the reader wanted to begin, as it last said; None: it has said nothing yet.
        done: what the reader was done with then, which may be less; -1: it did not know.
        placed: the number of the first block is known.
        ended: no block will follow.
    """

    def __init__(
        self, most_blocks: int, most_bytes: int, first: int | None = 0, least: int = 1
    ) -> None:
        self._most_blocks = most_blocks
        self._most_bytes = most_bytes
        self._least = least
        self._kept: deque[Message] = deque()
        self._bytes = 0
        self._blocks = 0
        self._epoch: int | None = None
        self._start = 0
        self._probe_at = 0.0
        self._pause = PROBE_SECONDS
        self.wanted: int | None = None
        self.done = -1
        self.placed = first is not None
        self.next = first or 0
        self.acked = first or 0
        self.ended = False

    @property
    def room(self) -> int:
        """How many blocks may be added before the reader must have acknowledged some."""
        on_way = self.next - self.acked
        blocks = self._blocks
        if not blocks or not self._bytes:
            return max(0, self._most_blocks - on_way)
        # as many as there will be if they are as large as these
        fit = (self._most_bytes - self._bytes) * blocks // self._bytes
        if fit <= 0 and self._bytes < self._most_bytes:
            fit = 1
        return max(0, min(self._most_blocks - on_way, max(self._least - on_way, fit)))

    @property
    def finished(self) -> bool:
        """The end was acknowledged: nothing is left to do."""
        return self.ended and self.acked >= self.next

    def start(self, now: float) -> list[Open | Data]:
        """Begin."""
        self._probe_at = now + self._pause
        return [Open(0, self.next)]

    def add(self, count: int, payload: Any, size: int) -> list[Open | Data]:
        """Take blocks; they get the next numbers."""
        return self._add(Message(self.next, count, payload, size))

    def place(self, number: int) -> list[Open | Data]:
        """Begin with this number: the reader had what is below from a writer before us."""
        if self.placed:
            return []
        self.placed = True
        self.next = self.acked = number
        return self._begin()

    def skip(self, number: int) -> None:
        """Go on with this number, and forget what is below: the reader wants no more."""
        if number > self.next:
            self._forget(number)
            self.next = self.acked = number

    def end(self) -> list[Open | Data]:
        """Note that no block will follow."""
        if self.ended:
            return []
        self.ended = True
        return self._add(Message(self.next, 1, None, 0))

    def _add(self, message: Message) -> list[Open | Data]:
        self.next += message.blocks
        self._kept.append(message)
        self._bytes += message.size
        self._blocks += message.blocks
        if self._epoch is None or not self.placed:
            return []
        return [Data(self._epoch, self._start, message)]

    def hello(self, epoch: int, wanted: int, done: int, now: float) -> list[Open | Data]:
        """Hear where the reader wants to begin; send everything from there on.

        That a reader has received a block does not mean that it is done with it.
        """
        self._epoch = epoch
        self.wanted = wanted
        self.done = done
        self._heard(now)
        # its last acknowledgement may be what we did not hear
        self._forget(done)
        return self._begin() if self.placed else []

    def _begin(self) -> list[Open | Data]:
        if self._epoch is None or self.wanted is None:
            return []
        self._start = start = max(self.wanted, self.acked)
        again = [m for m in self._kept if m.first + m.blocks > start]
        return [Data(self._epoch, start, m) for m in again or [Message(self.next, 0, (), 0)]]

    def ack(self, upto: int, now: float) -> list[Open | Data]:
        """Hear that all blocks below a number are done with."""
        self._heard(now)
        self._forget(upto)
        return []

    def _heard(self, now: float) -> None:
        self._pause = PROBE_SECONDS
        self._probe_at = now + self._pause

    def _forget(self, upto: int) -> None:
        kept = self._kept
        while kept and kept[0].first + kept[0].blocks <= upto:
            gone = kept.popleft()
            self._bytes -= gone.size
            self._blocks -= gone.blocks
        self.acked = max(self.acked, min(upto, self.next))

    def tick(self, now: float) -> list[Open | Data]:
        """Ask again when nothing was heard for a while although something is not acknowledged."""
        if now < self._probe_at or (self._epoch is not None and not self._kept):
            return []
        self._pause = min(self._pause * 2, LONGEST_PROBE_SECONDS)
        self._probe_at = now + self._pause
        return [Open(self._epoch or 0, self.next)]
