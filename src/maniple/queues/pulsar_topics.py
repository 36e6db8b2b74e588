"""Consumers and producers of Pulsar: what arrives, and what is published and confirmed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count, cycle
from typing import Any, Final

from maniple.queues import pulsar_wire as wire
from maniple.queues.pulsar_client import Client
from maniple.queues.pulsar_link import ANSWER_SECONDS, Answer, Handle, Link, LostError
from maniple.queues.pulsar_wire import Command, Message

EXCLUSIVE: Final = 0
SHARED: Final = 1
FLYING: Final = 1000
FLYING_BYTES: Final = 8 << 20
WRITE_BYTES: Final = 1 << 18
CHUNK: Final = 200
ACKS_AT_ONCE: Final = 2000
_serials = count(1)


class Consumer(Handle):
    """One subscription to one topic.

    Attributes:
        serial: no other consumer of this process ever has it.
        inbox: what has arrived and nobody has taken.
        permits: how many messages the broker may still send.
        arrived: when the last message came, in monotonic seconds.
    """

    def __init__(self, link: Link, topic: str, number: int) -> None:
        super().__init__(link, topic, number)
        self.serial = next(_serials)
        self.inbox: deque[Message] = deque()
        self.permits = 0
        self.arrived = 0.0

    def came(self, message: Message) -> None:
        """Take a message in; called with the lock held."""
        self.inbox.append(message)
        self.permits -= message.count
        self.arrived = time.monotonic()

    def died(self) -> None:
        """Forget what the broker gives to others now."""
        super().died()
        self.inbox.clear()

    def flow(self, permits: int) -> bytes:
        """Write the command that lets so many messages more come; called with the lock held."""
        self.permits += permits
        return wire.command(Command.FLOW, wire.number(1, self.number) + wire.number(2, permits))

    def redeliver(self, places: Iterable[tuple[int, int]]) -> bytes:
        """Write the command that gives messages back."""
        ids = b"".join(wire.blob(2, wire.position(*place)) for place in places)
        return wire.command(Command.REDELIVER, wire.number(1, self.number) + ids)


def subscribe(
    client: Client, topic: str, subscription: str, *, kind: int, create: bool
) -> Consumer:
    """Become a consumer of a topic (or partition).

    The subscription is made where it is missing, at the topic's first message.

    Raises:
        LostError: not now.
        RefusedError: no such topic, not permitted.
    """
    link = client.owner(topic)
    consumer = Consumer(link, topic, client.number())

    def body(request: int) -> bytes:
        return b"".join(
            (
                wire.text(1, topic),
                wire.text(2, subscription),
                wire.number(3, kind),
                wire.number(4, consumer.number),
                wire.number(5, request),
                wire.number(13, 1),
                wire.number(15, int(create)),
            )
        )

    with client.changed:
        link.consumers[consumer.number] = consumer
    try:
        client.call(link, Command.SUBSCRIBE, body)
    except BaseException:
        with client.changed:
            link.consumers.pop(consumer.number, None)
        raise
    return consumer


def unsubscribe(client: Client, handle: Handle) -> None:
    """Be a consumer or producer no more; what a consumer held goes to others."""
    with client.changed:
        alive = handle.alive and handle.link.alive
        handle.link.consumers.pop(handle.number, None)
        handle.link.producers.pop(handle.number, None)
        handle.died()
    if alive:
        kind = Command.CLOSE_CONSUMER if isinstance(handle, Consumer) else Command.CLOSE_PRODUCER
        client.call(handle.link, kind, lambda r: wire.number(1, handle.number) + wire.number(2, r))


def ask_backlog(client: Client, consumer: Consumer) -> Answer:
    """Ask how many messages of the subscription are not acknowledged."""
    return client.ask(
        consumer.link,
        Command.CONSUMER_STATS,
        lambda request: wire.number(1, request) + wire.number(4, consumer.number),
        consumer,
    )


def backlog_of(body: Mapping[int, Any]) -> int:
    """Read that number from the answer."""
    return max(0, wire.signed(body.get(15, 0)))


def permits_of(body: Mapping[int, Any]) -> int:
    """Read from the answer how many messages the broker thinks that it may send."""
    return wire.signed(body.get(8, 0))


def acknowledge(client: Client, consumer: Consumer, places: list[tuple[int, int]]) -> None:
    """Acknowledge messages by their ids, and wait until the broker confirms it."""
    answers = []
    for at in range(0, len(places), ACKS_AT_ONCE):
        ids = b"".join(
            wire.blob(3, wire.position(*place)) for place in places[at : at + ACKS_AT_ONCE]
        )

        def body(request: int, ids: bytes = ids) -> bytes:
            return wire.number(1, consumer.number) + b"\x10\x00" + ids + wire.number(8, request)

        answers.append(client.ask(consumer.link, Command.ACK, body, consumer))
    for answer in answers:
        client.answer(answer)


class Letter:
    """A message to be published.

    Args:
        payload: its content.
        properties: what goes with it.
        at: milliseconds since the epoch, before which nobody gets it; 0: at once.
    """

    __slots__ = ("at", "payload", "properties")

    def __init__(self, payload: bytes, properties: Mapping[str, str], at: int = 0) -> None:
        self.payload = payload
        self.properties = properties
        self.at = at

    def metadata(self, head: bytes, sequence: int, now: bytes) -> bytes:
        """Write what goes before the payload."""
        data = head + b"\x10" + wire.varint(sequence) + now + wire.pairs(4, self.properties)
        return data + wire.number(19, self.at) if self.at else data

    @property
    def size(self) -> int:
        """Bytes that it needs, about."""
        return len(self.payload) + sum(len(v) for v in self.properties.values()) + 256


class Producer(Handle):
    """One who publishes to one topic.

    Attributes:
        flying: what the broker has not confirmed, by number, in the order it was sent.
    """

    def __init__(self, link: Link, topic: str, number: int) -> None:
        super().__init__(link, topic, number)
        self.flying: dict[int, Letter] = {}
        self.flying_bytes = 0
        self.error: Exception | None = None
        self._head = b""
        self._sequence = 0

    def named(self, name: bytes) -> None:
        """Take the name that the broker gave."""
        self._head = wire.blob(1, name)

    def stored(self, sequence: int) -> None:
        """Note a confirmation; called with the lock held."""
        letter = self.flying.pop(sequence, None)
        if letter is not None:
            self.flying_bytes -= letter.size

    def refused(self, error: Exception) -> None:
        """Note a refusal; called with the lock held."""
        self.error = error

    def frame(self, letter: Letter) -> bytes:
        """Write a letter's frame, and wait for its confirmation from now on."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        now = b"\x18" + wire.varint(int(time.time() * 1000))
        self.flying[sequence] = letter
        self.flying_bytes += letter.size
        metadata = letter.metadata(self._head, sequence, now)
        return wire.sending(self.number, sequence, metadata, letter.payload)

    def has_room(self) -> bool:
        """Tell whether more may be sent before the broker confirms some."""
        return len(self.flying) < FLYING and self.flying_bytes < FLYING_BYTES


def produce(client: Client, topic: str, subscription: str) -> Producer:
    """Become a producer of a topic (or partition).

    Args:
        client: the connections.
        topic: its full name.
        subscription: made where it is missing, so that nothing is published for nobody; or "".
    """
    link = client.owner(topic)
    producer = Producer(link, topic, client.number())
    more = wire.text(13, subscription) if subscription else b""
    with client.changed:
        link.producers[producer.number] = producer
    try:
        body = client.call(
            link,
            Command.PRODUCER,
            lambda request: (
                wire.text(1, topic)
                + wire.number(2, producer.number)
                + wire.number(3, request)
                + wire.number(9, 0)
                + more
            ),
        )
    except BaseException:
        with client.changed:
            link.producers.pop(producer.number, None)
        raise
    producer.named(body[2])
    return producer


class Post:
    """Letters on their way; a call of `run` that fails may be repeated with new producers.

    Args:
        letters: what to publish; read as the broker takes it.
    """

    def __init__(self, letters: Iterable[Letter]) -> None:
        self._letters: Iterator[Letter] = iter(letters)
        self._again: deque[Letter] = deque()
        self._used: list[Producer] = []
        self._trouble: Exception | None = None

    def run(self, client: Client, producers: list[Producer]) -> None:
        """Publish all, spread over the producers, and wait for the confirmations.

        Raises:
            LostError: call again, with producers that live.
            RefusedError: the broker does not take them.
        """
        for old in self._used:
            # they died with these on their way: whether they were stored is not known
            self._again.extend(old.flying.values())
            old.flying.clear()
            old.flying_bytes = 0
        self._used = producers
        for producer in cycle(producers):
            # outside the lock: the letters may be made while we wait for them
            chunk = self._chunk()
            if not chunk:
                break
            self._room(client, producer)
            with client.changed:
                frames = [producer.frame(letter) for letter in chunk]
            client.send(producer.link, b"".join(frames))
        for producer in producers:
            self._wait(client, producer, lambda producer=producer: not producer.flying)
        self._used = []
        if self._trouble is not None:
            raise self._trouble

    def _chunk(self) -> list[Letter]:
        chunk: list[Letter] = []
        size = 0
        while len(chunk) < CHUNK and size < WRITE_BYTES:
            letter = self._again.popleft() if self._again else self._next()
            if letter is None:
                break
            chunk.append(letter)
            size += letter.size
        return chunk

    def _next(self) -> Letter | None:
        try:
            return next(self._letters, None) if self._trouble is None else None
        except Exception as error:
            # those before it are to be published
            self._trouble = error
            return None

    def _room(self, client: Client, producer: Producer) -> None:
        with client.changed:
            if not producer.has_room():
                half = FLYING // 2
                self._wait(
                    client,
                    producer,
                    lambda: len(producer.flying) <= half and producer.flying_bytes < FLYING_BYTES,
                )

    @staticmethod
    def _wait(client: Client, producer: Producer, enough: Any) -> None:
        def moved(few: int) -> bool:
            gone = not producer.alive or producer.error is not None
            return gone or enough() or len(producer.flying) < few

        with client.changed:
            left = -1
            while True:
                if producer.error is not None:
                    error, producer.error = producer.error, None
                    producer.alive = False
                    raise error
                if enough():
                    return
                if not producer.alive:
                    raise LostError("the connection was lost")
                if left == len(producer.flying):
                    client.lose(
                        producer.link, f"the broker confirmed nothing for {ANSWER_SECONDS:g} s"
                    )
                    continue
                left = len(producer.flying)
                few = left - FLYING // 4
                client.changed.wait_for(partial(moved, few), ANSWER_SECONDS)
