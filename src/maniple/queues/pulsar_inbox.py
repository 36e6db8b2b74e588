"""What a queue object holds of a Pulsar subscription: leases with their time, and what came early.

A consumer tells the broker how many messages it takes, and cannot take that back: some may come
when nobody asks any more. They wait a moment for the next lease and are then given back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from maniple.queue import Lease
from maniple.queues.pulsar_client import Client
from maniple.queues.pulsar_link import LostError
from maniple.queues.pulsar_topics import (
    Consumer,
    ask_backlog,
    backlog_of,
    permits_of,
)
from maniple.queues.pulsar_wire import Message

GAP_SECONDS: Final = 0.005
FIRST_SECONDS: Final = 0.005
GRACE_SECONDS: Final = 0.1
EARLY_SECONDS: Final = 0.2
AGAIN_SECONDS: Final = 0.05
FAR_SECONDS: Final = 3600.0
FRESH_SECONDS: Final = 1.0


class Inbox:
    """Collects messages of one or more consumers, and keeps the time of leases.

    Args:
        consumers: one for each partition; the queue replaces those that died.

    Attributes:
        client: the connections; its lock guards all of this.
    """

    client: Client

    def __init__(self, consumers: list[Consumer]) -> None:
        self._consumers = consumers
        self._held: dict[tuple[int, int, int, int], float] = {}
        self._check_at = FAR_SECONDS + time.monotonic()
        self._collecting = False
        self._places: set[tuple[int, int, int]] = set()
        self._doubts: dict[int, float] = {}
        self._left = 0
        self._probed = 0.0

    # Collecting

    def collect(self, limit: int, until: float) -> list[tuple[Consumer, Message]]:
        """Take up to `limit` messages; wait for the first one until then.

        Raises:
            LostError: a connection is gone.
        """
        client = self.client
        self._collecting = True
        try:
            taken = self._take(limit)
            if len(taken) < limit:
                # who invites more than there are gets what comes while it is busy
                self._invite(max(1, min(limit - len(taken), self._expected(limit))))
                if taken or self._first(until):
                    taken += self._gather(limit - len(taken))
                    if len(taken) < limit and self._left > len(taken):
                        self._invite(min(limit, self._left) - len(taken))
                        taken += self._gather(limit - len(taken))
            self._left -= len(taken)
            return taken
        finally:
            with client.changed:
                self._collecting = False
                early = any(consumer.inbox for consumer in self._consumers)
            if early:
                client.wake()

    def _expected(self, limit: int) -> int:
        """Estimate how many messages wait."""
        if limit > 1 and (self._left < limit or time.monotonic() - self._probed > FRESH_SECONDS):
            self._left = self._probe()
        return self._left

    def _take(self, limit: int) -> list[tuple[Consumer, Message]]:
        taken: list[tuple[Consumer, Message]] = []
        with self.client.changed:
            for consumer in self._consumers:
                inbox = consumer.inbox
                while inbox and len(taken) < limit:
                    message = inbox.popleft()
                    # brokers send a message twice sometimes when it was given back
                    place = (consumer.serial, message.ledger, message.entry)
                    if place not in self._places:
                        self._places.add(place)
                        taken.append((consumer, message))
        return taken

    def _invite(self, count: int) -> None:
        """Let the broker send so many messages, those that it may send already included."""
        share = -(-count // len(self._consumers))
        with self.client.changed:
            if not all(consumer.alive for consumer in self._consumers):
                raise LostError("the connection was lost")
            flows = [
                (consumer.link, consumer.flow(share - consumer.permits))
                for consumer in self._consumers
                if consumer.permits < share
            ]
        for link, flow in flows:
            self.client.send(link, flow)

    def _came(self, seconds: float) -> bool:
        """Wait until something is there; False when time is up."""
        consumers = self._consumers
        with self.client.changed:
            self.client.changed.wait_for(
                lambda: any(c.inbox or not c.alive for c in consumers), max(0.0, seconds)
            )
            if any(consumer.inbox for consumer in consumers):
                return True
            if not all(consumer.alive for consumer in consumers):
                raise LostError("the connection was lost")
            return False

    def _first(self, until: float) -> bool:
        """Wait for the first message, or find that there is none."""
        if self._came(FIRST_SECONDS):
            return True
        self._left = self._probe()
        now = time.monotonic()
        if now < until:
            return self._came(until - now)
        # the broker is still looking into its storage for what the backlog says is there
        return self._left > 0 and self._came(GRACE_SECONDS)

    def _probe(self) -> int:
        """Count what others hold or what is about to come; notice when we wait in vain."""
        client = self.client
        consumers = list(self._consumers)
        answers = [ask_backlog(client, consumer) for consumer in consumers]
        left = 0
        for consumer, answer in zip(consumers, answers, strict=True):
            body = client.answer(answer)
            left += backlog_of(body)
            permits = permits_of(body)
            with client.changed:
                if permits > 0 or consumer.permits <= 0:
                    self._doubts.pop(consumer.serial, None)
                elif self._doubts.get(consumer.serial) == consumer.arrived:
                    # it has sent what we do not know of: count as it does, or we are deaf
                    consumer.permits = permits
                else:
                    self._doubts[consumer.serial] = consumer.arrived
        self._probed = time.monotonic()
        return max(0, left - len(self._held))

    def _gather(self, limit: int) -> list[tuple[Consumer, Message]]:
        """Take what follows the first message closely."""
        taken: list[tuple[Consumer, Message]] = []
        changed = self.client.changed
        with changed:
            while True:
                taken += self._take(limit - len(taken))
                latest = max(consumer.arrived for consumer in self._consumers)
                left = latest + GAP_SECONDS - time.monotonic()
                if len(taken) >= limit or left <= 0:
                    return taken
                if not any(c.permits > 0 and c.alive for c in self._consumers):
                    return taken
                changed.wait(left)

    # Leases

    def _alive(self) -> dict[int, Consumer]:
        return {consumer.serial: consumer for consumer in self._consumers if consumer.alive}

    def forget(self, serial: int) -> None:
        """Drop the leases of a consumer that died: the broker gives them to others."""
        with self.client.changed:
            self._held = {t: until for t, until in self._held.items() if t[0] != serial}
            self._places = {place for place in self._places if place[0] != serial}

    def settled(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Note that messages which were collected became no leases."""
        with self.client.changed:
            self._places.difference_update(places)

    def _drop(self, token: tuple[int, int, int, int]) -> bool:
        if self._held.pop(token, None) is None:
            return False
        self._places.discard(token[:3])
        return True

    def hold(self, leases: list[Lease], deadline: float) -> list[Lease]:
        """Note leases; return those whose connection still lives."""
        with self.client.changed:
            alive = self._alive()
            kept = [lease for lease in leases if lease.token[0] in alive]
            for lease in kept:
                self._held[lease.token] = deadline
            if kept and deadline < self._check_at:
                self._check_at = deadline
                self.client.wake()
        return kept

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Give leases more time; return those that are not held."""
        with self.client.changed:
            now = time.monotonic()
            self._lapse(now)
            alive = self._alive()
            lost = []
            for lease in leases:
                if lease.token in self._held and lease.token[0] in alive:
                    self._held[lease.token] = now + ttl
                else:
                    lost.append(lease)
            if now + ttl < self._check_at:
                self._check_at = now + ttl
                self.client.wake()
        return lost

    def release(self, leases: Sequence[Lease]) -> tuple[list[tuple[Lease, Consumer]], list[Lease]]:
        """Hold leases no more; return those that were ours, with consumers, and the others."""
        with self.client.changed:
            self._lapse(time.monotonic())
            alive = self._alive()
            ours, lost = [], []
            for lease in leases:
                consumer = alive.get(lease.token[0])
                if not self._drop(lease.token) or consumer is None:
                    lost.append(lease)
                else:
                    ours.append((lease, consumer))
        return ours, lost

    def give_back(self, ours: list[tuple[Lease, Consumer]]) -> None:
        """Let others have what was released."""
        places = defaultdict(list)
        for lease, consumer in ours:
            places[consumer].append(lease.token[1:3])
        for consumer, each in places.items():
            # the broker gives it to others by itself when the connection is lost
            with suppress(LostError):
                self.client.send(consumer.link, consumer.redeliver(each))

    # Time; with the lock held

    def tend(self, now: float) -> float:
        """Give back what lapsed and what came too early; tell when to look again."""
        if now >= self._check_at:
            self._lapse(now)
        due = self._check_at
        for consumer in self._consumers:
            if not consumer.inbox or not consumer.alive:
                continue
            late = consumer.arrived + EARLY_SECONDS
            if now < late or self._collecting:
                due = min(due, max(late, now + AGAIN_SECONDS))
                continue
            places = [(message.ledger, message.entry) for message in consumer.inbox]
            if consumer.link.offer(consumer.redeliver(places)):
                consumer.inbox.clear()
            else:
                due = min(due, now + AGAIN_SECONDS)
        return due

    def _lapse(self, now: float) -> None:
        if now < self._check_at:
            return
        alive = self._alive()
        lapsed = defaultdict(list)
        for token, deadline in self._held.items():
            if deadline <= now and token[0] in alive:
                lapsed[token[0]].append(token)
        self._check_at = now + FAR_SECONDS
        for serial, tokens in lapsed.items():
            consumer = alive[serial]
            if consumer.link.offer(consumer.redeliver([token[1:3] for token in tokens])):
                for token in tokens:
                    self._drop(token)
            else:
                self._check_at = now + AGAIN_SECONDS
        self._check_at = min([self._check_at, *self._held.values()], default=self._check_at)
