"""Drivers and workers that speak our own protocol: MessagePack, one message a frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from maniple.algorithm.blobs import digest_of
from maniple.cluster.messages import (
    Ask,
    Blob,
    Cancel,
    Done,
    DriverHello,
    FromDriver,
    FromWorker,
    GiveBack,
    Got,
    Refused,
    Result,
    Run,
    Submit,
    WorkerHello,
    decode_from_driver,
    decode_from_worker,
    encode,
)
from maniple.errors import StorageError
from maniple.hub.exchange import Exchange
from maniple.hub.rules.orders import Send, Start, Tell
from maniple.hub.socket import POLICY, REPLACED, Frame, Item, Part, Socket

LONGEST_ID: Final = 64
MOST_SLOTS: Final = 1 << 20


class ProtocolError(Exception):
    """The peer said something that it must not; the text goes to it."""


class _Peer:
    """What drivers and workers have in common.

    Args:
        exchange: the hub.
        socket: of the peer.
        user: the uuid of the user whose token it has.
    """

    number: int | None = None

    def __init__(self, exchange: Exchange, socket: Socket, user: str) -> None:
        self._exchange = exchange
        self._socket = socket
        self._user = user

    def post(self, item: Item) -> None:
        self._socket.post(self, item)

    def replaced(self) -> None:
        self._socket.close(REPLACED, "connected again elsewhere")

    def frames(self, item: Item) -> Iterable[Frame]:
        if isinstance(item, Send):
            return [encode(item.message)]
        if isinstance(item, Start):
            call = self._exchange.store.call(item.key)
            return (
                () if call is None else [encode(Run(item.token, item.key.task, item.attempt, call))]
            )
        if isinstance(item, Tell):
            answer = self._exchange.store.answer(item.key)
            return () if answer is None else [encode(Result(item.key.task, answer))]
        return [encode(Blob(str(item), self._exchange.blobs.get(item)))]

    def sent(self, item: Item) -> None:
        """Nothing follows: our own peers acknowledge."""

    async def serve(self) -> None:
        """Talk until the connection ends; a peer that talks nonsense is told so and let go."""
        try:
            async for frame in self._socket.frames():
                await self._hear(frame if isinstance(frame, bytes) else frame.encode())
        except (ProtocolError, msgspec.DecodeError, ValueError) as error:
            refusal = Send(0, Refused(f"not understood: {error}"))
            self._socket.post(self, refusal)
            self._socket.close(POLICY, "not understood")
        except StorageError as error:
            self._socket.post(self, Send(0, Refused(str(error))))
            self._socket.close(POLICY, "the hub cannot go on")
        finally:
            if self.number is not None:
                self._left(self.number)
                self._exchange.leave(self.number)
            await self._socket.end()

    async def _hear(self, frame: bytes) -> None:
        raise NotImplementedError

    def _left(self, number: int) -> None:
        raise NotImplementedError

    def _joined(self) -> int:
        if self.number is None:
            raise ProtocolError("the first message must be a hello")
        return self.number


class DriverPeer(_Peer):
    """A driver."""

    async def _hear(self, frame: bytes) -> None:
        message: FromDriver = decode_from_driver(frame)
        exchange, rules = self._exchange, self._exchange.rules
        if isinstance(message, Submit):
            check_id(message.task)
            exchange.submit(self._joined(), message.task, message.call)
        elif isinstance(message, Got):
            exchange.carry_out(rules.got(self._joined(), message.tasks))
        elif isinstance(message, Cancel):
            exchange.carry_out(rules.cancelled(self._joined(), message.task))
        elif isinstance(message, Blob):
            number = self._joined()
            if message.data is not None and digest_of(message.data) == message.digest:
                await exchange.put_part(message.data)
            else:
                exchange.refuse_part(number, message.digest)
        elif isinstance(message, DriverHello):
            if self.number is not None:
                raise ProtocolError("a second hello")
            check_id(message.session)
            self.number = exchange.join(self)
            orders = rules.driver_joined(self.number, self._user, message.session, message.tasks)
            exchange.carry_out(orders)
        else:
            self._joined()
            for digest in message.digests:
                exchange.blobs.path(digest)
                self.post(Part(digest))

    def _left(self, number: int) -> None:
        exchange = self._exchange
        orders = exchange.rules.driver_left(number, exchange.clock(), goodbye=self._socket.goodbye)
        exchange.carry_out(orders)


class WorkerPeer(_Peer):
    """A worker."""

    async def _hear(self, frame: bytes) -> None:
        message: FromWorker = decode_from_worker(frame)
        exchange, rules = self._exchange, self._exchange.rules
        if isinstance(message, Done):
            orders = rules.done(self._joined(), message.token, message.answer)
            exchange.carry_out(orders)
        elif isinstance(message, Ask):
            exchange.carry_out(rules.asked(self._joined(), min(message.count, MOST_SLOTS)))
        elif isinstance(message, GiveBack):
            exchange.carry_out(rules.gave_back(self._joined(), message.tokens))
        elif isinstance(message, WorkerHello):
            if self.number is not None:
                raise ProtocolError("a second hello")
            check_id(message.uid)
            self.number = exchange.join(self)
            orders = rules.worker_joined(
                self.number, self._user, message.uid, message.name[:LONGEST_ID], message.holds
            )
            exchange.carry_out(orders)
        elif isinstance(message, Blob):
            # we ask no worker for anything
            self._joined()
        else:
            for digest in message.digests:
                exchange.miss_part(self._joined(), digest)
                self.post(Part(digest))

    def _left(self, number: int) -> None:
        exchange = self._exchange
        orders = exchange.rules.worker_left(number, exchange.clock(), goodbye=self._socket.goodbye)
        exchange.carry_out(orders)


def check_id(text: str) -> None:
    """Refuse ids that could fill our memory.

    Raises:
        ProtocolError: it is empty or too long.
    """
    if not 0 < len(text) <= LONGEST_ID:
        raise ProtocolError(f"an id must have 1 to {LONGEST_ID} characters")
