"""One AMQP 0-9-1 connection in an event loop: the handshake, heartbeats, frames in and out."""

from __future__ import annotations

import asyncio
from typing import Final

from maniple.queues.rabbitmq_channel import (
    FRAME_END,
    FRAME_START,
    HEADER,
    HEARTBEAT,
    METHOD,
    Channel,
    GoneError,
    RefusedError,
    decode,
    method_frame,
    spec,
)

_LEAST_FRAME: Final = 4096
_PROTOCOL: Final = b"AMQP\x00\x00\x09\x01"
_BEAT: Final = FRAME_START.pack(HEARTBEAT, 0, 0) + FRAME_END
_MISSED_BEATS: Final = 2
_GOOD_BYE_SECONDS: Final = 2.0
_REPLY_SUCCESS: Final = 200
_FINAL: Final = frozenset({402, 403, 404, 530})
_CAPABILITIES: Final = (
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
)


class Wire(asyncio.Protocol):
    """A connection.

    Args:
        user: to log in as.
        password: of the user.
        vhost: the virtual host.
        heartbeat: seconds; who is silent for two to three of them is taken for dead.
        stuck: seconds that the server may refuse messages for want of memory or disk.

    Attributes:
        loop: in which it lives.
        ready: done when the connection can be used; fails with GoneError or RefusedError.
        error: why it cannot be used any more.
        frame_max: bytes of the largest frame.
        stuck: whether it was given up because the server took no messages.
    """

    def __init__(
        self, user: str, password: str, vhost: str, *, heartbeat: float, stuck: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.error: Exception | None = None
        self.frame_max = _LEAST_FRAME
        self._login = (user, password, vhost)
        self._heartbeat = heartbeat
        self.stuck = False
        self._stuck = stuck
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._channels: dict[int, Channel] = {}
        self._last_channel = 0
        self._spoke = self._heard = False
        self._missed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self.loop.create_future()
        self._ended: asyncio.Future[None] = self.loop.create_future()

    async def channel(self) -> Channel:
        """Open a channel."""
        if self.error is not None:
            raise self.error
        self._last_channel += 1
        channel = Channel(self, self._last_channel)
        self._channels[channel.number] = channel
        await channel.ask(spec.Channel.Open())
        return channel

    def write(self, data: bytes) -> None:
        """Send bytes; they are kept until the network takes them."""
        if self._transport is not None and self.error is None:
            self._spoke = True
            self._transport.write(data)

    def drop(self, channel: Channel, error: Exception) -> None:
        """Forget a channel that the server has closed."""
        self._channels.pop(channel.number, None)
        channel.fail(error)

    def abort(self, reason: str) -> None:
        """Give the connection up."""
        self._lose(GoneError(reason))

    async def close(self) -> None:
        """Say good-bye and wait a moment for the answer."""
        if self.error is None and self._transport is not None:
            method = spec.Connection.Close(_REPLY_SUCCESS, "good-bye", 0, 0)
            self.write(method_frame(0, method))
            await asyncio.wait([self._closed], timeout=_GOOD_BYE_SECONDS)
        self._lose(GoneError("it was closed"))
        if self._transport is not None:
            await asyncio.wait([self._ended], timeout=_GOOD_BYE_SECONDS)

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to shake hands."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's protocol
        self._transport = transport
        self.write(_PROTOCOL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let everybody know."""
        self._lose(GoneError(str(exc) if exc else "the server closed the connection"))
        if not self._ended.done():
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take whole frames; keep the rest."""
        self._heard = True
        if self._rest:
            data = self._rest + data
        position, total = 0, len(data)
        unpack, start = FRAME_START.unpack_from, FRAME_START.size
        channels = self._channels
        try:
            while total - position >= start:
                if data[position] == _PROTOCOL[0] and not self.ready.done():
                    raise GoneError("the server speaks another version of AMQP")  # noqa: TRY301
                kind, number, size = unpack(data, position)
                end = position + start + size
                if end >= total:
                    break
                payload = data[position + start : end]
                position = end + 1
                if kind == HEARTBEAT:
                    continue
                if number == 0:
                    self._control(payload)
                    continue
                channel = channels.get(number)
                if channel is None:
                    continue
                if kind == METHOD:
                    method = decode(payload)
                    channel.take_method(method.NAME, method)
                elif kind == HEADER:
                    channel.take_header(payload)
                else:
                    channel.take_body(payload)
        except Exception as error:
            # not AMQP, or not whole
            self._lose(error if isinstance(error, GoneError) else GoneError(f"garbled: {error!r}"))
            return
        self._rest = data[position:]

    def _control(self, payload: bytes) -> None:
        """Take what concerns the whole connection."""
        method = decode(payload)
        name = method.NAME
        user, password, vhost = self._login
        if name == "Connection.Start":
            answer = spec.Connection.StartOk(
                client_properties={
                    "product": "maniple",
                    "capabilities": dict.fromkeys(_CAPABILITIES, True),
                },
                mechanism="PLAIN",
                response=f"\0{user}\0{password}",
                locale="en_US",
            )
            self.write(method_frame(0, answer))
        elif name == "Connection.Tune":
            self.frame_max = method.frame_max or 1 << 17
            self.write(
                method_frame(
                    0,
                    spec.Connection.TuneOk(
                        method.channel_max, self.frame_max, max(1, round(self._heartbeat))
                    ),
                )
            )
            self.write(method_frame(0, spec.Connection.Open(vhost)))
            self._timer = self.loop.call_later(self._heartbeat / 2, self._beat)
        elif name == "Connection.OpenOk":
            self.ready.set_result(None)
        elif name == "Connection.Close":
            self.write(method_frame(0, spec.Connection.CloseOk()))
            self._refuse(method.reply_code, method.reply_text)
        elif name == "Connection.CloseOk":
            if not self._closed.done():
                self._closed.set_result(None)
        elif name == "Connection.Blocked":
            self._stuck_timer = self.loop.call_later(self._stuck, self._give_up, method.reason)
        elif name == "Connection.Unblocked" and self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def _give_up(self, reason: str) -> None:
        self.stuck = True
        self.abort(f"the server takes no messages: {reason}")

    def _refuse(self, code: int, text: str) -> None:
        # a shutdown or a mishap of the server is over soon; what is forbidden stays so
        self._lose(RefusedError(code, text) if code in _FINAL else GoneError(text))

    def _beat(self) -> None:
        """Every half heartbeat: say something, and see whether anything was heard."""
        if self.error is not None:
            return
        if not self._spoke:
            self.write(_BEAT)
        self._spoke = False
        # halves are counted, not seconds: after a pause of ours there may be much to hear yet
        self._missed = 0 if self._heard else self._missed + 1
        self._heard = False
        if self._missed >= 2 * _MISSED_BEATS:
            self.abort("the server has fallen silent")
            return
        self._timer = self.loop.call_later(self._heartbeat / 2, self._beat)

    def _lose(self, error: Exception) -> None:
        if self.error is not None:
            return
        self.error = error
        for timer in (self._timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()
        if not self._closed.done():
            self._closed.set_result(None)
        if self._transport is not None:
            if isinstance(error, RefusedError):
                self._transport.close()
            else:
                self._transport.abort()
        for channel in list(self._channels.values()):
            channel.fail(error if isinstance(error, GoneError) else GoneError(str(error)))
        self._channels.clear()
