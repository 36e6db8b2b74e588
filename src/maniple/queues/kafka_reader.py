"""Reads messages by their place: the tasks of a claim, the reasons of failures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import TopicPartition

from maniple.queues.kafka_client import PARTITION_END, QUERY_SECONDS, Client

SKIP: Final = 1000
"""So many messages are rather read and dropped than sought over, which costs two journeys."""
SKIP_BYTES: Final = 1 << 20
KEPT: Final = 2000
DEAF_SECONDS: Final = 8.0
"""A client that hears nothing for so long has lost its way."""
BATCH: Final = 500


class Reader:
    """Reads one topic. What it reads ahead is what the library fetched anyway, and no lease.

    Args:
        client: makes the consumer.
        topic: what is read.
    """

    def __init__(self, client: Client, topic: str) -> None:
        self._client = client
        self._topic = topic
        self.consumer = self._make_consumer()
        # where the consumer is in each partition that it reads
        self._places: dict[int, int] = {}
        self._ahead: dict[int, dict[int, Any]] = {}
        self._met: set[int] = set()
        self._size = 100.0

    def _make_consumer(self) -> Any:
        # a fetch at the end of the topic blocks whatever is asked next on that connection
        return self._client.consumer(
            fetch_wait_max_ms=10,
            queued_max_messages_kbytes=4096,
            queued_min_messages=2000,
            isolation_level="read_committed",
            enable_partition_eof=True,
            auto_offset_reset="earliest",
        )

    def _renew(self) -> None:
        """Put a new client in the place of one that hears nothing, where that one was."""
        self.consumer.close()
        self.consumer = self._make_consumer()
        self.consumer.incremental_assign(
            [TopicPartition(self._topic, number, at) for number, at in self._places.items()]
        )

    def ends(self, number: int = 0, topic: str | None = None) -> tuple[int, int]:
        """Ask for the first offset of a partition, and the one after the last."""
        place = TopicPartition(topic or self._topic, number)

        def ask() -> tuple[int, int]:
            first, after = self.consumer.get_watermark_offsets(
                place, timeout=QUERY_SECONDS, cached=False
            )
            return first, after

        answer = self._client.persist(ask)
        if topic is None:
            self._met.add(number)
        return answer

    def rest(self) -> None:
        """Fetch no more until the next read: an idle reader costs nothing."""
        if self._places:
            self.consumer.incremental_unassign(
                [TopicPartition(self._topic, number) for number in self._places]
            )
            self._places.clear()

    def read(self, wanted: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], Any]:
        """Read messages.

        Args:
            wanted: the offsets of each partition.

        Returns:
            The messages by partition and offset; None for those that are not there any more.

        Raises:
            StorageError: the cluster stays away.
        """
        found: dict[tuple[int, int], Any] = {}
        missing: dict[int, set[int]] = {}
        for number, offsets in wanted.items():
            ahead = self._ahead.get(number, {})
            left = set()
            for offset in offsets:
                message = ahead.pop(offset, None)
                if message is None:
                    left.add(offset)
                else:
                    found[number, offset] = message
            if left:
                missing[number] = left
                self._go_to(number, min(left))
        now = time.monotonic()
        until, deaf = now + max(self._client.reconnect, 1.0), now + DEAF_SECONDS
        while missing:
            first = self.consumer.poll(0.2)
            if first is None:
                now = time.monotonic()
                if now > until:
                    raise self._client.gone("the tasks cannot be read")
                if now > deaf:
                    deaf = now + DEAF_SECONDS
                    self._renew()
                continue
            self._take(first, missing, found)
            left_over = sum(map(len, missing.values()))
            for message in self.consumer.consume(min(left_over, BATCH), 0) if left_over else ():
                self._take(message, missing, found)
        return found

    def _take(
        self, message: Any, missing: dict[int, set[int]], found: dict[tuple[int, int], Any]
    ) -> None:
        number, offset = message.partition(), message.offset()
        error = message.error()
        left = missing.get(number)
        if error is not None:
            if error.code() == PARTITION_END and left:
                self._skip(number, offset, left, missing, found)
            elif error.code() != PARTITION_END:
                self._client.refuse(error)
            return
        if number not in self._places:
            return
        self._places[number] = offset + 1
        self._size += (len(message) - self._size) / 64
        if left is not None and offset in left:
            left.discard(offset)
            found[number, offset] = message
            if not left:
                del missing[number]
            return
        if left:
            # what was there has been deleted, or was a mark of a transaction
            self._skip(number, offset, left, missing, found)
        if not missing.get(number):
            ahead = self._ahead.setdefault(number, {})
            ahead[offset] = message
            if len(ahead) > KEPT:
                ahead.clear()

    @staticmethod
    def _skip(
        number: int,
        offset: int,
        left: set[int],
        missing: dict[int, set[int]],
        found: dict[tuple[int, int], Any],
    ) -> None:
        for lower in [o for o in left if o < offset]:
            left.discard(lower)
            found[number, lower] = None
        if not left:
            missing.pop(number, None)

    def _go_to(self, number: int, offset: int) -> None:
        place = self._places.get(number)
        if place is not None:
            ahead = offset - place
            if 0 <= ahead <= SKIP and ahead * self._size <= SKIP_BYTES:
                return
            self.consumer.incremental_unassign([TopicPartition(self._topic, number)])
        elif number not in self._met:
            # a consumer that has not heard of a topic waits a second before it looks
            self.ends(number)
        self._ahead.pop(number, None)
        self._places[number] = offset
        self.consumer.incremental_assign([TopicPartition(self._topic, number, offset)])

    def scan(self, number: int, first: int, end: int) -> Iterator[Any]:
        """Walk over the messages of a partition, from one offset to before another."""
        if first >= end:
            return
        self._go_to(number, first)
        until = time.monotonic() + max(self._client.reconnect, 1.0)
        while True:
            head = self.consumer.poll(0.2)
            messages = [head, *self.consumer.consume(BATCH, 0)] if head is not None else []
            if messages:
                until = time.monotonic() + max(self._client.reconnect, 1.0)
            elif time.monotonic() > until:
                raise self._client.gone("the tasks cannot be read")
            for message in messages:
                error, offset = message.error(), int(message.offset() or 0)
                if error is None:
                    self._places[number] = offset + 1
                    if first <= offset < end:
                        yield message
                elif error.code() != PARTITION_END:
                    self._client.refuse(error)
                    continue
                if offset >= end - (error is None):
                    self.rest()
                    return

    def close(self) -> None:
        """Let go of the connection."""
        self.consumer.close()
