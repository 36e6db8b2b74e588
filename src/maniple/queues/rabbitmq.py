"""A queue on RabbitMQ: `amqp://user:password@host:5672/vhost/NAME`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, TypeVar

from maniple.address import read_address
from maniple.errors import NotSupportedError, QueueError, UsageError
from maniple.persist import persist
from maniple.queue import (
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    as_tasks,
)
from maniple.queues import rabbitmq_admin as admin
from maniple.queues.rabbitmq_channel import GoneError, RefusedError
from maniple.queues.rabbitmq_desk import Desk
from maniple.queues.rabbitmq_hold import LEAST_ROTATE_SECONDS, UnsureError, patience_told
from maniple.queues.rabbitmq_link import Loop, connect, explained, tls_context
from maniple.queues.rabbitmq_making import make_all
from maniple.queues.rabbitmq_names import Names
from maniple.task import Task

DEFAULT_NAME: Final = "maniple"
OPENING_SECONDS: Final = 5.0
ROTATE_SECONDS: Final = 120.0
ROTATE_PART: Final = 3
ALARM_SECONDS: Final = 600.0
HEARTBEAT_SECONDS: Final = 10.0
WINDOW_TASKS: Final = 2000
WINDOW_BYTES: Final = 8 << 20
_MOST_NAME_BYTES: Final = 200
_VHOST_AND_NAME: Final = 2
_NOT_FOUND: Final = 404
_Answer = TypeVar("_Answer")


class RabbitmqQueue:
    """Tasks on a quorum queue of a RabbitMQ server (3.10 or later).

    The URL is `amqp://USER:PASSWORD@HOST:PORT/VHOST/NAME` or, on the virtual host `/`,
    `amqp://HOST/NAME`. Without a login in the URL it is `RABBITMQ_USER` and `RABBITMQ_PASSWORD`,
    or guest. Several hosts of one cluster are separated by commas.

    Options of the URL:
        rotate: seconds for which a message is held before a copy takes its place (120). It must
            be less than half of the server's `consumer_timeout`, which is 30 minutes by default.
            A server that turns out to be less patient than that is believed.
        heartbeat: seconds (10); a minion that stops without a word (a paused process, a cut
            cable) loses its tasks after two to three of them.
        decode: `json` reads messages of other programs as JSON; otherwise their text is the param.
        reconnect: seconds for which a lost connection is tried again (60).
        ca, cert, key: files for TLS (`amqps:`).

    Args:
        rest: the URL after the scheme.
        create: make the queue when it does not exist.
        decoder: `json` or `identity`, like the option `decode`.

    Raises:
        UsageError: the URL is wrong.
        QueueError: the queue is missing, of another kind, or not permitted.
        StorageError: the server does not answer.

    Attributes:
        idle: seconds that an idle minion waits in one call.
        quiet: not needed: who holds tasks is known.
    """

    scheme: ClassVar[str] = "amqp"
    port: ClassVar[int] = 5672
    secure: ClassVar[bool] = False
    idle = 1.0
    quiet = 5.0
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
        counts_lapses=True,
    )

    def __init__(self, rest: str = "", *, create: bool = True, decoder: str | None = None) -> None:
        self.url = f"{self.scheme}:{rest}"
        options = ("rotate", "heartbeat", "decode")
        self._address = address = read_address(
            self.scheme, rest, prefix="RABBITMQ", port=self.port, options=options
        )
        self._rotate = address.number("rotate", ROTATE_SECONDS, least=1)
        self._heartbeat = address.number("heartbeat", HEARTBEAT_SECONDS, least=1)
        decoder = decoder or address.options.get("decode", "identity")
        if decoder not in {"json", "identity"}:
            raise UsageError(f"decode={decoder} in {address.shown}: json or identity is needed")
        self._json_text = decoder == "json"
        self._vhost, name = self._place()
        self._names = Names(name)
        self._tls = tls_context(address) if self.secure else None
        self._serials = itertools.count(1)
        self._create = create
        self._made = False
        self._no_receipts_until = -math.inf
        self._desk: Desk | None = None
        self._loop = Loop()
        try:
            self._persist(lambda: None, min(OPENING_SECONDS, address.reconnect), connect_first=True)
        except BaseException:
            self._loop.close()
            raise

    def _place(self) -> tuple[str, str]:
        address = self._address
        path = address.path or [DEFAULT_NAME]
        if len(path) > _VHOST_AND_NAME:
            raise UsageError(
                f"{address.shown} has too many parts: write {self.scheme}://HOST/VHOST/NAME, "
                "with %2F for a '/' within one"
            )
        if len(path[-1].encode()) > _MOST_NAME_BYTES:
            raise UsageError(f"the name of the queue in {address.shown} is longer than 200 bytes")
        if not self.secure and (address.ca or address.cert):
            raise UsageError(f"certificates are for TLS: write amqps:// instead of {address.shown}")
        return (path[0] if len(path) == _VHOST_AND_NAME else "/"), path[-1]

    # The connection

    def _persist(
        self, call: Callable[[], _Answer], seconds: float, *, connect_first: bool = False
    ) -> _Answer:
        def first() -> _Answer:
            if connect_first and self._desk is None:
                self._connect()
            return call()

        return persist(
            first,
            lost=(GoneError,),
            again=self._connect,
            seconds=seconds,
            what=self._address.shown,
        )

    def _connect(self) -> None:
        self._drop()
        try:
            self._desk = self._loop.call(self._open())
        except RefusedError as error:
            raise self._explain(error) from None

    async def _open(self) -> Desk:
        names = self._names
        wire = await connect(self._address, self._vhost, tls=self._tls, heartbeat=self._heartbeat)
        desk = Desk(
            wire,
            names,
            rotate=self._rotate,
            json_text=self._json_text,
            receipts=time.monotonic() >= self._no_receipts_until,
            serials=self._serials,
        )
        try:
            await desk.open()
            # what is gone after it was there must not come back as an empty queue
            create = self._create and not self._made
            await make_all(wire, desk.control, names, create=create)
            self._made = True
        except BaseException:
            await desk.close()
            raise
        return desk

    def _drop(self) -> None:
        desk, self._desk = self._desk, None
        if desk is not None:
            self._learn(desk.error)
            if desk.wire.stuck:
                # what only acknowledges may go on, and relieves the server
                self._no_receipts_until = time.monotonic() + ALARM_SECONDS
            self._loop.call(desk.close())

    def _learn(self, error: Exception | None) -> None:
        """Hold messages for a shorter time from now on where the server has lost its patience."""
        patience = patience_told(error)
        if patience is None or patience / ROTATE_PART >= self._rotate:
            return
        self._rotate = max(LEAST_ROTATE_SECONDS, patience / ROTATE_PART)
        import logging

        logging.getLogger(__name__).warning(
            "%s takes tasks away that were held for %g s (its consumer_timeout), so some may run "
            "twice; from now on each is held anew every %.2g s: ?rotate=%d in the URL prevents it",
            self._address.shown,
            patience,
            self._rotate,
            max(1, self._rotate),
        )

    def _explain(self, error: RefusedError) -> Exception:
        if error.code == _NOT_FOUND and "no queue" in str(error):
            place = self._address.shown
            return QueueError(f"no queue at {place}; fill it first: maniple sweep -q {place} ...")
        return explained(error, self._address, self._address.user)

    def _call(self, make: Callable[[Desk], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Do something with the desk; with a new one when the connection is lost meanwhile."""
        return self._persist(lambda: self._once(make), self._address.reconnect)

    def _once(self, make: Callable[[Desk], Coroutine[Any, Any, _Answer]]) -> _Answer:
        desk = self._desk
        if desk is None:
            raise GoneError("it is not connected")
        error = desk.error
        try:
            if error is not None:
                raise error
            return self._loop.call(make(desk))
        except RefusedError as refused:
            # the server has closed a channel: nothing of it can be used any more
            self._drop()
            raise self._explain(refused) from None

    # The contract

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; the server has stored them when this returns.

        A task that is put twice is there twice: RabbitMQ does not know what it had.
        """
        count, size = 0, 0
        window: list[Task] = []
        for task in as_tasks(tasks):
            window.append(task)
            size += len(task.data)
            if len(window) >= WINDOW_TASKS or size >= WINDOW_BYTES:
                count += self._put(window)
                window, size = [], 0
        return count + (self._put(window) if window else 0)

    def _put(self, tasks: list[Task]) -> int:
        self._call(lambda desk: desk.put(tasks))
        return len(tasks)

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one."""
        return self._call(lambda desk: desk.lease(limit, ttl, wait))

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        return self._settle(leases, lambda desk: desk.extend(leases, ttl), list(leases))

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more.

        With a lost connection all its leases are lost: their tasks go to somebody else. When it
        is lost before the answer comes, the server is asked whether it has heard us.
        """
        if not leases:
            return []
        try:
            return self._once(lambda desk: desk.ack(leases))
        except UnsureError as unsure:
            receipt, number = unsure.receipt, unsure.number
            heard = self._call(lambda desk: admin.received(desk, self._names, receipt, number))
            return unsure.lost if heard else list(leases)
        except GoneError:
            return list(leases)

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to the end of the queue; delays are rounded up, by a third at most."""
        self._settle(leases, lambda desk: desk.nack(leases, delay, attempted=attempted), None)

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        self._settle(failures, lambda desk: desk.fail(failures), None)

    def _settle(
        self,
        leases: Sequence[Any],
        make: Callable[[Desk], Coroutine[Any, Any, _Answer]],
        lost: _Answer,
    ) -> _Answer:
        """Do something with leases; they ended with the connection where that is lost."""
        if not leases:
            return lost
        try:
            return self._once(make)
        except GoneError:
            return lost

    def stats(self) -> QueueStats:
        """Count the tasks; `leased` counts those who hold tasks elsewhere, and all that we hold."""
        return self._call(lambda desk: admin.count(desk, self._names))

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the failed tasks.

        Raises:
            NotSupportedError: tasks of another state are asked for.
        """
        if state is not State.FAILED:
            raise NotSupportedError(
                "RabbitMQ does not list the tasks that wait or run: only the failed ones, "
                "with --state failed"
            )
        return iter(self._call(lambda desk: admin.failed(desk, self._names)))

    def find(self, key: str) -> Record | None:
        """Look a failed task up by its id, or by enough of its first digits.

        Raises:
            NotSupportedError: no failed task is meant; of others nothing is known.
        """
        records = list(self.records(State.FAILED)) if key else []
        for record in records:
            if record.task.id == key:
                return record
        found = [record for record in records if record.task.id.startswith(key)]
        if len(found) == 1:
            return found[0]
        raise NotSupportedError(
            f"no failed task is called {key!r}, and RabbitMQ does not find those that wait or run"
        )

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        wanted = None if ids is None else frozenset(ids)
        return self._call(lambda desk: admin.retry(desk, self._names, wanted))

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        return self._call(lambda desk: admin.purge(desk, self._names, state))

    def close(self) -> None:
        """Let go of the connection. Leases still held come back at once."""
        if self._loop.ours:
            self._drop()
            self._loop.close()


class RabbitmqsQueue(RabbitmqQueue):
    """The same over TLS: `amqps://`, on port 5671."""

    scheme = "amqps"
    port = 5671
    secure = True
