"""What one process holds of a queue on RabbitMQ, on one connection. All of it runs in one loop.

A lease is an unacknowledged message. It is taken by a consumer that may get just as many messages
as are wanted and is cancelled at once. What settles leases goes through transactions: copies are
stored and originals acknowledged by one word to the server, so that nobody who dies in between
doubles a task; and the answer makes an acknowledgement certain.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from maniple.queue import MAX_LAPSES, Failure, Lease, lost_failure
from maniple.queues.rabbitmq_channel import (
    Channel,
    Delivery,
    GoneError,
    RefusedError,
    method_payload,
    spec,
)
from maniple.queues.rabbitmq_hold import Hold, UnsureError
from maniple.queues.rabbitmq_intake import MOST_PREFETCH, Intake
from maniple.queues.rabbitmq_making import make_new
from maniple.queues.rabbitmq_message import (
    RECEIPT,
    SERIAL,
    failure_headers,
    mark,
    properties,
    read,
)
from maniple.queues.rabbitmq_names import ACKS_MS, MARK_SLACK_MS, Names, round_up
from maniple.queues.rabbitmq_wire import Wire
from maniple.task import Task

TICK_SECONDS: Final = 0.1
LINGER_SECONDS: Final = 0.5
ROTATION_SECONDS: Final = 10.0
_NOT_FOUND: Final = 404
Message = tuple[bytes, bytes, bytes]


class Desk:
    """Takes tasks, settles them, and keeps what is held from coming back too early or too late.

    Args:
        wire: the connection.
        names: of the queues.
        rotate: seconds after which a message that is held is replaced by a copy.
        json_text: the messages of other programs are JSON.
        receipts: have acknowledgements noted by the server, so that one whose answer is lost can
            be looked up. A server that is short of memory or disk takes no notes.
        serials: numbers for leases, never the same twice in a process.

    Attributes:
        control: the channel for questions about queues.
        busy: whether we are counted as one who holds tasks.
        looking: held by the one who takes failed tasks to read them.
    """

    def __init__(
        self,
        wire: Wire,
        names: Names,
        *,
        rotate: float,
        json_text: bool,
        receipts: bool,
        serials: itertools.count[int],
    ) -> None:
        self.wire = wire
        self.names = names
        self.busy = False
        self.looking = asyncio.Lock()
        self._rotate = rotate
        self._json_text = json_text
        self._wants_receipts = receipts
        self._serials = serials
        self._turn = asyncio.Lock()
        self._holds: dict[int, Hold] = {}
        self._idle_since = 0.0
        self._hold_queue = ""
        self._copies: dict[int, asyncio.Future[Delivery]] = {}
        self._receipts = ""
        self._receipts_made = -math.inf
        self._receipt = 0
        self._fill: Channel | None = None
        self._routes: dict[str, bytes] = {}
        self._ticker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the channels."""
        self.control = await self.wire.channel()
        self._work = await self.wire.channel()
        self._intake = Intake(self.wire, self._work, self.names)
        await self._work.ask(spec.Tx.Select())
        self._ticker = asyncio.create_task(self._tick_on())

    @property
    def error(self) -> Exception | None:
        """Why nothing is held here any more, or None."""
        return self.wire.error or self._work.error

    @property
    def held(self) -> int:
        """How many tasks are held."""
        return len(self._holds)

    async def close(self) -> None:
        """Give the connection up; what is held comes back."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._receipts:
            self.control.ask(spec.Queue.Delete(queue=self._receipts))
        await self.wire.close()

    # Taking

    async def lease(self, limit: int, ttl: float, wait: float) -> list[Lease]:
        """Take up to `limit` tasks, waiting for the first one."""
        until = time.monotonic() + wait
        while limit > 0:
            async with self._turn:
                if not wait or self._intake:
                    await self._intake.take(limit)
                any_came = bool(self._intake)
                if leases := await self._admit(limit, ttl):
                    return leases
            if any_came:
                # all were set aside
                continue
            left = until - time.monotonic()
            if left <= 0:
                break
            if not self._intake:
                await self._intake.wait(left)
                if not self._intake:
                    break
        return []

    async def _admit(self, limit: int, ttl: float) -> list[Lease]:
        """Make leases of what has arrived; set aside what cannot be run."""
        if not self._intake:
            return []
        if not self.busy:
            self.busy = True
            # before anybody can miss what we hold: who sees nothing looks twice
            await self.control.consume(self.names.busy, "busy", lambda _: None)
        now = time.monotonic()
        leases: list[Lease] = []
        aside: list[tuple[Hold, Failure]] = []
        while self._intake and len(leases) < limit:
            delivery = self._intake.pop()
            taken = read(delivery, self.names.hold_prefix, json_text=self._json_text)
            hold = Hold(next(self._serials), taken, delivery.tag, now + ttl, self._rotate)
            failure = taken.failure
            if failure is not None:
                failure = replace(failure, at=time.time())
            elif taken.lapses > MAX_LAPSES:
                failure = lost_failure(taken.lapses, time.time())
            self._holds[hold.serial] = hold
            if failure is None:
                leases.append(Lease(hold.task, hold.serial))
            else:
                aside.append((hold, failure))
        if aside:
            await self._set_aside(aside)
        return leases

    # Settling

    def _route(self, queue: str) -> bytes:
        route = self._routes.get(queue)
        if route is None:
            method = spec.Basic.Publish(routing_key=queue, mandatory=True)
            route = self._routes[queue] = method_payload(method)
        return route

    def _copy(self, queue: str, hold: Hold, more: dict[str, Any] | None = None) -> Message:
        task = hold.task
        return self._route(queue), properties(task, hold.lapses, more), task.data

    def _ours(self, leases: Iterable[Lease]) -> list[Hold]:
        """Find what is ours still, once each; it is not from now on."""
        found = (self._holds.pop(lease.token, None) for lease in leases)
        return [hold for hold in found if hold is not None]

    async def _settle(self, holds: Sequence[Hold], copies: Iterable[Message] = ()) -> None:
        """Store copies and acknowledge originals, both or neither."""
        work = self._work
        before = work.returned
        work.publish(copies)
        tags = {hold.tag for hold in holds}
        last = max(tags)
        kept = sum(hold.tag <= last for hold in self._holds.values() if hold.tag not in tags)
        if kept + self._intake.up_to(last):
            for tag in tags:
                work.send(spec.Basic.Ack(tag))
        else:
            work.send(spec.Basic.Ack(last, multiple=True))
        await work.ask(spec.Tx.Commit())
        if work.returned != before:
            raise RefusedError(_NOT_FOUND, "a queue was deleted while tasks were put into it")

    async def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        async with self._turn:
            lost = [lease for lease in leases if lease.token not in self._holds]
            if ours := self._ours(leases):
                try:
                    await self._settle(ours, self._receipt_of_this())
                except GoneError as error:
                    if not self._wants_receipts or self.wire.stuck:
                        raise
                    queue, number = self._receipts, self._receipt
                    raise UnsureError(str(error), queue, number, lost) from None
            self._rest()
            return lost

    def _receipt_of_this(self) -> list[Message]:
        """Make the message that tells, when an answer was lost, that we were heard."""
        if not self._wants_receipts:
            return []
        now = time.monotonic()
        if now - self._receipts_made > ACKS_MS / 4000:
            if not self._receipts:
                self._receipts = self.names.acks_prefix + os.urandom(8).hex()
                self._receipt_route = method_payload(spec.Basic.Publish(routing_key=self._receipts))
            self._work.ask(self.names.make_acks(self._receipts))
            self._receipts_made = now
        self._receipt += 1
        return [(self._receipt_route, RECEIPT, b"%d" % self._receipt)]

    async def nack(self, leases: Sequence[Lease], delay: float, *, attempted: bool) -> None:
        """Give tasks back as copies: their attempt may be another, and no lapse is counted."""
        async with self._turn:
            holds = self._ours(leases)
            if not holds:
                return
            copies: list[Message] = []
            queue = self.names.main
            if delay > 0:
                milliseconds = round_up(delay)
                queue = self.names.delay(milliseconds)
                declare = self.names.make_delay(milliseconds)
                if queue in self._routes:
                    # it is there, or was; either way this keeps it from vanishing now
                    await self.control.ask(declare)
                else:
                    await make_new(self.wire, self.control, self.names, [declare])
                sign = mark(milliseconds + MARK_SLACK_MS)
                copies += [(self._route(self.names.delayed), sign, b"")] * len(holds)
            for hold in holds:
                if attempted:
                    hold.task = replace(hold.task, attempt=hold.task.attempt + 1)
                copies.append(self._copy(queue, hold))
            await self._settle(holds, copies)
            self._rest()

    async def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside."""
        async with self._turn:
            found = [(self._holds.get(lease.token), failure) for lease, failure in failures]
            ours = {hold.serial: (hold, failure) for hold, failure in found if hold is not None}
            if ours:
                await self._set_aside(list(ours.values()))
            self._rest()

    async def _set_aside(self, failures: Sequence[tuple[Hold, Failure]]) -> None:
        queue, frame = self.names.failed, self.wire.frame_max
        await self.control.ask(self.names.make(queue))
        copies = [self._copy(queue, hold, failure_headers(f, frame)) for hold, f in failures]
        holds = [hold for hold, _ in failures]
        for hold in holds:
            self._holds.pop(hold.serial, None)
        await self._settle(holds, copies)

    async def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases; return those that are ours no more."""
        lost = []
        async with self._turn:
            deadline = time.monotonic() + ttl
            for lease in leases:
                hold = self._holds.get(lease.token)
                if hold is None:
                    lost.append(lease)
                else:
                    hold.deadline = deadline
        return lost

    def _rest(self) -> None:
        if not self._holds:
            self._idle_since = time.monotonic()

    # Filling

    async def put(self, tasks: Iterable[Task]) -> None:
        """Add tasks; they are stored when this returns."""
        if self._fill is None or self._fill.error is not None:
            self._fill = await self.wire.channel()
            await self._fill.ask(spec.Confirm.Select())
        fill, route = self._fill, self._route(self.names.main)
        before = fill.returned
        fill.publish((route, properties(task), task.data) for task in tasks)
        stored = await fill.confirmed()
        if fill.returned != before:
            raise RefusedError(_NOT_FOUND, f"the queue '{self.names.main}' was deleted")
        if not stored:
            raise GoneError("the server could not store the tasks")

    # In the background

    async def _tick_on(self) -> None:
        try:
            while self.error is None:
                await asyncio.sleep(TICK_SECONDS)
                await self._tick(time.monotonic())
        except GoneError:
            pass
        except Exception as error:
            # the next call finds out, and starts anew
            self.wire.abort(str(error))

    async def _tick(self, now: float) -> None:
        holds = self._holds.values()
        if any(hold.deadline <= now for hold in holds) or self._intake.spare(now):
            async with self._turn:
                await self._give_back(now)
        if any(hold.old(now) for hold in holds):
            async with self._turn:
                await self._replace([hold for hold in holds if hold.old(now)])
        if self.busy and not holds and now - self._idle_since > LINGER_SECONDS:
            async with self._turn:
                if not holds and now - self._idle_since > LINGER_SECONDS:
                    self.busy = False
                    await self.control.ask(spec.Basic.Cancel(consumer_tag="busy"))
                    self.control.forget("busy")

    async def _give_back(self, now: float) -> None:
        """Return what has lapsed, and what nobody here has asked for; to the front of the queue."""
        tags = []
        for hold in [hold for hold in self._holds.values() if hold.deadline <= now]:
            del self._holds[hold.serial]
            tags.append(hold.tag)
        if self._intake.spare(now):
            tags += [self._intake.pop().tag for _ in range(len(self._intake))]
        for tag in tags:
            self._work.send(spec.Basic.Nack(tag, requeue=True))
        if tags:
            await self._work.ask(spec.Tx.Commit())
        self._rest()

    # Long tasks

    async def _replace(self, holds: Sequence[Hold]) -> None:
        """Hold copies instead, before the server loses its patience with the originals.

        The copies are in a queue of our own, whose messages go back to the main one when nobody
        holds them. Its consumer is there before they are, so that they are ours at once.
        """
        if not self._hold_queue:
            self._hold_queue = self.names.hold_prefix + os.urandom(8).hex()
            declare = self.names.make_hold(self._hold_queue)
            await make_new(self.wire, self.control, self.names, [declare])
            self._intake.prefetch(MOST_PREFETCH)
            await self._work.consume(self._hold_queue, "hold", self._take_copy)
        self._copies = {hold.serial: self.wire.loop.create_future() for hold in holds}
        copies = [self._copy(self._hold_queue, hold, {SERIAL: hold.serial}) for hold in holds]
        for hold in holds:
            del self._holds[hold.serial]
        await self._settle(holds, copies)
        await asyncio.wait(self._copies.values(), timeout=ROTATION_SECONDS)
        now = time.monotonic()
        for hold in holds:
            future = self._copies[hold.serial]
            if future.done():
                hold.tag = future.result().tag
                hold.since = now
                self._holds[hold.serial] = hold
        self._copies = {}
        self._intake.check()

    def _take_copy(self, delivery: Delivery) -> None:
        serial = (delivery.properties.headers or {}).get(SERIAL)
        future = self._copies.get(serial) if isinstance(serial, int) else None
        if future is None:
            # too late, and no lease of ours any more: it goes back where it came from
            self._work.send(spec.Basic.Nack(delivery.tag, requeue=True))
            self._work.ask(spec.Tx.Commit())
        elif not future.done():
            future.set_result(delivery)
