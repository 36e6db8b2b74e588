"""Pipes over ZeroMQ: one socket for each end, messages of a header and frames.

The reader binds, the writer connects, and either may come first. The sockets lose nothing while
both ends live; what an end that dies takes with it is sent again (see rules/sender.py).
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import zmq

from maniple.network.encoding import Encoding
from maniple.network.rules import receiver as reading
from maniple.network.rules import sender as writing

_HEADER: Final = struct.Struct("<BQQQI")
_OPEN, _DATA, _END, _HELLO, _ACK, _STOP, _STOPPED = range(7)
# plain numbers: the library's own are enumerations, slow to combine
_NOW: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE)
SMALL_BYTES: Final = 4096
"""Up to here blocks travel behind their header, in one frame."""
NO_COPY_BYTES: Final = 1 << 18
"""Below, a copy costs less than the book-keeping that saves it."""
LINGER_MS: Final = 1000
WRITER_LINGER_MS: Final = 50
BIND_SECONDS: Final = 3.0
SHARE: Final = 8
"""A reader tells how far it is after this part of what its writer may keep."""
_SPAN: Final = 1 << 64
"""-1 travels as the largest number."""


def _known(number: int) -> int:
    return -1 if number == _SPAN - 1 else number


def _socket(context: zmq.Context[Any]) -> zmq.Socket[Any]:
    socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
    # how much may be on its way is decided above, in blocks
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    # the last acknowledgement must leave the process before it ends
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 10)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    return socket


def _bind(socket: zmq.Socket[Any], address: str) -> None:
    """Bind; a process that had the address before us may need a moment to be gone."""
    until = time.monotonic() + BIND_SECONDS
    while True:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


class Writer:
    """The writing end of a pipe.

    Attributes:
        stopped: the reader wants no more, or is gone and wanted no more.
        prepare: takes a block as it is now.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        encoding: Encoding,
        sender: writing.Sender,
        now: float,
        through: Callable[[], bool] = lambda: False,
    ) -> None:
        self._through = through
        self.socket = _socket(context)
        self.socket.connect(address)
        self.sender = sender
        self.stopped = False
        self.prepare = encoding.prepare
        self._encode = encoding.encode
        self._carry_out(sender.start(now))

    def put(self, prepared: list[Any]) -> None:
        """Number, keep and send blocks that `prepare` has taken."""
        frames = self._encode(prepared)
        self._carry_out(self.sender.add(len(prepared), frames, sum(map(len, frames))))

    def end(self) -> None:
        """Tell the reader that no block will follow."""
        self._carry_out(self.sender.end())

    def _carry_out(self, instructions: Iterable[writing.Open | writing.Data]) -> None:
        for each in instructions:
            if isinstance(each, writing.Open):
                self.socket.send(_HEADER.pack(_OPEN, each.epoch, 0, each.next, 0))
                continue
            epoch, start, (first, blocks, frames, _) = each
            kind = _END if frames is None else _DATA
            header = _HEADER.pack(kind, epoch, start, first, blocks)
            if not frames:
                self.socket.send(header)
            elif len(frames) == 1 and len(frames[0]) <= SMALL_BYTES:
                self.socket.send(header + frames[0])
            else:
                self.socket.send(header, _MORE)
                last = len(frames) - 1
                for number, frame in enumerate(frames):
                    more = _MORE if number < last else 0
                    self.socket.send(frame, more, copy=len(frame) < NO_COPY_BYTES)

    def hear(self, now: float) -> bool:
        """Take what the reader has said; tell whether there was something."""
        heard = False
        hello: tuple[int, int, int] | None = None
        while True:
            try:
                data = self.socket.recv(_NOW)
            except zmq.Again:
                break
            heard = True
            kind, epoch, number, done, _ = _HEADER.unpack(data)
            if kind == _HELLO:
                # of several only the last one holds: the blocks need not be sent for each
                hello = (epoch, _known(number), _known(done))
            elif kind == _ACK:
                self._carry_out(self.sender.ack(number, now))
            elif kind == _STOP:
                self.stopped = True
                self.socket.send(_HEADER.pack(_STOPPED, 0, 0, 0, 0))
        if hello is not None and not self.stopped:
            self._carry_out(self.sender.hello(*hello, now))
        return heard

    def place(self, number: int) -> None:
        """Begin with this number."""
        self._carry_out(self.sender.place(number))

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.stopped or not (due := self.sender.tick(now)):
            return
        # its last word may have been lost with it
        if self._through():
            self.stopped = True
        else:
            self._carry_out(due)

    def close(self) -> None:
        """Close the socket. The reader has everything; it may be gone itself."""
        self.socket.close(linger=WRITER_LINGER_MS)


class Reader:
    """The reading end of a pipe.

    Attributes:
        left: the writer knows that no more is wanted.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        encoding: Encoding,
        receiver: reading.Receiver,
        size: int,
    ) -> None:
        self.socket = _socket(context)
        _bind(self.socket, address)
        self.receiver = receiver
        self._encoding = encoding
        self._stopping = False
        # messages that the writer keeps for us: the number after each, and its bytes
        self._kept: deque[tuple[int, int]] = deque()
        self._freed = 0
        self._worth = max(1, size // SHARE)
        self.left = False

    def hear(self, most: int) -> Iterable[tuple[int, list[Any]]]:
        """Give the blocks that have come, each time with the number of the first.

        Args:
            most: stop after so many blocks; what is left is heard next time.
        """
        heard = 0
        while heard < most:
            try:
                head = self.socket.recv(_NOW, copy=False)
            except zmq.Again:
                return
            data = head.buffer
            kind, epoch, start, first, blocks = _HEADER.unpack_from(data)
            frames = [data[_HEADER.size :]]
            if head.more:
                frames = [part.buffer for part in self.socket.recv_multipart(copy=False)]
            if kind == _STOPPED:
                self.left = True
                continue
            if self._stopping:
                self._say(_STOP, 0, 0)
                continue
            if kind == _OPEN:
                self._carry_out(self.receiver.open(epoch, first))
                continue
            payload = None if kind == _END else frames
            for each in self.receiver.data(epoch, start, first, blocks, payload):
                if isinstance(each, reading.Deliver):
                    self._kept.append((first + blocks, sum(map(len, frames))))
                    values = self._encoding.decode(frames, each.blocks)
                    if each.skip:
                        values = values[each.skip :]
                    heard += len(values)
                    yield each.first + each.skip, values
                elif not isinstance(each, reading.End):
                    self._carry_out([each])

    def finished(self, upto: int, *, now: bool = False) -> None:
        """Tell the writer how far the job is, when it is worth a message."""
        if self._stopping:
            return
        kept = self._kept
        while kept and kept[0][0] <= upto:
            self._freed += kept.popleft()[1]
        if self._freed >= self._worth:
            now = True
        if instructions := self.receiver.finished(upto, now=now):
            self._freed = 0
            self._carry_out(instructions)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._carry_out(self.receiver.tick(now))

    def stop(self) -> None:
        """Tell the writer that no more is wanted, whatever it still sends."""
        self._stopping = True
        self._say(_STOP, 0, 0)

    def _carry_out(self, instructions: Iterable[reading.Instruction]) -> None:
        for each in instructions:
            if isinstance(each, reading.Hello):
                self._say(_HELLO, each.epoch, each.wanted, each.done)
            elif isinstance(each, reading.Ack):
                self._say(_ACK, 0, each.upto)

    def _say(self, kind: int, epoch: int, number: int, done: int = 0) -> None:
        header = _HEADER.pack(kind, epoch, number % _SPAN, done % _SPAN, 0)
        try:
            self.socket.send(header, _NOW)
        except zmq.Again:
            # no writer is there now; the one that comes opens the pipe and hears it then
            return

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
