"""One WebSocket of the hub, over ASGI: frames come in, and go out as the peer takes them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final, Protocol

from maniple.hub.rules.orders import Send, Start, Tell

Frame = str | bytes
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Transmit = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY: Final = 1008
BROKEN: Final = 1011
REPLACED: Final = 4000
_GOODBYES: Final = frozenset({NORMAL, GOING_AWAY})
_MOST_REASON: Final = 120


log = logging.getLogger("maniple.hub")


class Part(str):
    """The digest of a part to be sent; it is read when its turn comes."""

    __slots__ = ()


class Reply(str):
    """A text frame as it is."""

    __slots__ = ()


Item = Send | Start | Tell | Part | Reply


class Voice(Protocol):
    """Words what is said to a peer."""

    def frames(self, item: Item) -> Iterable[Frame]:
        """Word an item; nothing where it has become void since it was posted."""
        ...

    def sent(self, item: Item) -> None:
        """Note that the transport has it."""
        ...


class Socket:
    """An accepted WebSocket.

    What is posted stays as small as it was decided: the call or answer itself is taken from the
    store when its turn comes, so a peer that reads slowly costs no memory twice.

    Args:
        receive, transmit: of the ASGI connection (ASGI specification, WebSocket 2.4).

    Attributes:
        goodbye: the peer has closed in good order.
    """

    def __init__(self, receive: Receive, transmit: Transmit) -> None:
        self._receive = receive
        self._transmit = transmit
        self._outbox: deque[tuple[Voice, Item]] = deque()
        self._farewell: tuple[int, str] = (NORMAL, "")
        self._due = asyncio.Event()
        self._closing = False
        self.goodbye = False
        self._sender = asyncio.create_task(self._send_all())

    def post(self, voice: Voice, item: Item) -> None:
        """Have something sent, after all that was posted before it."""
        if not self._closing:
            self._outbox.append((voice, item))
            self._due.set()

    def close(self, code: int, reason: str) -> None:
        """End the connection when all that was posted has been sent."""
        if not self._closing:
            self._closing = True
            self._farewell = (code, reason[:_MOST_REASON])
            self._due.set()

    async def frames(self) -> AsyncIterator[Frame]:
        """Give what comes in, until the connection ends."""
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self.goodbye = message.get("code") in _GOODBYES and not self._closing
                return
            data = message.get("bytes")
            yield message["text"] if data is None else data

    async def end(self) -> None:
        """Stop sending; what was to be said last before a `close` still goes out."""
        if not self._closing:
            self._sender.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._sender

    async def _send_all(self) -> None:
        try:
            while not self._closing or self._outbox:
                await self._due.wait()
                self._due.clear()
                await self._empty()
        except OSError:
            # the peer is gone: `frames` ends, too
            return
        except Exception:
            log.exception("the hub cannot word a message")
            self._closing = True
            self._farewell = (BROKEN, "internal error")
        code, reason = self._farewell
        with suppress(OSError):
            await self._transmit({"type": "websocket.close", "code": code, "reason": reason})

    async def _empty(self) -> None:
        outbox, transmit = self._outbox, self._transmit
        while outbox:
            voice, item = outbox.popleft()
            for frame in voice.frames(item):
                key = "text" if isinstance(frame, str) else "bytes"
                await transmit({"type": "websocket.send", key: frame})
            voice.sent(item)
