"""The output of a container: one connection carries both streams, in frames.

A frame is a head (a byte that names the stream, three of nothing, the length in four, the highest
first) and that many bytes.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple.errors import StorageError

CHUNK: Final = 1 << 16
# how the end of a container is found: what states are one, how long silence goes without a look at
# the state (engines have been seen to forget to tell), how long a look waits for the next once the
# output has ended, and how long what was written last may take
ENDED: Final = frozenset({"exited", "stopped", "dead", "removing"})
QUIET_SECONDS: Final = 5.0
FIRST_NAP: Final = 0.003
LONGEST_NAP: Final = 0.1
LAST_WORDS_SECONDS: Final = 0.3
_HEAD: Final = 8
_STDOUT: Final = (0, 1)
Sink = Callable[[memoryview], None]


def to_file(fd: int) -> Sink:
    """Make a sink of a descriptor; one whose reader has left swallows what comes.

    The sink raises `StorageError` when it cannot write.
    """

    def write(piece: memoryview) -> None:
        try:
            while piece:
                piece = piece[os.write(fd, piece) :]
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, fd)
            os.close(null)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            why = "the disk is full" if full else error.strerror
            raise StorageError(f"cannot keep the output of a container: {why}") from None

    return write


class Frames:
    """Takes frames apart, however they were cut, and gives each to its stream's sink."""

    def __init__(self, out: Sink, err: Sink) -> None:
        self._out = out
        self._err = err
        self._head = bytearray()
        self._left = 0
        self._target = out

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        view = memoryview(data)
        while view:
            if self._left:
                piece = view[: self._left]
                self._target(piece)
                self._left -= len(piece)
                view = view[len(piece) :]
                continue
            missing = _HEAD - len(self._head)
            self._head += view[:missing]
            view = view[missing:]
            if len(self._head) == _HEAD:
                self._target = self._out if self._head[0] in _STDOUT else self._err
                self._left = int.from_bytes(self._head[4:], "big")
                self._head.clear()


class Attached:
    """The connection that a container's output comes over.

    Args:
        connection: what the SDK's `attach_socket` gave.
        feed: takes the output as it comes: that of `Frames`, or for a container with a terminal,
            which has no frames, any other.
    """

    def __init__(self, connection: Any, feed: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._feed = feed
        # TLS may hold decrypted bytes that no poll shows
        self._pending = getattr(connection, "pending", None)
        self._receive = getattr(connection, "recv", None) or connection.read
        self.ended = False

    def fileno(self) -> int:
        """Readable when there is output, or no more to come."""
        return int(self._connection.fileno())

    def take(self) -> bool:
        """Take what is there; False when that was all."""
        while not self.ended:
            try:
                data = self._receive(CHUNK)
            except OSError:
                # cut: what that means, the container's state tells
                data = b""
            if data:
                self._feed(data)
            else:
                self.ended = True
            if self._pending is None or not self._pending():
                break
        return not self.ended

    def drain(self, seconds: float) -> bool:
        """Take the rest, for a while; False when there may be more."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self, select.POLLIN)
        while not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if poll.poll(left * 1000):
                self.take()
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self.ended = True
        # the SDK gives a view of a socket, and the socket would stay open until it is forgotten
        below = getattr(self._connection, "_sock", None)
        for each in (self._connection, below):
            if each is not None:
                with suppress(OSError):
                    each.close()
        # the SDK keeps it as part of an answer that nobody has read
        answer = getattr(self._connection, "_response", None)
        if answer is not None:
            with suppress(Exception):
                answer.close()
