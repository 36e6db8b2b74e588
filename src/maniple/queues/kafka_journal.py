"""The journal of a Kafka queue: a topic of one partition, to which everyone writes what they do.

A record counts at the place that the broker gave it. Its author reads it back like everyone else,
and only then knows what came of it. The time of everything is the broker's.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, TopicPartition

from maniple import owner
from maniple.errors import QueueError
from maniple.queues import kafka_ops as ops
from maniple.queues.kafka_client import NO_OFFSET, REFUSED, Client, log
from maniple.queues.kafka_ops import Op
from maniple.queues.kafka_part import Claim
from maniple.queues.kafka_reader import BATCH, Reader
from maniple.queues.kafka_snapshot import load, save
from maniple.queues.kafka_state import REPEATED, Member, Tasks

SNAPSHOT_EVERY: Final = 2000
SNAPSHOT_BYTES: Final = 200
"""A large snapshot is written less often: after as many records as have these bytes each."""
LOOK_SECONDS: Final = 0.05
DEAF_SECONDS: Final = 8.0
"""A client that hears nothing for so long has lost its way, after a restart of the broker, say."""
SETTLING: Final = frozenset({"ack", "extend", "nack", "fail", "gone"})
_OUT_OF_RANGE: Final = frozenset({NO_OFFSET, KafkaError.OFFSET_OUT_OF_RANGE})


class Journal:
    """Reads the journal and writes to it.

    Args:
        client: makes the connections.
        topic: the journal's.
        reader: asks where the journal ends.

    Attributes:
        tasks: what the journal comes to, as far as it was read.
        member: our name in it.
        producer: also for other topics.
    """

    def __init__(self, client: Client, topic: str, reader: Reader) -> None:
        self.tasks = Tasks()
        self.member = os.urandom(8).hex()
        self.broken = False
        self._client = client
        self._topic = topic
        self._reader = reader
        self._seq = 0
        self._void: list[int] = []
        self._every = SNAPSHOT_EVERY
        # what the snapshots cover: the one before the last, and the last
        self._covered = (-1, -1)
        self._trim: int | None = None
        self._lead = time.time() - time.monotonic()
        self._arrived: deque[Any] = deque()
        self._early: list[tuple[int, Op, float]] | None = None
        self._next = 0
        # our last record that was applied, and what came of it
        self._outcome: tuple[int, Any] = (0, None)
        self.producer = client.producer()
        self._consumer = self._make_consumer()
        self._load()

    def _make_consumer(self) -> Any:
        return self._client.consumer(
            fetch_wait_max_ms=3000, auto_offset_reset="error", queued_max_messages_kbytes=16384
        )

    def _renew(self) -> None:
        """Put new clients in the place of those that hear nothing."""
        log.info("new connections to %s: nothing was heard", self._client.shown)
        self.producer.purge()
        self.producer.close()
        self.producer = self._client.producer()
        self._consumer.close()
        self._consumer = self._make_consumer()
        self._arrived.clear()
        self._consumer.assign([TopicPartition(self._topic, 0, self._next)])

    def _load(self) -> None:
        """Read the journal from where it starts now."""
        low, high = self._reader.ends(topic=self._topic)
        self._arrived.clear()
        self.tasks = Tasks()
        self._next = low
        # in a journal whose start was dropped, a snapshot must come before anything means anything
        self._early = [] if low else None
        place = TopicPartition(self._topic, 0, low)
        # the consumer must have heard of the topic, or it waits a second before it looks
        self._client.persist(
            lambda: self._consumer.get_watermark_offsets(place, timeout=5, cached=False)
        )
        self._consumer.assign([place])
        self._read_to(high)
        if self._early is not None:
            raise QueueError(
                f"the journal of {self._client.shown} is damaged: its start is gone, "
                "and there is no snapshot"
            )

    def _read_to(self, high: int) -> None:
        now = time.monotonic()
        until, deaf = now + max(self._client.reconnect, 1.0), now + DEAF_SECONDS
        while self._next < high:
            if self.wait(0.2):
                continue
            now = time.monotonic()
            if now > until:
                raise self._client.gone()
            if now > deaf:
                deaf = now + DEAF_SECONDS
                self._renew()

    def now(self) -> float:
        """Estimate the broker's time."""
        return time.monotonic() + self._lead

    def sync(self) -> None:
        """Read up to where the journal ends now: nothing that was written before is missed."""
        self._read_to(self._reader.ends(topic=self._topic)[1])

    def wait(self, seconds: float) -> bool:
        """Wait for somebody to write; apply all that has come. Tell whether there was anything."""
        message = self._message(seconds)
        if message is None:
            return False
        while message is not None:
            self._apply(message)
            message = self._message(0) if self._arrived else None
        return True

    def catch_up(self) -> None:
        """Apply what has come already."""
        while self.wait(0):
            pass

    def _message(self, seconds: float) -> Any:
        if not self._arrived:
            message = self._consumer.poll(seconds)
            if message is None:
                return None
            self._arrived.append(message)
            self._arrived.extend(self._consumer.consume(BATCH, 0))
        return self._arrived.popleft()

    def _apply(self, message: Any) -> None:
        """Apply a message."""
        error, at = message.error(), message.offset()
        if error is not None:
            if error.code() in _OUT_OF_RANGE:
                # we slept while others went on: what we have missed has been dropped
                self._load()
            else:
                self._client.refuse(error)
            return
        if at < self._next:
            return
        kind, stamp = message.timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            raise QueueError(
                f"topic {self._topic} of {self._client.shown} is no journal of Maniple: it needs "
                "message.timestamp.type=LogAppendTime"
            )
        self._next = at + 1
        try:
            op = ops.decode(message.value() or b"")
        except msgspec.DecodeError:
            log.warning("record %d of topic %s is not one of Maniple", at, self._topic)
            return
        if op.v > ops.VERSION:
            raise QueueError(f"{self._client.shown} is used by a newer version of Maniple")
        now = stamp / 1000
        if op.do == "snapshot":
            self._snapshot_seen(op, len(message))
            return
        if self._early is not None:
            self._early.append((at, op, now))
            return
        self._count(op, at, now)
        if op.member == self.member:
            self._lead = now - time.monotonic()
            if (at - self._covered[1]) % self._every == 0:
                self._write_snapshot(at)

    def _count(self, op: Op, at: int, now: float) -> None:
        result = self.tasks.apply(op, at, now)
        if op.member == self.member and result is not REPEATED:
            self._outcome = (op.seq, result)

    def _snapshot_seen(self, op: Op, size: int) -> None:
        if self._early is not None:
            self.tasks = load(op.snapshot)
            early, self._early = self._early, None
            for at, former, now in early:
                if at > op.covered:
                    self._count(former, at, now)
        if op.covered > self._covered[1]:
            self._covered = (self._covered[1], op.covered)
            self._every = max(SNAPSHOT_EVERY, size // SNAPSHOT_BYTES)

    def _write_snapshot(self, at: int) -> None:
        op = Op(member=self.member, seq=0, do="snapshot", snapshot=save(self.tasks), covered=at)
        # who reads slowly finds everything since the last snapshot; only what was before may go
        before = self._covered[1]

        def written(error: KafkaError | None, _: Any) -> None:
            if error is None and before >= 0:
                self._trim = before + 1

        try:
            self.producer.produce(self._topic, ops.encode(op), partition=0, on_delivery=written)
        except (BufferError, KafkaException) as error:
            # too large, most likely: the journal is read from further back then
            log.info("no snapshot of %s: %s", self._topic, error)

    def append(self, do: str, seconds: float | None = None, **fields: Any) -> Any:
        """Write a record, read it back, and return what came of it.

        Raises:
            StorageError: the cluster stayed away; the record may or may not have been written.
            QueueError: not permitted.
        """
        patience = max(self._client.reconnect, 1.0) if seconds is None else seconds
        now = time.monotonic()
        until, deaf = now + patience, now + DEAF_SECONDS
        self._seq += 1
        seq = self._seq
        who = "" if self.member in self.tasks.members else owner.identity()
        op = Op(member=self.member, seq=seq, do=do, who=who, void=self._void, **fields)
        failed: list[KafkaError] = []
        if do == "lease":
            # until we know better: what it took and nobody heard of must go back
            self._void = [*self._void, seq]
        self.broken = True
        self.send(self._topic, failed, value=ops.encode(op), partition=0)
        self.producer.poll(0)
        while True:
            message = self._message(LOOK_SECONDS)
            if message is None:
                self.producer.poll(0)
                if failed:
                    raise self._failure(failed[0])
                now = time.monotonic()
                if now > until:
                    raise self._client.gone()
                if now > deaf:
                    deaf = now + DEAF_SECONDS
                    self._renew()
                    # what the former producer says when it is ended is no answer
                    failed = []
                    # if it was written already, it counts once
                    self.send(self._topic, failed, value=ops.encode(op), partition=0)
                continue
            self._apply(message)
            member = self.tasks.members.get(self.member)
            if member is not None and member.seq >= seq:
                self.broken = False
                self._void = []
                self._trim_now()
                if self._outcome[0] == seq:
                    return self._outcome[1]
                return self._unheard(do, member)

    def disown(self, claim: Claim) -> None:
        """Give a claim back with the next record: its tasks could not be read."""
        self._void = [*self._void, claim.seq]

    def _failure(self, error: KafkaError) -> Exception:
        if error.fatal():
            # it knows no more what was written; a new one starts afresh
            self.producer = self._client.producer()
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return QueueError(f"a task is larger than {self._client.shown} takes")
        if error.code() in REFUSED:
            return QueueError(f"{self._client.shown}: {REFUSED[error.code()]}")
        return self._client.gone(error.str())

    def _unheard(self, do: str, member: Member) -> Any:
        """Tell what came of our last record when it is known from a snapshot only."""
        if do == "lease":
            claims = self.tasks.claims.values()
            return next((c for c in claims if (c.member, c.seq) == (self.member, member.seq)), None)
        return list(ops.unpack(member.lost)) if do in SETTLING else member.count

    def _trim_now(self) -> None:
        if self._trim is not None:
            first, self._trim = self._trim, None
            self._client.delete_before(self._topic, {0: first}, wait=False)

    def send(
        self,
        topic: str,
        errors: list[KafkaError],
        heard: Callable[[int], None] | None = None,
        **message: Any,
    ) -> None:
        """Send a message; `flush` waits for it.

        Args:
            topic: where it goes.
            errors: takes what goes wrong later.
            heard: is told the offset of the message.
            message: its value, key, headers, partition.

        Raises:
            QueueError: it is too large.
            StorageError: the cluster stays away.
        """

        def told(error: KafkaError | None, written: Any) -> None:
            if error is not None:
                errors.append(error)
            elif heard is not None:
                heard(written.offset())

        while True:
            try:
                self.producer.produce(topic, on_delivery=told, **message)
            except BufferError:
                if errors:
                    raise self._failure(errors[0]) from None
                self.producer.poll(LOOK_SECONDS)
            except KafkaException as error:
                raise self._failure(error.args[0]) from None
            else:
                return

    def flush(self, errors: list[KafkaError]) -> None:
        """Wait until all that was produced is written, or has failed.

        Raises:
            StorageError: the cluster stayed away.
            QueueError: a message is too large, or not permitted.
        """
        until = time.monotonic() + max(self._client.reconnect, 1.0) + 5.0
        while self.producer.flush(0.5):
            if time.monotonic() > until:
                raise self._client.gone()
        if errors:
            raise self._failure(errors[0])

    def close(self) -> None:
        """Let go of the connections. What is on its way is given a moment."""
        if not self.broken:
            self.producer.flush(1.0)
        self.producer.purge()
        self.producer.close()
        self._consumer.close()
