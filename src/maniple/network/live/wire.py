"""Pipes over ZeroMQ: one socket for each end, messages of a header and frames.

The reader binds, the writer connects, and either may come first. The sockets lose nothing while
both ends live; what an end that dies takes with it is sent again (see rules/sender.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

import zmq

from maniple.network.encoding import Encoding
from maniple.network.rules import receiver as reading
from maniple.network.rules import sender as writing

_HEADER: Final = struct.Struct("<BQQQI")
_OPEN, _DATA, _END, _HELLO, _ACK, _STOP = range(6)
NO_COPY_BYTES: Final = 65_536
LINGER_MS: Final = 1000
_NOTHING: Final = (1 << 64) - 1
"""Stands for `wanted` -1."""


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


class Writer:
    """The writing end of a pipe.

    Attributes:
        stopped: the reader wants no more.
        prepare: takes a block as it is now.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        encoding: Encoding,
        sender: writing.Sender,
        now: float,
    ) -> None:
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
                self.socket.send(_HEADER.pack(_OPEN, 0, 0, 0, 0))
                continue
            epoch, start, (first, blocks, frames, _) = each
            kind = _END if frames is None else _DATA
            header = _HEADER.pack(kind, epoch, start, first, blocks)
            if frames is None:
                self.socket.send(header)
            elif len(frames) == 1 and len(frames[0]) < NO_COPY_BYTES:
                self.socket.send(header, zmq.SNDMORE)
                self.socket.send(frames[0])
            else:
                self.socket.send_multipart([header, *frames], copy=False)

    def hear(self, now: float) -> bool:
        """Take what the reader has said; tell whether there was something."""
        heard = False
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return heard
            heard = True
            kind, epoch, number, _, _ = _HEADER.unpack(data)
            if kind == _HELLO:
                wanted = -1 if number == _NOTHING else number
                self._carry_out(self.sender.hello(epoch, wanted, now))
            elif kind == _ACK:
                self._carry_out(self.sender.ack(number, now))
            elif kind == _STOP:
                self.stopped = True

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._carry_out(self.sender.tick(now))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class Reader:
    """The reading end of a pipe."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        encoding: Encoding,
        receiver: reading.Receiver,
    ) -> None:
        self.socket = _socket(context)
        self.socket.bind(address)
        self.receiver = receiver
        self._encoding = encoding
        self._greeted = False
        self._stopping = False

    def hear(self, most: int) -> Iterable[tuple[int, list[Any]]]:
        """Give the blocks that have come, each time with the number of the first.

        Args:
            most: stop after so many blocks; what is left is heard next time.
        """
        heard = 0
        while heard < most:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            kind, epoch, start, first, blocks = _HEADER.unpack(parts[0].buffer)
            if self._stopping:
                self._say(_STOP, 0, 0)
                continue
            if kind == _OPEN:
                self._carry_out(self.receiver.open())
                continue
            payload = None if kind == _END else parts[1:]
            for each in self.receiver.data(epoch, start, first, blocks, payload):
                if isinstance(each, reading.Deliver):
                    frames = [frame.buffer for frame in each.payload]
                    values = self._encoding.decode(frames, each.blocks)
                    if each.skip:
                        values = values[each.skip :]
                    heard += len(values)
                    yield each.first + each.skip, values
                elif not isinstance(each, reading.End):
                    self._carry_out([each])

    def finished(self, upto: int, *, now: bool = False) -> None:
        """Tell the writer how far the job is, when it is worth a message."""
        if not self._stopping:
            self._carry_out(self.receiver.finished(upto, now=now))

    def stop(self) -> None:
        """Tell the writer that no more is wanted, whatever it still sends."""
        self._stopping = True
        self._say(_STOP, 0, 0)

    def _carry_out(self, instructions: Iterable[reading.Instruction]) -> None:
        for each in instructions:
            if isinstance(each, reading.Hello):
                wanted = _NOTHING if each.wanted < 0 else each.wanted
                self._say(_HELLO, each.epoch, wanted)
            elif isinstance(each, reading.Ack):
                self._say(_ACK, 0, each.upto)

    def _say(self, kind: int, epoch: int, number: int) -> None:
        try:
            self.socket.send(_HEADER.pack(kind, epoch, number, 0, 0), zmq.NOBLOCK)
        except zmq.Again:
            # no writer is there now; the one that comes opens the pipe and hears it then
            return

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
