"""The ends of pipes that a job's process holds."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import zmq

from maniple.network.live.wire import Reader, Writer
from maniple.network.pipe import Pipe
from maniple.network.rules.receiver import Receiver
from maniple.network.rules.sender import Sender

LEAVE_SECONDS: Final = 0.3


class Port(NamedTuple):
    """One end of a pipe.

    Attributes:
        pipe: what it is.
        address: where.
        through: tells whether the job at the other end is done with everything.
        blocks: that the pipe holds.
        least: blocks that it must be able to hold, however large they are.
        every: its writer is told after so many blocks that they are done with.
    """

    pipe: Pipe
    address: str
    through: Callable[[], bool]
    blocks: int
    least: int
    every: int


def readers(context: zmq.Context[Any], ports: Sequence[Port], bases: Sequence[int]) -> list[Reader]:
    """Open reading ends.

    Args:
        context: of the process.
        ports: what and where.
        bases: the first block that each wants; -1: the first that is not done with.
    """
    chance = random.SystemRandom()
    return [
        Reader(
            context,
            port.address,
            port.pipe.encoding,
            # 0 stands for none
            Receiver(lambda: chance.getrandbits(62) | 1, port.every, base),
            port.pipe.size,
        )
        for port, base in zip(ports, bases, strict=True)
    ]


def writers(context: zmq.Context[Any], ports: Sequence[Port], *, restarted: bool) -> list[Writer]:
    """Open writing ends.

    Args:
        context: of the process.
        ports: what and where.
        restarted: where to begin is not known yet.
    """
    now = time.monotonic()
    return [
        Writer(
            context,
            port.address,
            port.pipe.encoding,
            Sender(port.blocks, port.pipe.size, None if restarted else 0, port.least),
            now,
            port.through,
        )
        for port in ports
    ]


class Watched:
    """All ends of a process, to wait for something to come on any of them.

    Args:
        readers: its inputs.
        writers: its outputs.
    """

    def __init__(self, readers: Sequence[Reader], writers: Sequence[Writer]) -> None:
        self._readers = readers
        self._poller = zmq.Poller()
        for socket in (*(r.socket for r in readers), *(w.socket for w in writers)):
            self._poller.register(socket, zmq.POLLIN)
        self._heard = set(range(len(readers)))

    def add(self, fd: int) -> None:
        """Wait for this one as well."""
        self._poller.register(fd, zmq.POLLIN)

    def wait(self, milliseconds: int) -> bool:
        """Wait; tell whether there is something."""
        return bool(self._poller.poll(milliseconds))

    def listen(self, place: int, *, wanted: bool) -> None:
        """Wait for an input, or not: one that is not heard would wake us again and again."""
        if wanted == (place in self._heard):
            return
        socket = self._readers[place].socket
        if wanted:
            self._poller.register(socket, zmq.POLLIN)
            self._heard.add(place)
        else:
            self._poller.unregister(socket)
            self._heard.discard(place)

    def leave(self) -> None:
        """Say the last word to the writers: all is done with, or no more is wanted."""
        left: list[Reader] = []
        for place, reader in enumerate(self._readers):
            if reader.receiver.ended:
                reader.finished(reader.receiver.wanted, now=True)
            else:
                reader.stop()
                self.listen(place, wanted=True)
                left.append(reader)
        # a writer that is busy hears it later, from others
        until = time.monotonic() + LEAVE_SECONDS
        while any(not reader.left for reader in left) and time.monotonic() < until:
            self.wait(int(LEAVE_SECONDS * 100))
            for reader in left:
                for _ in reader.hear(1):
                    pass


class Newest:
    """What an optional input gives, which never waits.

    Args:
        pipe: the input.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._fresh: deque[Any] = deque()
        self._last = pipe.default

    @property
    def kept(self) -> int:
        """So many of the blocks that have come are still to be given, or given again."""
        return max(1, len(self._fresh))

    def keep(self, values: list[Any]) -> None:
        """Take blocks; the oldest or the newest of too many are dropped."""
        fresh, most = self._fresh, max(1, self._pipe.buffer)
        if self._pipe.keep_oldest:
            fresh.extend(values[: max(0, most - len(fresh))])
            return
        fresh.extend(values)
        while len(fresh) > most:
            fresh.popleft()

    def give(self) -> Any:
        """Give the next block, else the one before or the default."""
        if self._fresh:
            self._last = self._fresh.popleft()
            return self._last
        return self._last if self._pipe.store else self._pipe.default
