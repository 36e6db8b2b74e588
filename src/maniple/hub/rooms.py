"""Drivers of the earlier platform: Phoenix channels over a WebSocket."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from maniple.algorithm.call import Answer, Code
from maniple.cluster.messages import Want
from maniple.errors import ManipleError
from maniple.hub import phoenix
from maniple.hub.exchange import Exchange
from maniple.hub.fetch import fetch
from maniple.hub.identity import User
from maniple.hub.native import LONGEST_ID
from maniple.hub.phoenix import FrameError, TaskBody
from maniple.hub.rules.orders import Send, Tell
from maniple.hub.socket import REPLACED, Frame, Item, Reply, Socket

KEEP_SECONDS: Final = 60.0
BLOBS_PATH: Final = "/blobs/"
UNAUTHORIZED: Final = "unauthorized"
NOBODY: Final = User("00000000-0000-0000-0000-000000000000", "nobody", is_guest=True)
_MOST_ROOMS: Final = 64
_MOST_TEXTS: Final = 8
_MOST_LETTERS: Final = 64 << 20
_MOST_URLS: Final = 64


class Room:
    """A driver's channel: a session of its own.

    Answers count as read when they have been sent, for these drivers acknowledge nothing.

    Args:
        exchange: the hub.
        socket: of the driver.
        user: whose it is.
        topic: of the channel, in full.
        channel: its last part, chosen by the driver.
    """

    def __init__(
        self, exchange: Exchange, socket: Socket, user: User, topic: str, channel: str
    ) -> None:
        self._exchange = exchange
        self._socket = socket
        self.topic = topic
        self.number = exchange.join(self)
        orders = exchange.rules.driver_joined(
            self.number, user.uuid, channel, None, keep=KEEP_SECONDS
        )
        exchange.carry_out(orders)

    def post(self, item: Item) -> None:
        """Pass on what these drivers understand: results."""
        if isinstance(item, Tell):
            self._socket.post(self, item)
        elif isinstance(item, Send) and isinstance(item.message, Want):
            # all parts are in every task; one that is gone since cannot be asked for
            for digest in item.message.digests:
                refuse = self._exchange.refuse_part
                asyncio.get_running_loop().call_soon(refuse, self.number, digest)

    def replaced(self) -> None:
        """End the connection: another one has joined this channel."""
        self._socket.close(REPLACED, "joined again elsewhere")

    def frames(self, item: Item) -> Iterable[Frame]:
        """Word a result."""
        assert isinstance(item, Tell)  # noqa: S101 - nothing else is posted
        answer = self._exchange.store.answer(item.key)
        return () if answer is None else [phoenix.result(self.topic, item.key.task, answer)]

    def sent(self, item: Item) -> None:
        """Take it for read."""
        assert isinstance(item, Tell)  # noqa: S101 - nothing else is posted
        self._exchange.carry_out(self._exchange.rules.got(self.number, [item.key.task]))

    def submit(self, task: str, body: TaskBody, code: Code) -> None:
        """Take a task.

        Raises:
            FrameError: it is not as it should be.
        """
        self._exchange.submit(self.number, task, phoenix.read_call(body, code))

    def leave(self, *, goodbye: bool) -> None:
        """End the session, or let it wait for its driver."""
        exchange = self._exchange
        orders = exchange.rules.driver_left(self.number, exchange.clock(), goodbye=goodbye)
        exchange.carry_out(orders)
        exchange.leave(self.number)


class RoomsPeer:
    """One connection with its channels.

    A wrong frame is answered with an error, and changes nothing else.

    Args:
        exchange: the hub.
        socket: of the driver.
        user: whose token it has; None: it has a bad one, and may join nothing.
        own: the names (HOST:PORT) that this hub's own URLs have.
    """

    def __init__(
        self, exchange: Exchange, socket: Socket, user: User | None, own: frozenset[str]
    ) -> None:
        self._exchange = exchange
        self._socket = socket
        self._user = user
        self._own = own
        self._rooms: dict[str, Room] = {}
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._letters = 0
        self._urls: dict[str, str] = {}

    def frames(self, item: Item) -> Iterable[Frame]:
        """Word a reply."""
        return [str(item)]

    def sent(self, item: Item) -> None:
        """Nothing follows."""

    async def serve(self) -> None:
        """Talk until the connection ends."""
        try:
            async for text in self._socket.frames():
                try:
                    frame = phoenix.read_frame(text)
                except FrameError:
                    # whom to answer, it does not say
                    continue
                try:
                    await self._hear(frame)
                except FrameError as error:
                    self._reply(phoenix.reply(frame, {"reason": str(error)}, ok=False))
        finally:
            for room in self._rooms.values():
                room.leave(goodbye=self._socket.goodbye)
            await self._socket.end()

    def _reply(self, text: str) -> None:
        self._socket.post(self, Reply(text))

    async def _hear(self, frame: phoenix.Frame) -> None:
        topic, event = frame.topic, frame.event
        if event == "task":
            await self._task(frame)
        elif topic in {phoenix.HEARTBEAT_TOPIC, phoenix.LOBBY}:
            response = {"uuid": (self._user or NOBODY).uuid} if event == phoenix.JOIN else {}
            self._reply(phoenix.reply(frame, response))
        elif event == phoenix.JOIN:
            self._join(frame)
        elif topic not in self._rooms:
            raise FrameError("unmatched topic")
        elif event == phoenix.LEAVE:
            self._rooms.pop(topic).leave(goodbye=True)
            self._reply(phoenix.reply(frame, {}))
        elif event != "set_validation":
            raise FrameError("unmatched event")

    def _join(self, frame: phoenix.Frame) -> None:
        topic = frame.topic
        user, _, channel = topic.removeprefix(phoenix.ROOM).partition(":")
        if not topic.startswith(phoenix.ROOM) or not 0 < len(channel) <= LONGEST_ID:
            raise FrameError("unmatched topic")
        if self._user is None or user != self._user.uuid:
            raise FrameError(UNAUTHORIZED)
        if topic not in self._rooms:
            if len(self._rooms) >= _MOST_ROOMS:
                raise FrameError(f"more than {_MOST_ROOMS} channels on one connection")
            self._reply(phoenix.reply(frame, {}))
            self._rooms[topic] = Room(self._exchange, self._socket, self._user, topic, channel)
        else:
            self._reply(phoenix.reply(frame, {}))

    async def _task(self, frame: phoenix.Frame) -> None:
        room = self._rooms.get(frame.topic)
        if room is None:
            raise FrameError("unmatched topic")
        payload = phoenix.read_task(frame.payload)
        if not 0 < len(payload.ref) <= LONGEST_ID:
            raise FrameError(f"a task's ref must have 1 to {LONGEST_ID} characters")
        try:
            body = phoenix.read_body(payload.body)
            room.submit(payload.ref, body, await self._code(body))
        except (FrameError, ManipleError) as error:
            answer = Answer(ok=False, cause="not a task", error=str(error))
            self._reply(phoenix.result(frame.topic, payload.ref, answer))

    async def _code(self, body: TaskBody) -> Code:
        if not body.wasm:
            raise FrameError("a task needs wasm: the module, in base64")
        return Code(
            await self._part(body.wasm, "wasm"),
            await self._part(body.loader, "loader") if body.loader else None,
            await self._linked(body.data_link) if body.data_link else None,
        )

    async def _part(self, text: str, what: str) -> str:
        """Keep a part; the same text is decoded once while it is sent again and again."""
        digest = self._texts.get(text)
        if digest is None:
            digest = await self._exchange.put_part(phoenix.read_base64(text, what))
            self._texts[text] = digest
            self._letters += len(text)
            while len(self._texts) > _MOST_TEXTS or self._letters > _MOST_LETTERS:
                dropped, _ = self._texts.popitem(last=False)
                self._letters -= len(dropped)
        else:
            self._texts.move_to_end(text)
        return digest

    async def _linked(self, url: str) -> str:
        known = self._urls.get(url)
        if known is not None:
            return known
        parts = urlsplit(url)
        name = parts.path.removeprefix(BLOBS_PATH)
        own = parts.netloc in self._own and parts.path.startswith(BLOBS_PATH)
        try:
            if own and name in self._exchange.blobs:
                return name
        except ValueError:
            raise FrameError(f"data_link {url[:200]!r} names no blob of this hub") from None
        if own:
            raise FrameError(f"data_link {url[:200]!r}: that is not here any more")
        digest = await self._exchange.put_part(await asyncio.to_thread(fetch, url))
        if len(self._urls) >= _MOST_URLS:
            self._urls.clear()
        self._urls[url] = digest
        return digest
