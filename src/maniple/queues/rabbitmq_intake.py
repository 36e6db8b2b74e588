"""How messages are taken from a queue of RabbitMQ: just as many as are wanted, and no polling."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from typing import Any, Final

from maniple.queues.rabbitmq_channel import Channel, Delivery, RefusedError, spec
from maniple.queues.rabbitmq_names import Names
from maniple.queues.rabbitmq_wire import Wire

MOST_PREFETCH: Final = 65_535
SPARE_SECONDS: Final = 0.3
FULL_SECONDS: Final = 0.5
PARTIAL_SECONDS: Final = 0.03
_NOT_FOUND: Final = 404


class Intake:
    """Takes messages with consumers that live for a moment.

    Args:
        wire: the connection.
        work: the channel; nobody else sets its prefetch but through `prefetch`.
        names: of the queues.
    """

    def __init__(self, wire: Wire, work: Channel, names: Names) -> None:
        self._wire = wire
        self._work = work
        self._names = names
        self._arrived: deque[tuple[Delivery, float]] = deque()
        self._wanted = 0
        self._arrival: asyncio.Future[None] | None = None
        self._tags = itertools.count(1)
        self._prefetch = 0
        work.stray = self._take_in
        work.on_cancel(self._on_deleted)

    def __len__(self) -> int:
        """How many messages are here and nobody's yet."""
        return len(self._arrived)

    def pop(self) -> Delivery:
        """Hand out the first message."""
        return self._arrived.popleft()[0]

    def up_to(self, tag: int) -> int:
        """Count the messages here whose tags are not above this one."""
        return sum(delivery.tag <= tag for delivery, _ in self._arrived)

    def spare(self, now: float) -> bool:
        """Tell whether something is here that nobody asks for any more."""
        if self._arrival is not None or not self._arrived:
            return False
        return now - self._arrived[0][1] > SPARE_SECONDS

    def prefetch(self, number: int) -> None:
        """Set how many messages the next consumer gets."""
        if number != self._prefetch:
            self._work.ask(spec.Basic.Qos(prefetch_count=number))
            self._prefetch = number

    async def take(self, limit: int) -> None:
        """Have up to `limit` messages here, of those that are ready."""
        want = min(limit - len(self._arrived), MOST_PREFETCH)
        if want <= 0:
            return
        limit = len(self._arrived) + want
        full = self._expect(limit)
        look = self._names.look(self._names.main)
        before = self._work.ask(look)
        tag, answer = self._consume(want)
        after = self._work.ask(look)
        try:
            await answer
            ready, left = (await before).message_count, (await after).message_count
            # a message that is on its way when the consumer is cancelled counts as one that we
            # have failed; so it is waited for: surely a full batch where more are left
            self._wanted = limit if left else min(limit, ready)
            if len(self._arrived) < self._wanted:
                await asyncio.wait([full], timeout=FULL_SECONDS if left else PARTIAL_SECONDS)
            self.check()
        finally:
            self._arrival = None
            self._cancel(tag)

    async def wait(self, seconds: float) -> None:
        """Wait for one message; more would be kept from others while we are told of them."""
        arrival = self._expect(1)
        tag, answer = self._consume(1)
        try:
            await answer
            await asyncio.wait([arrival], timeout=seconds)
        finally:
            self._arrival = None
            cancelled = self._cancel(tag)
        self.check()
        await cancelled

    def check(self) -> None:
        """Raise what has ended the channel."""
        if (error := self._wire.error or self._work.error) is not None:
            raise error

    def _take_in(self, delivery: Delivery) -> None:
        self._arrived.append((delivery, time.monotonic()))
        arrival = self._arrival
        if arrival is not None and len(self._arrived) >= self._wanted and not arrival.done():
            arrival.set_result(None)

    def _expect(self, number: int) -> asyncio.Future[None]:
        self._wanted = number
        self._arrival = self._wire.loop.create_future()
        return self._arrival

    def _consume(self, prefetch: int) -> tuple[str, asyncio.Future[Any]]:
        self.prefetch(prefetch)
        # each consumer has a tag of its own, or what we hold would count against its prefetch
        tag = f"take{next(self._tags)}"
        return tag, self._work.consume(self._names.main, tag, self._take_in)

    def _cancel(self, tag: str) -> asyncio.Future[Any]:
        answer = self._work.ask(spec.Basic.Cancel(consumer_tag=tag))
        # what comes after this answer is taken in as a stray
        answer.add_done_callback(lambda _: self._work.forget(tag))
        return answer

    def _on_deleted(self, _: str) -> None:
        self._work.fail(RefusedError(_NOT_FOUND, f"the queue '{self._names.main}' was deleted"))
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
