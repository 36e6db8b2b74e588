"""The hub's shell around its rules: carries out what they decide, over links and a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Code
from maniple.hub.identity import Identity
from maniple.hub.rules.dispatch import Dispatch
from maniple.hub.rules.orders import Close, Forget, Keep, Order, Send, Settle, Start, Tell
from maniple.hub.rules.view import View
from maniple.hub.store import Store

TICK_SECONDS: Final = 0.5
LARGE: Final = 1 << 20
_MOST_CODES: Final = 1024


class Link(Protocol):
    """A connection to one driver or worker."""

    def post(self, item: Send | Start | Tell) -> None:
        """Send it when its turn comes."""
        ...

    def replaced(self) -> None:
        """End: another connection has taken its place."""
        ...


class Exchange:
    """Joins links, rules and store. All calls come from one event loop.

    Args:
        dispatch: decides.
        store: keeps calls and answers.
        blobs: keeps parts of algorithms.
        identity: knows the users.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        store: Store,
        blobs: Blobs,
        identity: Identity,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = dispatch
        self.store = store
        self.blobs = blobs
        self.identity = identity
        self.clock = clock
        self._links: dict[int, Link] = {}
        self._number = 0
        self._here: set[str] = set()
        self._codes: dict[Code, Code] = {}

    def join(self, link: Link) -> int:
        """Number a link; what the rules send to this number goes there."""
        self._number += 1
        self._links[self._number] = link
        return self._number

    def leave(self, number: int) -> None:
        """Forget a link; tell the rules, too."""
        self._links.pop(number, None)

    def carry_out(self, orders: Iterable[Order]) -> None:
        """Do what the rules have decided."""
        links, store = self._links, self.store
        for order in orders:
            if isinstance(order, Start | Tell | Send):
                link = links.get(order.link)
                if link is not None:
                    link.post(order)
            elif isinstance(order, Keep):
                store.keep(order.key, order.call)
            elif isinstance(order, Settle):
                store.settle(order.key, order.answer)
            elif isinstance(order, Forget):
                store.forget(order.key)
            else:
                assert isinstance(order, Close)  # noqa: S101 - there is no other
                link = links.pop(order.link, None)
                if link is not None:
                    link.replaced()

    def submit(self, number: int, task: str, call: Call) -> None:
        """Take a task of a driver.

        Raises:
            ValueError: a part of its algorithm is named by something that is no digest.
        """
        call.code = self._same(call.code)
        self.carry_out(self.rules.submitted(number, task, call, self._missing(call.code.digests)))

    def _same(self, code: Code) -> Code:
        """A million tasks of an algorithm share one name of it."""
        known = self._codes.get(code)
        if known is None:
            if len(self._codes) >= _MOST_CODES:
                self._codes.clear()
            known = self._codes[code] = code
        return known

    def _missing(self, digests: Sequence[str]) -> list[str]:
        missing = []
        for digest in digests:
            if digest in self._here:
                continue
            if digest in self.blobs:
                self._arrived(digest)
            else:
                missing.append(digest)
        return missing

    def _arrived(self, digest: str) -> None:
        """Let the tasks run that wait for a part, whoever has put it into the folder.

        Hubs of one user share that; and while we write a large part, it is there before we know.
        """
        self._here.add(digest)
        self.carry_out(self.rules.part_arrived(digest))

    async def put_part(self, data: bytes) -> str:
        """Keep a part of an algorithm, and let the tasks run that waited for it.

        Raises:
            StorageError: the folder cannot be written.
        """
        if len(data) < LARGE:
            digest = self.blobs.put(data)
        else:
            digest = await asyncio.to_thread(self.blobs.put, data)
        self._arrived(digest)
        return digest

    def refuse_part(self, number: int, digest: str) -> None:
        """Note that a driver cannot bring a part; it may be here all the same by now.

        Raises:
            ValueError: that is no digest.
        """
        if digest in self.blobs:
            self._arrived(digest)
        else:
            self.carry_out(self.rules.part_refused(number, digest))

    def miss_part(self, number: int, digest: str) -> bool:
        """Note which part a worker lacks; tell whether it is here."""
        if digest in self.blobs:
            return True
        self._here.discard(digest)
        self.carry_out(self.rules.part_lost(number, digest))
        return False

    def view(self) -> View:
        """Show what is going on."""
        return self.rules.view()

    async def keep_time(self) -> None:
        """Let time pass for the rules, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.carry_out(self.rules.tick(self.clock()))
