"""A topic of Apache Kafka as a queue: `kafka://HOST/NAME`.

A topic is a log: nobody takes anything out of it, and a group of consumers can only say up to where
it has come. So the queue NAME is three topics: NAME holds the tasks, NAME.journal says who took,
renewed and settled which of them, and NAME.failed keeps the reasons of failures. Everyone reads the
journal, and who comes first in it gets the task (see `kafka_state`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Literal

from msgspec.structs import replace

from maniple import owner
from maniple.address import read_address
from maniple.errors import ManipleError, QueueError, UsageError
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State, as_tasks
from maniple.queues.kafka_admin import Admin
from maniple.queues.kafka_client import MOST_BYTES, Client
from maniple.queues.kafka_journal import Journal
from maniple.queues.kafka_messages import UndecodableError, read_task
from maniple.queues.kafka_ops import Token, pack
from maniple.queues.kafka_part import NEW, Claim
from maniple.queues.kafka_put import Filler
from maniple.queues.kafka_reader import Reader
from maniple.task import Task

PORT: Final = 9092
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
FOREIGN_SECONDS: Final = 1.5
DEATH_SECONDS: Final = 0.2
MOMENT: Final = 0.02
GOODBYE_SECONDS: Final = 2.0
_FOREVER: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


class KafkaQueue:
    """The queue `kafka://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME`.

    Options of the URL:
        partitions: of a topic that is made (1). Many brokers can share the load of more, but tasks
            then have no order and no numbers. Any number of minions can work on one partition.
        replicas: of topics that are made (the cluster's default).
        mechanism: of SASL: PLAIN (the default), SCRAM-SHA-256, SCRAM-SHA-512.
        decode: `json`: messages of other programs are JSON; they are text otherwise.
        ca, cert, key, reconnect: see `maniple.address`.

    Args:
        rest: the URL after `kafka:`.
        create: make the topics when they do not exist.
        decoder: `json` or `identity`, instead of the option `decode`.

    Raises:
        UsageError: the URL is malformed.
        QueueError: nobody answers, we are not let in, or there is no such topic.
    """

    scheme: ClassVar[str] = "kafka"
    guarantees = Guarantees(
        durable=True, shared=True, machines=True, redelivers=True, counts=True, finite=True
    )
    idle = 1.0
    quiet = 1.0

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        decoder: Literal["identity", "json"] | None = None,
    ) -> None:
        self.url = f"{self.scheme}:{rest}"
        address = read_address(
            self.scheme,
            rest,
            prefix="KAFKA",
            port=PORT,
            options=("partitions", "replicas", "mechanism", "decode"),
        )
        if len(address.path) > 1:
            raise UsageError(f"{address.shown}: one name is needed after the host")
        self._name = address.path[0] if address.path else "maniple"
        mechanism = address.options.get("mechanism", MECHANISMS[0]).upper()
        if mechanism not in MECHANISMS:
            raise UsageError(
                f"mechanism={mechanism} in {address.shown}: there are {', '.join(MECHANISMS)}"
            )
        decode = decoder or address.options.get("decode", "identity")
        if decode not in {"identity", "json"}:
            raise UsageError(f"decode={decode} in {address.shown}: json or identity is needed")
        self._decode = decode == "json"
        self._shown = address.shown
        count = int(address.number("partitions", 1, least=1))
        self._client = Client(address, mechanism, tls=self.scheme.endswith("+ssl"))
        self._reader = Reader(self._client, self._name)
        try:
            partitions = self._topics(count, create=create)
            self._journal = Journal(self._client, f"{self._name}.journal", self._reader)
        except BaseException:
            self._reader.close()
            raise
        self._filler = Filler(self._client, self._name, self._journal, self._reader, partitions)
        alone = partitions == 1
        if not alone:
            self.guarantees = replace(
                self.guarantees, ordered=False, keeps_place=False, numbered=False
            )
        self._admin = Admin(
            self._client,
            self._name,
            self._journal,
            self._filler.ends,
            decode=self._decode,
            numbered=alone,
        )
        self._looked = self._mourned = 0.0
        self._closed = False

    def _topics(self, count: int, *, create: bool) -> int:
        """See to it that the topics are there; return how many partitions of tasks there are."""
        consumer = self._reader.consumer
        partitions = self._client.partitions(consumer, self._name)
        if not partitions and not create:
            raise QueueError(
                f"no queue {self._shown}: fill it first: maniple sweep -q {self._shown} ..."
            )
        large = {"max.message.bytes": str(MOST_BYTES), **_FOREVER}
        wanted = {
            f"{self._name}.failed": (1, large),
            f"{self._name}.journal": (
                1,
                {**large, "message.timestamp.type": "LogAppendTime", "segment.bytes": "67108864"},
            ),
        }
        # other programs' topics become queues as well: a journal is all that is needed
        missing = {
            name: made
            for name, made in wanted.items()
            if not partitions or not self._client.partitions(consumer, name)
        }
        if not partitions:
            missing[self._name] = (count, large)
        if missing:
            self._client.create(consumer, missing)
        return partitions or self._client.partitions(consumer, self._name)

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is in the topic already are left out."""
        return self._filler.put(as_tasks(tasks))

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one."""
        until = time.monotonic() + wait
        journal = self._journal
        journal.catch_up()
        fresh = wait <= 0
        while True:
            ends = None
            # who waits hears what is written; who does not must ask
            if not journal.tasks.waiting() and (fresh or self._is_time_to_look()):
                ends = self._look()
            fresh = False
            if journal.tasks.waiting() or ends or self._is_overdue():
                if limit <= 0:
                    journal.append("tick", ends=ends or [])
                    return []
                leases = self._take(limit, ttl, ends or [])
                if leases:
                    return leases
            left = until - time.monotonic()
            if limit <= 0 or (left <= 0 and not journal.tasks.waiting()):
                return []
            self._reader.rest()
            journal.wait(min(max(left, 0.0), self._until_something()))

    def _is_time_to_look(self) -> bool:
        return time.monotonic() - self._looked >= FOREIGN_SECONDS

    def _look(self) -> list[tuple[int, int, int]] | None:
        """Read what others wrote; return where the tasks end, if the journal does not know it."""
        self._reader.rest()
        self._journal.sync()
        self._mourn()
        ends = self._filler.ends()
        self._looked = time.monotonic()
        parts = self._journal.tasks.parts
        known = all(number in parts and parts[number].end >= end for number, _, end in ends)
        return None if known else ends

    def _is_overdue(self) -> bool:
        self._mourn()
        due = self._journal.tasks.due()
        return due is not None and due <= self._journal.now()

    def _until_something(self) -> float:
        """Tell how long nothing happens by itself."""
        due = self._journal.tasks.due()
        pauses = [FOREIGN_SECONDS]
        if self._journal.tasks.claims:
            pauses.append(DEATH_SECONDS)
        if due is not None:
            # the estimate of the broker's time may be a little early
            pauses.append(max(due - self._journal.now(), MOMENT))
        return min(pauses)

    def _mourn(self) -> None:
        """Take the tasks of those who have died on this machine away from them."""
        now = time.monotonic()
        if now - self._mourned < DEATH_SECONDS:
            return
        self._mourned = now
        tasks = self._journal.tasks
        dead = [m for m in sorted(tasks.holders()) if owner.is_dead(tasks.members[m].who)]
        if dead:
            self._journal.append("dead", members=dead)

    def _take(self, limit: int, ttl: float, ends: list[tuple[int, int, int]]) -> list[Lease]:
        claim = self._journal.append("lease", limit=limit, ttl=ttl, ends=ends)
        if not isinstance(claim, Claim):
            return []
        try:
            return self._fetch(claim)
        except BaseException:
            self._journal.disown(claim)
            raise

    def _fetch(self, claim: Claim) -> list[Lease]:
        """Read the tasks of a claim."""
        parts = self._journal.tasks.parts
        wanted = {number: sorted(offsets) for number, offsets in claim.held.items()}
        # later records may change this before the tasks are read
        attempts = {
            (number, offset): parts[number].notes.get(offset, NEW).attempt
            for number, offsets in wanted.items()
            for offset in (offsets if parts[number].notes else ())
        }
        messages = self._reader.read(wanted)
        leases: list[Lease] = []
        gone: list[Token] = []
        bad: list[tuple[Lease, Failure]] = []
        numbered = self.guarantees.numbered
        for number, offsets in wanted.items():
            for offset in offsets:
                token = Token(claim.id, number, offset)
                message = messages[number, offset]
                if message is None:
                    gone.append(token)
                    continue
                attempt = attempts.get((number, offset), 1)
                try:
                    task = read_task(
                        message, decode=self._decode, attempt=attempt, numbered=numbered
                    )
                except UndecodableError as error:
                    failure = Failure("undecodable", str(error), at=time.time())
                    bad.append((Lease(error.task, token), failure))
                else:
                    leases.append(Lease(task, token))
        if gone:
            self._journal.append("gone", tasks=pack(gone))
        if bad:
            self.fail(bad)
        return leases

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        return self._settle("extend", leases, ttl=ttl)

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        return self._settle("ack", leases)

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        self._settle("nack", leases, delay=delay, attempted=attempted)

    def _settle(self, do: str, leases: Sequence[Lease], **fields: Any) -> list[Lease]:
        if not leases:
            return []
        tasks = pack(lease.token for lease in leases)
        lost = set(self._journal.append(do, tasks=tasks, **fields))
        return [lease for lease in leases if lease.token in lost] if lost else []

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        if failures:
            places = self._admin.write(failures)
            tasks = pack(places)
            self._journal.append("fail", tasks=tasks, places=[places[t] for t in sorted(places)])

    def stats(self) -> QueueStats:
        """Count the tasks."""
        self._bring_up_to_date()
        parts = self._journal.tasks.parts.values()
        since = [at for at in (part.oldest() for part in parts) if at is not None]
        return QueueStats(
            waiting=sum(part.waiting for part in parts),
            delayed=sum(len(part.later) for part in parts),
            leased=sum(len(part.held) for part in parts),
            done=sum(part.done for part in parts),
            failed=sum(len(part.failed) for part in parts),
            oldest=max(0.0, self._journal.now() - min(since)) if since else None,
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all, in the order they were put."""
        self._bring_up_to_date()
        yield from self._admin.records(state)

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        self._bring_up_to_date()
        return self._admin.find(key)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        self._bring_up_to_date()
        return self._admin.retry(ids)

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        self._bring_up_to_date()
        return self._admin.purge(state)

    def _bring_up_to_date(self) -> None:
        ends = self._look()
        if ends or self._is_overdue():
            self._journal.append("tick", ends=ends or [])

    def close(self) -> None:
        """Give back what is held, and let go of the connections."""
        if self._closed:
            return
        self._closed = True
        journal = self._journal
        try:
            if journal.member in journal.tasks.members and not journal.broken:
                journal.append("bye", seconds=GOODBYE_SECONDS)
        except ManipleError:
            # the leases lapse then
            pass
        finally:
            journal.close()
            self._admin.close()
            self._reader.close()
            self._client.close()


class KafkaSslQueue(KafkaQueue):
    """The same over TLS: `kafka+ssl://HOST:PORT/NAME?ca=FILE`."""

    scheme = "kafka+ssl"
