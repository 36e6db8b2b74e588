"""The leases of one queue object, and what keeps them alive.

The server takes a lease back when it hears nothing of it for the queue's `silence`. So we tell it
that work is in progress, three times as often, for as long as the lease's own time lasts. The
server does not say whose lease an acknowledgement is for; so we count its silence ourselves, from
before it can have begun, and settle nothing after it may have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from maniple.errors import ManipleError
from maniple.queue import Lease
from maniple.queues.nats_channel import Channel, Fetched, clock
from maniple.queues.nats_link import Link, LostError, Question
from maniple.queues.nats_tasks import Item, Place

TICK_SECONDS: Final = 0.1
STRAY_SECONDS: Final = 0.3
ACK: Final = b"+ACK"
NAK: Final = b"-NAK"
PROGRESS: Final = b"+WPI"


class Hold:
    """A message that is ours.

    Attributes:
        item: its task.
        again: it is a copy of a task that was given back.
        place: where the message stands.
        reply: where its acknowledgement goes; the lease's token.
        valid: the server may give it to others from then on.
        deadline: we give it back then.
        renew: we tell the server then that we are at work on it.
    """

    __slots__ = ("again", "deadline", "item", "place", "renew", "reply", "valid")

    def __init__(
        self, item: Item, fetched: Fetched, place: Place, *, again: bool, silence: float
    ) -> None:
        self.item = item
        self.again = again
        self.reply = fetched.message.reply
        self.place = place
        self.valid = fetched.asked + silence
        self.renew = fetched.asked + silence / 3
        self.deadline = self.valid

    @property
    def lapses(self) -> int:
        """How often the task's minions fell silent, in all."""
        return self.item.lapses + self.place.deliveries - 1


class Holds:
    """All messages that are ours; belongs to the link's loop.

    Args:
        link: the connection.
        silence: seconds after which the server takes a lease back.
    """

    def __init__(self, link: Link, silence: float) -> None:
        self._link = link
        self.silence = silence
        self._held: dict[str, Hold] = {}
        self._stray: list[tuple[float, Channel, Fetched]] = []
        self._kicked = asyncio.Event()
        self.leasing = False

    def add(self, hold: Hold, ttl: float) -> Lease:
        """Make a lease of a message."""
        hold.deadline = clock() + ttl
        self._held[hold.reply] = hold
        self._kicked.set()
        return Lease(hold.item.task, hold.reply)

    def stray(self, channel: Channel, fetched: Fetched) -> None:
        """Take a message that nobody waits for: the next lease, or others, get it."""
        self._stray.append((clock(), channel, fetched))
        self._kicked.set()

    @property
    def strays(self) -> int:
        """How many messages are here and not leased yet."""
        return len(self._stray)

    def take(self, limit: int) -> list[tuple[Channel, Fetched]]:
        """Get up to `limit` stray messages that are ours for long enough."""
        taken, self._stray = self._stray[:limit], self._stray[limit:]
        oldest = clock() - self.silence / 2
        return [(channel, fetched) for _, channel, fetched in taken if fetched.asked > oldest]

    def sort(self, leases: Iterable[Lease]) -> tuple[list[tuple[Lease, Hold]], list[Lease]]:
        """Tell the leases that are ours from those that are not, or may not be."""
        now = clock()
        ours: dict[str, tuple[Lease, Hold]] = {}
        lost = []
        for lease in leases:
            hold = self._held.get(lease.token)
            if hold is None or now >= hold.valid:
                lost.append(lease)
            else:
                ours[hold.reply] = (lease, hold)
        return list(ours.values()), lost

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Keep leases for so many seconds from now; return those that are not ours."""
        ours, lost = self.sort(leases)
        deadline = clock() + ttl
        for _, hold in ours:
            hold.deadline = deadline
        return lost

    def settle(self, pairs: Sequence[tuple[Lease, Hold]]) -> list[Lease]:
        """Forget leases that the server has settled just now.

        Returns:
            Those that may have been somebody else's when it did.
        """
        now = clock()
        return [
            lease
            for lease, hold in pairs
            if self._held.pop(hold.reply, None) is None or now >= hold.valid
        ]

    # Keeping

    async def keep(self) -> None:
        """Renew and give back, until the link is closed."""
        while True:
            if not (self._held or self._stray):
                self._kicked.clear()
                await self._kicked.wait()
            await asyncio.sleep(TICK_SECONDS)
            now = clock()
            back = [] if self.leasing else self._late(now)
            renew = []
            for hold in list(self._held.values()):
                if now >= hold.deadline or now >= hold.valid:
                    del self._held[hold.reply]
                    if now < hold.valid:
                        back.append(hold.reply)
                elif now >= hold.renew:
                    hold.renew = now + self.silence / 3
                    renew.append(hold)
            if back:
                self._link.start(self._give_back(back))
            if renew:
                self._link.start(self._renew(renew))

    def _late(self, now: float) -> list[str]:
        """Take the strays out that nobody wants; those of unknown age lapse by themselves."""
        late = [stray for stray in self._stray if now - stray[0] > STRAY_SECONDS]
        self._stray = [stray for stray in self._stray if now - stray[0] <= STRAY_SECONDS]
        return [
            fetched.message.reply for _, _, fetched in late if now < fetched.asked + self.silence
        ]

    async def _give_back(self, replies: Sequence[str]) -> None:
        with suppress(LostError, ManipleError):
            await self._link.ask([Question(reply, NAK) for reply in replies])

    async def _renew(self, holds: Sequence[Hold]) -> None:
        told = clock()
        with suppress(LostError, ManipleError):
            await self._link.ask([Question(hold.reply, PROGRESS) for hold in holds])
            now = clock()
            for hold in holds:
                # an answer that comes late may be about a lease that is another's by now
                if now < hold.valid:
                    hold.valid = told + self.silence
                    hold.renew = told + self.silence / 3
            return
        for hold in holds:
            hold.renew = told + TICK_SECONDS

    async def release(self) -> None:
        """Let others have everything at once."""
        now = clock()
        back = [hold.reply for hold in self._held.values() if now < hold.valid]
        back += [f.message.reply for _, _, f in self._stray if now < f.asked + self.silence]
        self._held.clear()
        self._stray.clear()
        if back:
            await self._give_back(back)
