"""A queue in Apache Pulsar: `pulsar://HOST:6650/[TENANT/NAMESPACE/]TOPIC`."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Final

import msgspec

from maniple.address import read_address
from maniple.errors import NotSupportedError, ParamError, UsageError
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State, as_tasks
from maniple.queues.pulsar_failed import FailedTopic
from maniple.queues.pulsar_session import Place, Session
from maniple.queues.pulsar_tasks import (
    Unreadable,
    copy_of,
    failed_of,
    letter_of,
    read_task,
    stranger,
)
from maniple.queues.pulsar_topics import Consumer, Letter, Post, ask_backlog, backlog_of
from maniple.queues.pulsar_wire import Message
from maniple.task import Task

OPEN_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 1.0
FEW: Final = 8
_OPTIONS: Final = ("subscription", "decode", "admin", "listener", "direct")
_DECODERS: Final = ("identity", "json")


class _Busy(QueueStats, frozen=True):
    """Numbers that are not known, but are not nothing."""

    @property
    def drained(self) -> bool:
        """Something waits, is delayed or is leased."""
        return False


class PulsarQueue:
    """Tasks as messages of a topic, leased through a shared subscription.

    `pulsar://:TOKEN@HOST:PORT,HOST:PORT/TENANT/NAMESPACE/TOPIC?OPTION=VALUE`. The tenant and the
    namespace may be left out (`public/default`). Options:

    - `subscription`: its name (`maniple`); each subscription runs all tasks of the topic.
    - `decode`: `identity` (other programs' messages are text) or `json`.
    - `admin`: `http://HOST:8080`, where the numbers of waiting, delayed and leased tasks are read.
    - `listener`: name of the brokers' advertised listener to go through.
    - `direct=yes`: stay with this host whatever address the broker advertises (one broker behind a
      tunnel or a mapped port).
    - `ca`, `cert`, `key`, `reconnect`: as everywhere.

    A password without a user is a token (also `PULSAR_TOKEN` or `PULSAR_PASSWORD`), with a user it
    is basic authentication; a certificate alone is TLS authentication.

    Failed tasks are in the topic `TOPIC.failed`, under a subscription of the same name.

    Args:
        rest: the URL after the scheme's colon.
        create: make the topic when it is missing.
        decoder: as `decode`, which it overrides.

    Raises:
        UsageError: the URL is wrong.
        QueueError: the topic is missing, or not permitted.
        StorageError: no broker is there.
    """

    scheme: ClassVar[str] = "pulsar"
    port: ClassVar[int] = 6650
    idle = IDLE_SECONDS
    quiet = QUIET_SECONDS
    guarantees = Guarantees(
        durable=True,
        shared=True,
        machines=True,
        redelivers=True,
        counts=False,
        finite=True,
        unique=False,
        ordered=True,
        keeps_place=False,
        numbered=False,
        lists=False,
        late_acks=False,
        counts_lapses=False,
    )

    def __init__(self, rest: str, *, create: bool = True, decoder: str | None = None) -> None:
        self.url = f"{self.scheme}:{rest}"
        address = read_address(self.scheme, rest, prefix="PULSAR", port=self.port, options=_OPTIONS)
        options = address.options
        decoder = decoder or options.get("decode") or "identity"
        if decoder not in _DECODERS:
            raise UsageError(f"decode={decoder} in {address.shown}: identity or json is needed")
        self._json = decoder == "json"
        self._subscription = options.get("subscription") or "maniple"
        self._last_lease = 0
        self._session = session = Session(address, self.url, self._subscription, create=create)
        self._inbox = session.inbox
        self._failed = FailedTopic(session.client, f"{session.topic}.failed", self._subscription)
        try:
            self._admin = session.admin()
            session.open(OPEN_SECONDS)
        except BaseException:
            session.close()
            raise
        if len(session.topics) > 1:
            self.guarantees = msgspec.structs.replace(self.guarantees, ordered=False)

    # Putting and leasing

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; return how many. A task that is put twice runs twice."""
        count = 0

        def letters() -> Iterator[Letter]:
            nonlocal count
            for task in as_tasks(tasks):
                letter = letter_of(task)
                if letter.size > self._session.most:
                    raise ParamError(
                        f"a param of {len(letter.payload)} bytes is larger than the broker takes:"
                        f" {self._session.most} bytes, its maxMessageSize"
                    )
                count += 1
                yield letter

        self._session.publish(self._session.topic, letters())
        return count

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one."""
        if limit < 1:
            return []
        until = time.monotonic() + wait
        while True:
            messages = self._session.do(lambda: self._inbox.collect(limit, until))
            leases = self._read(messages, ttl)
            if leases or not messages:
                return leases

    def _read(self, messages: list[tuple[Consumer, Message]], ttl: float) -> list[Lease]:
        """Make leases of messages; what is none of our tasks yet is made one, or set aside."""
        leases: list[Lease] = []
        done: dict[str, list[Place]] = defaultdict(list)
        copies: list[Letter] = []
        bad: list[Unreadable] = []
        settled: list[tuple[int, int, int]] = []
        deadline = time.monotonic() + ttl
        for consumer, message in messages:
            place = (message.ledger, message.entry)
            parts = self._parts(message)
            if len(parts) == 1 and isinstance(parts[0], Task):
                self._last_lease += 1
                token = (consumer.serial, *place, self._last_lease)
                leases.append(Lease(parts[0], token))
                continue
            # the messages of a container are acknowledged together: each becomes a message
            for part in parts:
                if isinstance(part, Task):
                    copies.append(copy_of(part, self._subscription, part.attempt))
                else:
                    bad.append(part)
            done[consumer.topic].append(place)
            settled.append((consumer.serial, *place))
        held = self._inbox.hold(leases, deadline)
        if copies:
            self._session.publish(self._session.topic, copies)
        if bad:
            self._set_aside([(part.task, part.failure) for part in bad])
        self._session.settle(done)
        self._inbox.settled(settled)
        return held

    def _parts(self, message: Message) -> list[Task | Unreadable]:
        plain = [(0, message.properties, message.payload)]
        try:
            found = list(message.parts()) if message.batched and not message.trouble else plain
        except (IndexError, struct.error):
            message.trouble, found = "its container is damaged", plain
        return [
            read_task(message, index, properties, payload, as_json=self._json)
            for index, properties, payload in found
            if not stranger(properties, self._subscription)
        ]

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        return self._inbox.extend(leases, ttl)

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more. The broker has confirmed it."""
        ours, lost = self._inbox.release(leases)
        self._session.settle(_places(ours))
        return lost

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        ours, _ = self._inbox.release(leases)
        if not ours:
            return
        if not attempted and delay <= 0 and len(ours) <= FEW:
            self._inbox.give_back(ours)
            return
        # copies and no redelivery: busy brokers hand out twice what is redelivered in numbers
        copies = [
            copy_of(lease.task, self._subscription, lease.task.attempt + attempted, delay)
            for lease, _ in ours
        ]
        self._session.publish(self._session.topic, copies)
        self._session.settle(_places(ours))

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        ours, _ = self._inbox.release([lease for lease, _ in failures])
        if not ours:
            return
        reasons = {lease.token: failure for lease, failure in failures}
        self._set_aside([(lease.task, reasons[lease.token]) for lease, _ in ours])
        self._session.settle(_places(ours))

    def _set_aside(self, failures: list[tuple[Task, Failure]]) -> None:
        letters = [
            failed_of(task, failure, self._subscription, self._session.most)
            for task, failure in failures
        ]
        self._session.publish(self._failed.topic, letters)

    # Looking

    def stats(self) -> QueueStats:
        """Count the tasks, as far as the broker tells; `drained` is always right."""
        left = self._session.do(self._backlog)
        failed = None
        if self._admin is not None:
            failed = self._sum("msgBacklog", self._failed.topics)
            leased = min(left, self._sum("unackedMessages", self._session.topics))
            delayed = min(left - leased, self._sum("msgDelayed", self._session.topics))
            return QueueStats(left - leased - delayed, delayed, leased, None, failed)
        if not left:
            return QueueStats(0, 0, 0, None, None)
        return _Busy(None, None, None, None, None)

    def _backlog(self) -> int:
        answers = [
            ask_backlog(self._session.client, consumer) for consumer in self._session.consumers
        ]
        return sum(backlog_of(self._session.client.answer(answer)) for answer in answers)

    def _sum(self, what: str, topics: Iterable[str]) -> int:
        assert self._admin is not None  # noqa: S101 - only called when there is one
        admin = self._admin
        return sum(admin.subscription(topic, self._subscription).get(what, 0) for topic in topics)

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the failed tasks.

        Raises:
            NotSupportedError: others were asked for.
        """
        if state is not State.FAILED:
            raise NotSupportedError(
                "Pulsar does not list the tasks that wait, are leased or are done: only failed ones"
            )
        return iter(self._session.do(self._failed.records))

    def find(self, key: str) -> Record | None:
        """Look a failed task up by its id, or enough of its first digits."""
        if not key:
            return None
        found = [r for r in self._session.do(self._failed.records) if r.task.id.startswith(key)]
        ids = {record.task.id for record in found}
        return found[-1] if len(ids) == 1 else None

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        return self._session.do(lambda: self._failed.remove(ids, self._put_back))

    def _put_back(self, tasks: list[Task]) -> None:
        session = self._session
        post = Post(copy_of(task, self._subscription, 1) for task in tasks)
        post.run(session.client, session.posting(session.topic))

    def purge(self, state: State | None = None) -> int:
        """Forget the failed tasks; return how many.

        Raises:
            NotSupportedError: others were asked for.
        """
        if state is not State.FAILED:
            raise NotSupportedError(
                "Maniple removes only failed tasks from Pulsar: clear the subscription's backlog"
                " with Pulsar's own tools"
            )
        return self._session.do(lambda: self._failed.remove(None, lambda _: None))

    def close(self) -> None:
        """Close the connections: what is held goes to others at once."""
        self._session.close()
        if self._admin is not None:
            self._admin.close()


class PulsarSslQueue(PulsarQueue):
    """The same over TLS: `pulsar+ssl://HOST:6651/TOPIC?ca=FILE`."""

    scheme: ClassVar[str] = "pulsar+ssl"
    port: ClassVar[int] = 6651


def _places(ours: list[tuple[Lease, Consumer]]) -> dict[str, list[Place]]:
    places: dict[str, list[Place]] = defaultdict(list)
    for lease, consumer in ours:
        places[consumer.topic].append(lease.token[1:3])
    return places
