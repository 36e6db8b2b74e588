"""Pulling messages from one consumer, without losing one that comes late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from maniple.queues.nats_link import (
    ANSWER_SECONDS,
    NO_RESPONDERS,
    Link,
    LostError,
)
from maniple.queues.nats_login import Msg

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
SOON_SECONDS: Final = 5.0
NANO: Final = 1_000_000_000


def clock() -> float:
    """Seconds that go on while the machine sleeps, as the server's do."""
    return time.clock_gettime(_CLOCK)


class Fetched(NamedTuple):
    """A message of a stream.

    Attributes:
        message: as it came.
        asked: when we asked for it: the server has sent it, and counts its silence, since then.
    """

    message: Msg
    asked: float


class _Pull:
    """A request that the server may still answer; `done` is None when nobody waits for it."""

    __slots__ = ("asked", "done", "got", "left", "lost")

    def __init__(self, count: int, asked: float) -> None:
        self.left = count
        self.asked = asked
        self.got: list[Fetched] = []
        self.done: asyncio.Event | None = asyncio.Event()
        self.lost = ""

    def end(self, lost: str = "") -> None:
        self.lost = lost
        if self.done is not None:
            self.done.set()


class Channel:
    """Pulls from the consumer of one stream.

    Args:
        link: the connection.
        stream: its name.
        consumer: its name.
        stray: gets the messages that come when nobody waits for them any more.
    """

    def __init__(
        self, link: Link, stream: str, consumer: str, stray: Callable[[Channel, Fetched], None]
    ) -> None:
        self.stream = stream
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._stray = stray
        self._pulls: dict[str, _Pull] = {}
        self._last = 0
        self._inbox = ""

    async def open(self) -> None:
        """Make the inbox."""
        self._inbox = await self._link.listen(self._heard, self._lost)

    def close(self) -> None:
        """Forget the inbox."""
        self._link.unlisten(self._inbox, self._lost)

    async def pull(self, count: int, wait: float = 0.0) -> list[Fetched]:
        """Get up to `count` messages; wait for the first one if there is none now.

        A request without a wait and one that waits both end at the server as soon as it has sent
        what there is, so that nothing is sent later to one who has gone.

        Raises:
            LostError: the connection was lost before anything came.
        """
        body: dict[str, object] = {"batch": count, "no_wait": True}
        if wait > 0:
            body["expires"] = int(wait * NANO)
        self._last += 1
        number = str(self._last)
        pull = _Pull(count, clock())
        done = pull.done = asyncio.Event()
        self._forget_old(pull.asked)
        self._pulls[number] = pull
        try:
            try:
                data = msgspec.json.encode(body)
                await self._link.tell(self._subject, data, self._inbox + number)
            except LostError:
                # it was never sent
                self._pulls.pop(number, None)
                raise
            async with asyncio.timeout(wait + ANSWER_SECONDS if wait > 0 else SOON_SECONDS):
                await done.wait()
        except TimeoutError:
            # a server that has counted wrongly keeps the request until we are gone
            await self._link.drop("no answer to a pull")
        except BaseException:
            self._abandon(pull)
            raise
        if pull.lost and not pull.got:
            raise LostError(pull.lost)
        return pull.got

    def _abandon(self, pull: _Pull) -> None:
        pull.done = None
        for fetched in pull.got:
            self._stray(self, fetched)
        pull.got = []

    def _forget_old(self, now: float) -> None:
        """Drop abandoned requests that the server has forgotten, too."""
        for number, pull in list(self._pulls.items()):
            if pull.done is None and now - pull.asked > 2 * ANSWER_SECONDS:
                del self._pulls[number]

    def _lost(self) -> None:
        pulls, self._pulls = self._pulls, {}
        for pull in pulls.values():
            pull.end("the connection was lost during a pull")

    async def _heard(self, message: Msg) -> None:
        if message.subject.startswith(self._inbox):
            self._ended(message)
            return
        if not self._pulls:
            # it was sent within the longest time that a forgotten request lasted
            self._stray(self, Fetched(message, clock() - 2 * ANSWER_SECONDS))
            return
        # it may belong to any of them: the oldest says since when it may have been sent
        fetched = Fetched(message, next(iter(self._pulls.values())).asked)
        wanted = [number for number, pull in self._pulls.items() if pull.done is not None]
        number = wanted[0] if wanted else next(iter(self._pulls))
        pull = self._pulls[number]
        pull.left -= 1
        if pull.done is None:
            self._stray(self, fetched)
        else:
            pull.got.append(fetched)
        if not pull.left:
            del self._pulls[number]
            pull.end()

    def _ended(self, message: Msg) -> None:
        pull = self._pulls.pop(message.subject[len(self._inbox) :], None)
        if pull is None:
            return
        headers = message.headers or {}
        gone = headers.get("Status") == NO_RESPONDERS or "Deleted" in headers.get("Description", "")
        pull.end("the stream or its consumer is gone" if gone else "")
