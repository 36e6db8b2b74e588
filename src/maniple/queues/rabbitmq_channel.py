"""One channel of an AMQP 0-9-1 connection, with pika's codec.

pika's own channels allow one open question at a time, and reject what arrives while a consumer is
being cancelled. A lease is a consumer that lives for a moment, so here questions are pipelined, and
every delivery reaches somebody.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from maniple.plugins import missing_extra

try:
    from pika import spec as spec  # noqa: PLC0414 - the others have it from here
except ImportError:
    raise missing_extra("pika", "the queue amqp:") from None

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_START: Final = struct.Struct(">BHL")
FRAME_END: Final = b"\xce"
_FRAME_EXTRA: Final = 8
_SIZES: Final = struct.Struct(">HHQ")


class Carrier(Protocol):
    """What a channel needs of its connection."""

    loop: asyncio.AbstractEventLoop
    frame_max: int

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def drop(self, channel: Channel, error: Exception) -> None:
        """Forget a channel that the server has closed."""
        ...


class GoneError(Exception):
    """The connection is lost, with all that was held on it."""


class RefusedError(Exception):
    """The server said no and closed a channel or the connection.

    Attributes:
        code: of AMQP: 403 not permitted, 404 not found, 406 precondition failed, 530 not allowed.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(" ".join(text.split()))
        self.code = code


class Delivery(NamedTuple):
    """A message that a consumer was given."""

    tag: int
    redelivered: bool
    properties: Any
    body: bytes


class Channel:
    """A channel: its questions that wait for an answer, its consumers, its confirms.

    Attributes:
        error: why it is closed, or None.
        transacts: whether it is one for transactions.
        returned: how many messages came back because their queue does not exist.
        stray: takes what arrives for a consumer that was forgotten.
    """

    def __init__(self, wire: Carrier, number: int) -> None:
        self.number = number
        self.error: Exception | None = None
        self.transacts = False
        self.returned = 0
        self.stray: Callable[[Delivery], None] = lambda _: None
        self._wire = wire
        self._questions: defaultdict[str, deque[asyncio.Future[Any]]] = defaultdict(deque)
        self._consumers: dict[str, Callable[[Delivery], None]] = {}
        self._cancelled: Callable[[str], None] | None = None
        self._incoming: tuple[Any, Any, int, list[bytes]] | None = None
        self._published = 0
        self._confirmed = 0
        self._early: set[int] = set()
        self._refused = False
        self._all_confirmed: asyncio.Future[None] | None = None

    def send(self, method: Any) -> None:
        """Send a method that has no answer."""
        if self.error is not None:
            raise self.error
        self._wire.write(method_frame(self.number, method))

    def ask(self, method: Any) -> asyncio.Future[Any]:
        """Send a method; the future gives its answer. Questions need not wait for each other."""
        future: asyncio.Future[Any] = self._wire.loop.create_future()
        if self.error is not None:
            future.set_exception(self.error)
            future.exception()
            return future
        self._wire.write(method_frame(self.number, method))
        self._questions[f"{method.NAME}Ok"].append(future)
        return future

    def consume(
        self, queue: str, tag: str, deliver: Callable[[Delivery], None]
    ) -> asyncio.Future[Any]:
        """Start a consumer; what it gets goes to `deliver` until `forget`."""
        self._consumers[tag] = deliver
        return self.ask(spec.Basic.Consume(queue=queue, consumer_tag=tag))

    def forget(self, tag: str) -> None:
        """Drop the callback of a consumer that was cancelled."""
        self._consumers.pop(tag, None)

    def on_cancel(self, call: Callable[[str], None]) -> None:
        """Call this with the tag of a consumer that the server ends: its queue is gone."""
        self._cancelled = call

    def publish(self, messages: Iterable[tuple[bytes, bytes, bytes]]) -> int:
        """Send messages: (frame of the publish method's payload, properties, body) each.

        Returns:
            How many.
        """
        if self.error is not None:
            raise self.error
        number, most = self.number, self._wire.frame_max - _FRAME_EXTRA
        pack = FRAME_START.pack
        parts: list[bytes] = []
        count = 0
        for method, properties, body in messages:
            size = len(body)
            parts += (
                pack(METHOD, number, len(method)),
                method,
                FRAME_END,
                pack(HEADER, number, _SIZES.size + len(properties)),
                _SIZES.pack(spec.Basic.INDEX, 0, size),
                properties,
                FRAME_END,
            )
            if 0 < size <= most:
                parts += (pack(BODY, number, size), body, FRAME_END)
            else:
                for start in range(0, size, most):
                    piece = body[start : start + most]
                    parts += (pack(BODY, number, len(piece)), piece, FRAME_END)
            count += 1
        self._wire.write(b"".join(parts))
        self._published += count
        return count

    async def confirmed(self) -> bool:
        """Wait until the server has stored all that was published on a channel with confirms.

        Returns:
            False where it refused some of it.
        """
        if self.error is not None:
            raise self.error
        if self._confirmed < self._published:
            self._all_confirmed = self._wire.loop.create_future()
            await self._all_confirmed
        refused, self._refused = self._refused, False
        return not refused

    def fail(self, error: Exception) -> None:
        """Let all that wait on this channel fail."""
        if self.error is not None:
            return
        self.error = error
        waiting = [future for futures in self._questions.values() for future in futures]
        if self._all_confirmed is not None:
            waiting.append(self._all_confirmed)
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                # not all are waited for
                future.exception()
        self._questions.clear()
        self._consumers.clear()

    # What comes in

    def take_method(self, name: str, method: Any) -> None:
        """Take what the server says on this channel."""
        if name in {"Basic.Deliver", "Basic.Return"}:
            self._incoming = (method, None, 0, [])
        elif name in {"Basic.Ack", "Basic.Nack"}:
            self._confirm(method.delivery_tag, method.multiple, refused=name == "Basic.Nack")
        elif name == "Basic.Cancel":
            self.forget(method.consumer_tag)
            if self._cancelled is not None:
                self._cancelled(method.consumer_tag)
        elif name == "Channel.Close":
            self._wire.write(method_frame(self.number, spec.Channel.CloseOk()))
            self._wire.drop(self, RefusedError(method.reply_code, method.reply_text))
        elif name == "Channel.Flow":
            self._wire.write(method_frame(self.number, spec.Channel.FlowOk(method.active)))
        elif questions := self._questions.get(name):
            future = questions.popleft()
            if not future.done():
                future.set_result(method)

    def take_header(self, payload: bytes) -> None:
        """Take the properties of a message."""
        if self._incoming is None:
            return
        size = _SIZES.unpack_from(payload)[2]
        properties = spec.BasicProperties()
        properties.decode(payload[_SIZES.size :])
        self._incoming = (self._incoming[0], properties, size, [])
        if not size:
            self._deliver()

    def take_body(self, payload: bytes) -> None:
        """Take a piece of a message's body."""
        if self._incoming is None:
            return
        method, properties, left, pieces = self._incoming
        pieces.append(payload)
        left -= len(payload)
        self._incoming = (method, properties, left, pieces)
        if left <= 0:
            self._deliver()

    def _deliver(self) -> None:
        assert self._incoming is not None  # noqa: S101 - the callers have looked
        method, properties, _, pieces = self._incoming
        self._incoming = None
        if isinstance(method, spec.Basic.Return):
            self.returned += 1
            return
        deliver = self._consumers.get(method.consumer_tag, self.stray)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        deliver(Delivery(method.delivery_tag, method.redelivered, properties, body))

    def _confirm(self, tag: int, multiple: bool, *, refused: bool) -> None:  # noqa: FBT001
        self._refused |= refused
        early = self._early
        if multiple:
            self._confirmed = max(self._confirmed, tag)
            if early:
                self._early = early = {t for t in early if t > self._confirmed}
        else:
            early.add(tag)
        while self._confirmed + 1 in early:
            self._confirmed += 1
            early.remove(self._confirmed)
        future = self._all_confirmed
        if future is not None and self._confirmed >= self._published:
            self._all_confirmed = None
            if not future.done():
                future.set_result(None)


def method_frame(channel: int, method: Any) -> bytes:
    """Encode a method as a whole frame."""
    payload = method_payload(method)
    return b"".join((FRAME_START.pack(METHOD, channel, len(payload)), payload, FRAME_END))


def method_payload(method: Any) -> bytes:
    """Encode a method as the payload of its frame."""
    return struct.pack(">I", method.INDEX) + b"".join(method.encode())


def decode(payload: bytes) -> Any:
    """Decode the payload of a method's frame."""
    (index,) = struct.unpack_from(">I", payload)
    method = spec.methods[index]()
    method.decode(payload, 4)
    return method
