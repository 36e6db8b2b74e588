"""Finding the next chunk to claim in a shared folder: due, ready, or left by the dead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Final

from maniple.queues.folder_chunks import Claim, claim_parts, due_of
from maniple.queues.folder_claims import Claims
from maniple.queues.folder_files import Folder
from maniple.queues.folder_watch import Watch

READY_SECONDS: Final = 1.0
LATER_SECONDS: Final = 0.2
DEATH_SECONDS: Final = 0.2
_SHARE_OF_TIME: Final = 20
"""A look that took a while is not repeated before so many times as long."""


class Search:
    """What one queue object knows of the chunks it could claim.

    Listings are kept for a while and used up: a name that is gone costs one vain rename.
    """

    def __init__(
        self,
        folder: Folder,
        claims: Claims,
        owner: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._claims = claims
        self._owner = owner
        self._clock = clock
        self._wall = wall
        self._watch = Watch(folder)
        self._ready: list[str] = []
        self._later: list[str] = []
        self._orphans: list[str] = []
        self._ready_until = self._later_until = self._deaths_until = float("-inf")

    def found(self, names: Iterable[str]) -> None:
        """Note chunks that we put into ready/ or later/ ourselves."""
        for name in names:
            heappush(self._later if "@" in name else self._ready, name)

    def next(self, now: float, ttl: float) -> Claim | None:
        """Claim a chunk, or take one over from the dead; None when there is nothing."""
        # the silent must be watched while there is work, or their time starts when it has ended
        if now >= self._deaths_until + ttl / 4:
            self._look_for_dead()
        claim = self._next_orphan(now) or self._next_due(now) or self._next_ready(now)
        if claim is None and now >= self._deaths_until:
            self._look_for_dead()
            claim = self._next_orphan(now)
        return claim

    def _next_orphan(self, now: float) -> Claim | None:
        while self._orphans:
            claim = self._claims.take_over(self._orphans.pop(), now)
            if claim is not None:
                return claim
        return None

    def _next_due(self, now: float) -> Claim | None:
        if now >= self._later_until:
            self._later, self._later_until = self._list("later", LATER_SECONDS)
        wall = self._wall()
        while self._later and due_of(self._later[0]) <= wall:
            claim = self._claims.take("later", heappop(self._later), now)
            if claim is not None:
                return claim
        return None

    def _next_ready(self, now: float) -> Claim | None:
        while True:
            listed = not self._ready or now >= self._ready_until
            if listed:
                self._ready, self._ready_until = self._list("ready", READY_SECONDS)
            while self._ready:
                claim = self._claims.take("ready", heappop(self._ready), now)
                if claim is not None:
                    return claim
            if listed:
                return None

    def _list(self, place: str, every: float) -> tuple[list[str], float]:
        start = self._clock()
        names = sorted(self._folder.names(place))
        end = self._clock()
        return names, end + max(every, (end - start) * _SHARE_OF_TIME)

    def _look_for_dead(self) -> None:
        start = self._clock()
        claims: dict[str, list[str]] = {name: [] for name in self._folder.names("minions")}
        for claim in self._folder.names("leased"):
            claims.setdefault(claim_parts(claim)[2], []).append(claim)
        claims.pop(self._owner, None)
        self._orphans = []
        for name, theirs in claims.items():
            if self._watch.is_dead(name, start):
                self._orphans += theirs
                if not theirs:
                    self._watch.forget(name)
        self._orphans.sort(reverse=True)
        end = self._clock()
        self._deaths_until = end + max(DEATH_SECONDS, (end - start) * _SHARE_OF_TIME)
