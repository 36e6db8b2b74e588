"""Talking to Kafka: how clients are made, what their errors mean, and which topics there are."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from maniple.address import Address
from maniple.errors import QueueError, StorageError, UsageError
from maniple.persist import persist
from maniple.plugins import missing_extra

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic
except ImportError:
    raise missing_extra("confluent-kafka", "the queue kafka:") from None

OPEN_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 5.0
MOST_BYTES: Final = 32 << 20
_Answer = TypeVar("_Answer")

# the library's own errors, whose names begin with an underscore, are as public as the broker's
AUTHENTICATION: Final[int] = KafkaError._AUTHENTICATION  # noqa: SLF001
NO_OFFSET: Final[int] = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
NO_PARTITION: Final[int] = KafkaError._UNKNOWN_PARTITION  # noqa: SLF001
NO_TOPIC: Final[int] = KafkaError._UNKNOWN_TOPIC  # noqa: SLF001
PARTITION_END: Final[int] = KafkaError._PARTITION_EOF  # noqa: SLF001
TLS_FAILED: Final[int] = KafkaError._SSL  # noqa: SLF001

log = logging.getLogger("maniple.kafka")
# librdkafka tells of every connection that it loses; it is shown only to those who ask for it
log.addHandler(logging.NullHandler())

MISSING: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, NO_TOPIC, NO_PARTITION})
REFUSED: Final = {
    AUTHENTICATION: "the user or the password is wrong, or this port takes none",
    KafkaError.SASL_AUTHENTICATION_FAILED: "the user or the password is wrong",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "it does not know this ?mechanism=",
    KafkaError.ILLEGAL_SASL_STATE: "this port takes no passwords",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "not permitted on this topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "not permitted in this cluster",
    KafkaError.TOPIC_EXCEPTION: "a topic's name has letters, digits, '.', '_' and '-' only",
    KafkaError.POLICY_VIOLATION: "the cluster's policy forbids it",
    KafkaError.INVALID_REPLICATION_FACTOR: "there are not as many brokers as ?replicas= asks for",
    TLS_FAILED: "TLS failed: is this a port with TLS, and ?ca= the file of its authority?",
}
"""Errors that do not go away by themselves."""


class Client:
    """Makes clients of one cluster, and waits for it.

    Args:
        address: where it is.
        mechanism: of SASL, where there is a user.
        tls: whether connections are encrypted.
    """

    def __init__(self, address: Address, mechanism: str, *, tls: bool) -> None:
        self.address = address
        self.shown = address.shown
        self.reconnect = address.reconnect
        self._last = ""
        self._refused: KafkaError | None = None
        self._admin: AdminClient | None = None
        self._common: dict[str, Any] = {
            "bootstrap.servers": ",".join(
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                for host, port in address.hosts
            ),
            "client.id": "maniple",
            "security.protocol": ("SASL_" if address.user else "")
            + ("SSL" if tls else "PLAINTEXT"),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            # a broker that shuts down tells of a cluster of nobody: begin again from the URL then
            "metadata.recovery.strategy": "rebootstrap",
            "retry.backoff.ms": 50,
            "retry.backoff.max.ms": 500,
            "socket.timeout.ms": 10000,
            "socket.keepalive.enable": True,
            "socket.nagle.disable": True,
            "log.connection.close": False,
            "error_cb": self._hear,
        }
        if address.user:
            self._common["sasl.mechanism"] = mechanism
            self._common["sasl.username"] = address.user
            self._common["sasl.password"] = address.password or ""
        for name, value in (
            ("ssl.ca.location", address.ca),
            ("ssl.certificate.location", address.cert),
            ("ssl.key.location", address.key),
        ):
            if tls and value:
                if not os.access(value, os.R_OK):
                    raise UsageError(f"{self.shown}: the file {value} cannot be read")
                self._common[name] = value

    def _hear(self, error: KafkaError) -> None:
        self._last = error.str()
        if error.code() in REFUSED:
            self._refused = error

    def _make(self, kind: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
        try:
            return kind({**self._common, **settings}, logger=log)
        except KafkaException as error:
            raise UsageError(f"{self.shown}: {_line(error)}") from None

    def consumer(self, **settings: Any) -> Any:
        """Make a consumer that commits nothing; settings are librdkafka's, with `_` for `.`."""
        return self._make(
            Consumer,
            {
                # the library wants a name; nothing is committed, and nobody joins
                "group.id": self.address.path[-1] if self.address.path else "maniple",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "fetch.error.backoff.ms": 50,
                "fetch.queue.backoff.ms": 5,
                "fetch.message.max.bytes": 1 << 20,
                "fetch.max.bytes": 4 << 20,
                "receive.message.max.bytes": MOST_BYTES * 2,
                **{name.replace("_", "."): value for name, value in settings.items()},
            },
        )

    def producer(self) -> Any:
        """Make a producer whose messages are there once, in order, and safe when they are told."""
        return self._make(
            Producer,
            {
                "enable.idempotence": True,
                "linger.ms": 0,
                "compression.type": "lz4",
                "message.max.bytes": MOST_BYTES,
                "batch.size": 1 << 20,
                "message.timeout.ms": max(1000, int(self.reconnect * 1000)),
            },
        )

    @property
    def admin(self) -> AdminClient:
        """The client for topics; it is made when it is needed first."""
        if self._admin is None:
            self._admin = self._make(AdminClient, {})
        return self._admin

    def close(self) -> None:
        """Let go of what was made for topics."""
        self._admin = None

    def persist(self, call: Callable[[], _Answer], seconds: float | None = None) -> _Answer:
        """Make a call; repeat it while the cluster is away.

        Raises:
            QueueError: it will not work, however often it is tried.
            StorageError: time is up.
        """

        def attempt() -> _Answer:
            try:
                return call()
            except KafkaException as error:
                self.refuse(error.args[0])
                raise

        return persist(
            attempt,
            lost=(KafkaException,),
            again=lambda: None,
            seconds=self.reconnect if seconds is None else seconds,
            what=self.shown,
        )

    def refuse(self, error: KafkaError | None) -> None:
        """Raise QueueError where an error does not go away by itself."""
        if error is not None and error.code() in REFUSED and error.code() != TLS_FAILED:
            raise QueueError(f"{self.shown}: {REFUSED[error.code()]}")

    def gone(self, error: object = "") -> StorageError:
        """Build the error for a cluster that stays away."""
        text = " ".join(str(error or self._last).split()) or "no answer"
        return StorageError(f"no connection to {self.shown} for {self.reconnect:g} s: {text}")

    def partitions(self, consumer: Consumer, topic: str) -> int:
        """Count the partitions of a topic; 0 where it does not exist. For the first call only.

        Raises:
            QueueError: nobody answers, or we are not let in.
        """
        until = time.monotonic() + min(OPEN_SECONDS, max(self.reconnect, 0.5))
        while True:
            try:
                found = consumer.list_topics(topic, timeout=0.5).topics[topic]
            except KafkaException as error:
                consumer.poll(0)
                refused = self._refused or error.args[0]
                if refused.code() in REFUSED:
                    raise QueueError(f"{self.shown}: {REFUSED[refused.code()]}") from None
                if time.monotonic() > until:
                    why = self._last or _line(error)
                    raise QueueError(f"nobody answers at {self.shown}: {why}") from None
                continue
            self.refuse(found.error)
            if found.error is None:
                return len(found.partitions)
            if found.error.code() in MISSING:
                return 0
            if time.monotonic() > until:
                raise QueueError(f"{self.shown}: {found.error.str()}")
            time.sleep(0.05)

    def create(self, consumer: Consumer, topics: Mapping[str, tuple[int, dict[str, str]]]) -> None:
        """Make topics, and wait until they can be used.

        Args:
            consumer: asks for them.
            topics: names, with the number of partitions and settings.

        Raises:
            QueueError: not permitted.
        """
        replicas = int(self.address.number("replicas", -1, least=-1))
        new = [
            NewTopic(name, count, replicas, config=settings)
            for name, (count, settings) in topics.items()
        ]
        for future in self.admin.create_topics(new, request_timeout=10.0).values():
            try:
                future.result(timeout=20)
            except KafkaException as error:
                code = error.args[0].code()
                # another may have made it at the same moment
                if code != KafkaError.TOPIC_ALREADY_EXISTS:
                    why = REFUSED.get(code) or _line(error)
                    raise QueueError(f"cannot make topics for {self.shown}: {why}") from None
        until = time.monotonic() + QUERY_SECONDS
        for name in topics:
            while not self.partitions(consumer, name):
                if time.monotonic() > until:
                    raise QueueError(f"{self.shown}: topic {name} was made and is not there")
                time.sleep(0.01)

    def delete_before(self, topic: str, offsets: Mapping[int, int], *, wait: bool = True) -> None:
        """Have the broker drop records; it is no harm where that is not permitted."""
        places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        asked = self.admin.delete_records(places, request_timeout=10.0)
        for future in asked.values() if wait else ():
            try:
                future.result(timeout=15)
            except KafkaException as error:
                log.info("records of %s are kept: %s", topic, _line(error))


def _line(error: KafkaException) -> str:
    text = error.args[0].str() if isinstance(error.args[0], KafkaError) else str(error.args[0])
    return " ".join(text.split())
