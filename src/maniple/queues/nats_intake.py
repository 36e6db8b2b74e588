"""What comes in: messages of three streams become leases, and the odd ones are taken out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from maniple.queue import MAX_LAPSES, Failure, Lease, lost_failure
from maniple.queues.nats_admin import Admin
from maniple.queues.nats_channel import NANO, Channel, Fetched
from maniple.queues.nats_holds import ACK, NAK, Hold, Holds
from maniple.queues.nats_link import Link, Question
from maniple.queues.nats_log import Log
from maniple.queues.nats_store import CONSUMER, Store
from maniple.queues.nats_tasks import DELAY_HEADER, Codec, Place, direct_sequence
from maniple.task import Task

LONGEST_WAIT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.1
TIDY_SECONDS: Final = 0.25
MOVED: Final = 100
MANY: Final = 1 << 62
DOUBT_SECONDS: Final = 60.0
PIECE_SECONDS: Final = 1.0


class Intake:
    """Leases tasks; belongs to the link's loop.

    Args:
        link: the connection.
        store: the streams.
        codec: reads and writes tasks.
        log: what was acknowledged.
        holds: gets what was leased.
        admin: reads large params.
    """

    def __init__(
        self, link: Link, store: Store, codec: Codec, log: Log, holds: Holds, admin: Admin
    ) -> None:
        self._link = link
        self._store = store
        self._codec = codec
        self._log = log
        self._holds = holds
        self._admin = admin
        names = store.names
        self.main, self.again, self.later = (
            Channel(link, stream, CONSUMER, holds.stray)
            for stream in (names.stream, names.of("again"), names.of("later"))
        )
        self._look_again = self._tidy_at = self._doubt_until = 0.0
        self._server = link.server
        self._ahead = 0

    async def open(self) -> None:
        """Listen, and see whether the server has forgotten something."""
        for channel in (self.main, self.again, self.later):
            await channel.open()
        main = await self._store.state(self._store.names.stream, consumer=True)
        if await self._log.newest() > main.delivered:
            self._doubt_until = time.monotonic() + DOUBT_SECONDS
        self._ahead = main.ahead

    def expect_returned(self) -> None:
        """Have the next lease look at the tasks that were given back."""
        self._look_again = 0.0

    async def lease(self, limit: int, ttl: float, until: float) -> list[Lease]:
        """Take up to `limit` tasks; wait until then (monotonic) for the first one."""
        now = time.monotonic()
        if self._server != self._link.server:
            # another start of the server: it may have forgotten what it had heard last
            self._server = self._link.server
            self._doubt_until = now + DOUBT_SECONDS
        if self.tidy_due:
            await self.tidy()
        if limit <= 0:
            return []
        self._holds.leasing = True
        try:
            while True:
                await self._gather(limit)
                batch = self._holds.take(limit)
                try:
                    leases = await self._accept(batch, ttl)
                except BaseException:
                    for channel, fetched in batch:
                        self._holds.stray(channel, fetched)
                    # whatever was doubtful is so still
                    self._ahead = -MANY
                    raise
                if leases:
                    return leases
                if batch:
                    # what came was settled already; there may be more
                    continue
                if time.monotonic() >= until:
                    return []
                await self._wait(until)
        finally:
            self._holds.leasing = False

    async def _gather(self, limit: int) -> None:
        """Get what is there; all of it passes by the strays, so that an error loses nothing."""
        now = time.monotonic()
        want = limit - self._holds.strays
        looked = now >= self._look_again
        if looked and want > 0:
            returned = await self._fetch(self.again, want)
            self._look_again = 0.0 if returned else now + LOOK_SECONDS
            want -= returned
        if want > 0:
            want -= await self._fetch(self.main, want)
        if want == limit and not looked:
            await self._fetch(self.again, limit)

    async def _fetch(self, channel: Channel, limit: int, wait: float = 0.0) -> int:
        fetched = await channel.pull(limit, wait)
        for each in fetched:
            self._holds.stray(channel, each)
        return len(fetched)

    async def _wait(self, until: float) -> None:
        """Wait until there is something to lease, or time is up."""
        silence = self._holds.silence
        longest = min(LONGEST_WAIT_SECONDS, silence / 4)
        pulls: dict[Channel, asyncio.Task[list[Fetched]]] = {}
        try:
            while not self._holds.strays:
                left = until - time.monotonic()
                if left <= 0:
                    return
                for channel in (self.main, self.again, self.later):
                    if channel not in pulls:
                        count = MOVED if channel is self.later else 1
                        work = channel.pull(count, max(0.001, min(left, longest)))
                        pulls[channel] = asyncio.ensure_future(work)
                await asyncio.wait(pulls.values(), return_when=asyncio.FIRST_COMPLETED)
                for channel in [channel for channel, pull in pulls.items() if pull.done()]:
                    fetched = pulls.pop(channel).result()
                    if channel is self.later:
                        await self._move(fetched)
                        continue
                    for each in fetched:
                        self._holds.stray(channel, each)
        finally:
            for pull in pulls.values():
                pull.cancel()
            ended = await asyncio.gather(*pulls.values(), return_exceptions=True)
            for channel, result in zip(pulls, ended, strict=True):
                # one that ended in the same moment has something for the next call
                if channel is not self.later and not isinstance(result, BaseException):
                    for each in result:
                        self._holds.stray(channel, each)

    async def _accept(self, batch: Sequence[tuple[Channel, Fetched]], ttl: float) -> list[Lease]:
        """Make leases of messages; take the odd ones out."""
        if not batch:
            return []
        silence = self._holds.silence
        holds, odd, doubtful = [], [], []
        doubt = time.monotonic() < self._doubt_until
        for channel, fetched in batch:
            again = channel is self.again
            place = Place(fetched.message.reply)
            item = self._codec.read(fetched.message, place.sequence)
            hold = Hold(item, fetched, place, again=again, silence=silence)
            holds.append(hold)
            if doubt or place.deliveries > 1 or (not again and self._may_repeat(place)):
                doubtful.append(hold)
            if place.deliveries > 1 or item.pieces or item.trouble:
                odd.append(hold)
        if doubtful:
            over = await self._over(doubtful)
            await self.let_go(over)
            gone = {hold.reply for hold in over}
            holds = [hold for hold in holds if hold.reply not in gone]
            odd = [hold for hold in odd if hold.reply not in gone]
        if odd:
            out = await self._sift(odd)
            holds = [hold for hold in holds if hold.reply not in out]
        return [self._holds.add(hold, ttl) for hold in holds]

    def _may_repeat(self, place: Place) -> bool:
        """Tell whether the server has delivered something twice since the last new task.

        Some servers (2.9.10 does) step back by one task when one who waited for a redelivery has
        gone: they deliver the last new task once more, as if it were the first time.
        """
        before, self._ahead = self._ahead, place.ahead
        return place.ahead > before

    async def _sift(self, odd: Sequence[Hold]) -> set[str]:
        """Set the tasks aside that cannot run; give their marks."""
        now = time.time()
        aside = []
        for hold in odd:
            if hold.item.trouble is not None:
                text = f"the message is not what decode= says: {hold.item.trouble}"
                aside.append((hold, Failure("unreadable", text, at=now)))
            elif hold.lapses > MAX_LAPSES:
                aside.append((hold, lost_failure(hold.lapses, now)))
            elif hold.item.pieces and not await self._complete(hold):
                text = "the pieces of its param are missing"
                aside.append((hold, Failure("unreadable", text, at=now)))
        await self.set_aside(aside)
        return {hold.reply for hold, _ in aside}

    async def _over(self, holds: Sequence[Hold]) -> list[Hold]:
        """Find the messages whose tasks are settled, though somebody died before they were."""
        names = self._store.names
        kinds = ("failed", "later", "again")
        copies = await self._store.last(
            [
                (names.of(kind), names.subject(kind, hold.item.task.id))
                for hold in holds
                for kind in kinds
            ]
        )
        moved = set()
        for index, hold in enumerate(holds):
            failed, later, again = copies[3 * index : 3 * index + 3]
            newer = again is not None and not (
                hold.again and direct_sequence(again) <= hold.place.sequence
            )
            if failed is not None or later is not None or newer:
                moved.add(hold.reply)
        # a copy that had gone when we looked for it is noted here by now
        done = await self._log.known({hold.item.task.number for hold in holds})
        return [hold for hold in holds if hold.item.task.number in done or hold.reply in moved]

    async def _complete(self, hold: Hold) -> bool:
        """Read the data of a large task."""
        for pause in (0.0, PIECE_SECONDS):
            # a server of a cluster may be a moment behind
            await asyncio.sleep(pause)
            data = await self._admin.pieces(hold.item)
            if data is not None:
                task = hold.item.task
                hold.item.task = Task(task.id, data, task.attempt, task.number)
                return True
        return False

    # Letting go

    async def let_go(self, holds: Sequence[Hold]) -> None:
        """Have the server forget messages whose tasks are settled elsewhere."""
        if holds:
            await self._link.ask([Question(hold.reply, ACK) for hold in holds])

    async def set_aside(self, failures: Sequence[tuple[Hold, Failure]]) -> None:
        """Move tasks to the failed ones."""
        if failures:
            await self._store.publish(
                [self._codec.failed(hold.item, failure, hold.reply) for hold, failure in failures]
            )
            await self.let_go([hold for hold, _ in failures])

    # Delays

    @property
    def tidy_due(self) -> bool:
        """Nobody here has looked at the delays for a moment."""
        return time.monotonic() >= self._tidy_at

    async def tidy(self) -> None:
        """Start the clocks of delays that are new, and end those that are over."""
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        while fetched := await self.later.pull(MOVED):
            await self._move(fetched)

    async def _move(self, fetched: Sequence[Fetched]) -> None:
        """Let the server keep the time: a delay begins at the first delivery, ends at the next."""
        new, due, copies = [], [], []
        for message, _ in fetched:
            place = Place(message.reply)
            if place.deliveries == 1:
                delay = float((message.headers or {}).get(DELAY_HEADER, 0))
                new.append(Question(message.reply, NAK + b' {"delay": %d}' % int(delay * NANO)))
            else:
                item = self._codec.read(message, place.sequence)
                copies.append(self._codec.copy("again", item, f"later.{place.sequence}"))
                due.append(Question(message.reply, ACK))
        if new:
            await self._link.ask(new)
        if due:
            await self._store.publish(copies)
            await self._link.ask(due)
            self._look_again = 0.0
