"""A queue's connections to Pulsar, and calls that outlive them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from maniple.address import Address
from maniple.errors import QueueError, StorageError, UsageError
from maniple.persist import persist
from maniple.queues.pulsar_admin import Admin
from maniple.queues.pulsar_client import Client
from maniple.queues.pulsar_inbox import Inbox
from maniple.queues.pulsar_link import Login, LostError, RefusedError
from maniple.queues.pulsar_topics import (
    SHARED,
    Consumer,
    Letter,
    Post,
    Producer,
    acknowledge,
    produce,
    subscribe,
)
from maniple.queues.pulsar_wire import Code
from maniple.urls import redact

_FULL_PATH: Final = 3
_Answer = TypeVar("_Answer")
Place = tuple[int, int]


class Session:
    """Consumers of a topic's partitions, and producers; made again when they are lost.

    Args:
        address: of the brokers, with the options `admin`, `listener` and `direct`.
        url: of the queue, for messages.
        subscription: its name.
        create: make the topic when it is missing.

    Attributes:
        topic: its full name.
        topics: its partitions, or itself.
        consumers: one for each of them.

    Raises:
        UsageError: the address or an option is wrong.
    """

    def __init__(self, address: Address, url: str, subscription: str, *, create: bool) -> None:
        options = address.options
        self._address = address
        self._url = url
        self._subscription = subscription
        self._create = create
        self.topic = _topic_of(address)
        if options.get("direct", "no") not in {"yes", "no"}:
            raise UsageError(f"direct={options['direct']} in {address.shown}: yes or no is needed")
        self._login, self._secrets = _login_of(address)
        self._tls = _context(address) if address.scheme.endswith("+ssl") else None
        self.topics: list[str] = []
        self.consumers: list[Consumer] = []
        self._producers: dict[str, list[Producer]] = {}
        self.inbox = Inbox(self.consumers)
        self.client = Client(
            address.hosts,
            self._login,
            tls=self._tls,
            listener=options.get("listener", ""),
            direct=options.get("direct") == "yes",
            timer=self.inbox.tend,
        )
        self.inbox.client = self.client

    def admin(self) -> Admin | None:
        """Make the reader of numbers that the address names."""
        url = self._address.options.get("admin")
        if not url:
            return None
        bearer = self._login.method == "token"
        header = f"Bearer {self._login.data.decode()}" if bearer else ""
        return Admin(url, self._tls or _context(self._address), header)

    def open(self, seconds: float) -> None:
        """Connect for the first time; try for so many seconds."""
        self.do(self._connect, min(seconds, self._address.reconnect))

    @property
    def most(self) -> int:
        """Bytes that a message may have."""
        return min(consumer.link.most for consumer in self.consumers)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def _connect(self) -> None:
        """Subscribe to every partition, or again to those whose connection was lost."""
        client = self.client
        if not self.topics:
            self.topics = client.partitions(self.topic, create=self._create)
        for index, topic in enumerate(self.topics):
            if index < len(self.consumers) and self.consumers[index].alive:
                continue
            consumer = subscribe(
                client, topic, self._subscription, kind=SHARED, create=self._create
            )
            with client.changed:
                for old in self.consumers[index : index + 1]:
                    self.inbox.forget(old.serial)
                self.consumers[index : index + 1] = [consumer]

    def do(self, call: Callable[[], _Answer], seconds: float | None = None) -> _Answer:
        """Make a call that connects again, and tell its failure in one line."""
        address = self._address
        try:
            return persist(
                call,
                lost=(LostError,),
                again=self._connect,
                seconds=address.reconnect if seconds is None else seconds,
                what=address.shown,
            )
        except RefusedError as error:
            raise self._refused(error) from None
        except StorageError as error:
            raise StorageError(self._clean(str(error))) from None

    def _refused(self, error: RefusedError) -> QueueError:
        shown = self._address.shown
        if error.code == Code.TOPIC_NOT_FOUND:
            url = redact(self._url)
            return QueueError(f"no topic at {url}: fill it first: maniple sweep -q {url} ...")
        if error.code in {Code.AUTHENTICATION, Code.AUTHORIZATION}:
            what = "who we are" if error.code == Code.AUTHENTICATION else "what we ask for"
            return QueueError(
                f"{shown} does not permit {what}: check the token (PULSAR_TOKEN) or the password"
            )
        return QueueError(f"{shown} refuses: {self._clean(str(error))}")

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _consumer(self, topic: str) -> Consumer:
        for consumer in self.consumers:
            if consumer.topic == topic and consumer.alive:
                return consumer
        raise LostError("the connection was lost")

    def posting(self, base: str) -> list[Producer]:
        """Give a living producer for each partition of a topic."""
        found = self._producers.get(base, [])
        if base == self.topic:
            topics, subscription = self.topics, ""
        elif found:
            topics, subscription = [producer.topic for producer in found], self._subscription
        else:
            topics = self.client.partitions(base, create=True)
            subscription = self._subscription
        alive = {producer.topic: producer for producer in found if producer.alive}
        self._producers[base] = [
            alive.get(topic) or produce(self.client, topic, subscription) for topic in topics
        ]
        return self._producers[base]

    def publish(self, base: str, letters: Iterable[Letter]) -> None:
        """Publish to the tasks' or the failures' topic, until the broker has confirmed all."""
        post = Post(letters)
        self.do(lambda: post.run(self.client, self.posting(base)))

    def settle(self, places: dict[str, list[Place]]) -> None:
        """Acknowledge; what may have been lost with a connection is acknowledged again."""
        left = {topic: each for topic, each in places.items() if each}

        def acknowledge_left() -> None:
            for topic in list(left):
                acknowledge(self.client, self._consumer(topic), left[topic])
                del left[topic]

        if left:
            self.do(acknowledge_left)


def _context(address: Address) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.cert is not None:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the TLS files of {address.shown} cannot be read: {error}") from None
    return context


def _topic_of(address: Address) -> str:
    """Give the topic's full name."""
    # a whole name as one part: what the variable PULSAR_TOPIC may hold
    domain, colon, name = "/".join(address.path).rpartition("://")
    if domain not in {"", "persistent"}:
        raise UsageError(f"{domain}{colon} in {address.shown}: only persistent topics hold tasks")
    parts = [part for part in (name or "maniple").split("/") if part]
    if len(parts) == 1:
        parts = ["public", "default", *parts]
    if len(parts) != _FULL_PATH:
        raise UsageError(
            f"{address.shown} names no topic: write TOPIC or TENANT/NAMESPACE/TOPIC after the host"
        )
    return f"persistent://{'/'.join(parts)}"


def _login_of(address: Address) -> tuple[Login, list[str]]:
    """Tell how to get in, and what must not be shown."""
    password = address.password or os.environ.get("PULSAR_TOKEN")
    if password and address.user:
        return Login("basic", f"{address.user}:{password}".encode()), [password]
    if password:
        return Login("token", password.encode()), [password]
    if address.cert is not None:
        return Login("tls", b""), []
    return Login("", b""), []
