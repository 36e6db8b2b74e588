"""A queue on a NATS server with JetStream: `nats://HOST/NAME`.

See `nats_store` for what is on the server. A task costs one message to put, one to lease and one to
acknowledge, all of them in batches that are under way at once. What is rare (attempts, delays,
failures, lapses) is in copies of the task, never in the way of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

from maniple.address import read_address
from maniple.errors import ManipleError, StorageError, UsageError
from maniple.persist import persist
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State, as_tasks
from maniple.queues.nats_admin import Admin
from maniple.queues.nats_holds import ACK, Holds
from maniple.queues.nats_intake import LONGEST_WAIT_SECONDS, Intake
from maniple.queues.nats_link import Link, LostError, Question
from maniple.queues.nats_log import Log
from maniple.queues.nats_login import login_of, name_of
from maniple.queues.nats_put import Put, batches
from maniple.queues.nats_store import Names, Piled, Store
from maniple.queues.nats_tasks import Codec, Item
from maniple.task import Task

PORT: Final = 4222
SILENCE_SECONDS: Final = 15.0
OPENING_SECONDS: Final = 5.0
STEADY_LOOKS: Final = 5
OPTIONS: Final = ("silence", "replicas", "decode", "creds", "token")
_Answer = TypeVar("_Answer")


class NatsQueue:
    """The queue `nats://USER:PASSWORD@HOST:PORT,HOST2:PORT2/NAME`, shared by many machines.

    `nats://TOKEN@HOST/NAME` logs in with a token. From the environment: `NATS_USER`,
    `NATS_PASSWORD`, `NATS_TOKEN`, `NATS_CREDS`, `NATS_CA`, `NATS_CERT`, `NATS_KEY`.

    Options of the URL:
        silence: seconds after which a dead minion's tasks come back (15); it holds from the
            queue's making on, whatever later URLs say.
        replicas: how many servers of a cluster keep the queue, when it is made (1).
        decode: `json` or `identity` (text): what the messages of other programs are.
        creds: a credentials file.
        token: a token.
        ca, cert, key: files for TLS.
        reconnect: seconds for which a call tries to get a lost connection back (60).

    Args:
        rest: the URL after the scheme.
        create: make the queue when there is none.
        decoder: as the option `decode`, and before it.

    Raises:
        UsageError: the URL is malformed.
        QueueError: the queue is missing or of another kind, or we are not let in.
        StorageError: no server answers.
    """

    guarantees = Guarantees(
        durable=True,
        shared=True,
        machines=True,
        redelivers=True,
        counts=True,
        finite=True,
        late_acks=False,
    )
    scheme: ClassVar[str] = "nats"
    idle = LONGEST_WAIT_SECONDS

    def __init__(self, rest: str, *, create: bool = True, decoder: str | None = None) -> None:
        address = read_address(self.scheme, rest, prefix="NATS", port=PORT, options=OPTIONS)
        name = name_of(address)
        self.url = f"{self.scheme}:{rest}"
        self._shown = address.shown if address.path else f"{address.shown}/{name}"
        self._reconnect = address.reconnect
        silence = address.number("silence", SILENCE_SECONDS, least=0.5)
        replicas = int(address.number("replicas", 1, least=1))
        kind = decoder or address.options.get("decode") or "identity"
        if kind not in {"identity", "json"}:
            raise UsageError(f"decode={kind} in {self._shown}: identity or json is needed")
        login = login_of(address, self._shown, tls=self.scheme.endswith("tls"))
        self._link = link = Link(login)
        names = Names(name)
        self._store = Store(link, names, self._shown, address.reconnect)
        self._codec = Codec(names, lambda: link.payload, as_json=kind == "json")
        self._log = Log(self._store)
        self._admin = Admin(self._store, self._codec, self._log)
        link.open(min(OPENING_SECONDS, address.reconnect))
        try:
            opening = min(OPENING_SECONDS, address.reconnect)
            self.quiet = self._call(
                lambda: self._open(create=create, silence=silence, replicas=replicas), opening
            )
        except BaseException:
            link.close()
            raise

    async def _open(self, *, create: bool, silence: float, replicas: int) -> float:
        silence = await self._store.open(create=create, silence=silence, replicas=replicas)
        link = self._link
        self._holds = Holds(link, silence)
        self._intake = Intake(link, self._store, self._codec, self._log, self._holds, self._admin)
        await self._intake.open()
        link.start(self._holds.keep())
        return silence

    def _call(
        self, work: Callable[[], Coroutine[Any, Any, _Answer]], seconds: float | None = None
    ) -> _Answer:
        """Do something in the link's loop, again and again while the connection is lost."""
        return persist(
            lambda: self._link.run(work()),
            lost=(LostError,),
            again=lambda: self._link.run(self._link.connected()),
            seconds=self._reconnect if seconds is None else seconds,
            what=self._shown,
        )

    # Putting

    def put(self, tasks: Iterable[Any]) -> int:
        """Add tasks; those whose id is known already are left out. Return how many were new."""
        added, newest = 0, -1
        for batch in batches(as_tasks(tasks)):
            if newest < 0:
                newest = self._call(self._last)
            new, newest = self._call(Put(self._store, self._codec, batch, newest).store)
            added += new
        return added

    async def _last(self) -> int:
        return (await self._store.state(self._store.names.stream, consumer=False)).last

    # Leasing

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks: returned ones first, then new ones in order."""
        until = time.monotonic() + wait
        return self._call(lambda: self._intake.lease(limit, ttl, until))

    # Settling

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""

        async def extend() -> list[Lease]:
            return self._holds.extend(leases, ttl)

        return self._call(extend)

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        return self._call(lambda: self._ack(leases)) if leases else []

    async def _ack(self, leases: Sequence[Lease]) -> list[Lease]:
        ours, lost = self._holds.sort(leases)
        if ours:
            notes = [self._log.note([hold.item.task.number for _, hold in ours])]
            acks = [Question(hold.reply, ACK) for _, hold in ours]
            if any(hold.again for _, hold in ours):
                # the note comes before the copy goes: see `_over`
                await self._store.publish(notes)
                await self._link.ask(acks)
            else:
                answers = await self._link.ask(notes + acks)
                self._store.stored(answers[0])
            lost += self._holds.settle(ours)
        return lost

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        if leases:
            self._call(lambda: self._nack(leases, delay, attempted))

    async def _nack(self, leases: Sequence[Lease], delay: float, attempted: bool) -> None:  # noqa: FBT001
        ours, _ = self._holds.sort(leases)
        if not ours:
            return
        kind = "later" if delay > 0 else "again"
        copies = []
        for _, hold in ours:
            task = hold.item.task
            task = Task(task.id, task.data, task.attempt + attempted, task.number)
            item = Item(task, hold.lapses, hold.item.pieces)
            copies.append(self._codec.copy(kind, item, hold.reply, delay))
        # the copies are safe before the tasks are let go
        await self._store.publish(copies)
        await self._intake.let_go([hold for _, hold in ours])
        self._holds.settle(ours)
        self._intake.expect_returned()
        if delay > 0:
            await self._intake.tidy()

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        if failures:
            self._call(lambda: self._fail(failures))

    async def _fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        reasons = {lease.token: failure for lease, failure in failures}
        ours, _ = self._holds.sort(lease for lease, _ in failures)
        await self._intake.set_aside([(hold, reasons[hold.reply]) for _, hold in ours])
        self._holds.settle(ours)

    # Looking

    def stats(self) -> QueueStats:
        """Count the tasks."""
        return self._call(self._stats)

    async def _stats(self) -> QueueStats:
        before: tuple[Piled, ...] | None = None
        for _ in range(STEADY_LOOKS):
            main, again, later, failed = piles = await self._admin.piles()
            if later.messages and self._intake.tidy_due:
                await self._intake.tidy()
                continue
            if main.pending or main.held or again.messages or later.messages:
                break
            # a task on its way from one stream to another is in neither for one who looks at them
            # one after the other: nothing may have come between two looks
            if before is not None and [p.last for p in before[1:3]] == [again.last, later.last]:
                break
            before = piles
        left = main.pending + main.held + again.messages + later.messages + failed.messages
        return QueueStats(
            waiting=main.pending + again.pending,
            delayed=later.messages,
            leased=main.held + again.held,
            done=max(0, main.messages - left),
            failed=failed.messages,
            oldest=await self._admin.oldest(main),
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, of one state or all: failed ones and returned ones first."""
        walk = self._admin.records(state)

        async def page() -> list[Record] | None:
            return await anext(walk, None)

        try:
            while (records := self._link.run(page())) is not None:
                yield from records
        except LostError as error:
            raise StorageError(f"no connection to {self._shown}: {error}") from None
        finally:
            with suppress(ManipleError, LostError):
                self._link.run(walk.aclose())

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        return self._call(lambda: self._admin.find(key))

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        self._intake.expect_returned()
        back: set[int] = set()
        self._call(lambda: self._admin.retry(ids, back))
        return len(back)

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        return self._call(lambda: self._admin.purge(state))

    def close(self) -> None:
        """Give back what is held and end the connection."""
        with suppress(ManipleError, LostError):
            self._link.run(self._holds.release())
        self._link.close()


class NatsTlsQueue(NatsQueue):
    """The queue `nats+tls://HOST/NAME`: nothing is said to a server that does not speak TLS."""

    scheme: ClassVar[str] = "nats+tls"
