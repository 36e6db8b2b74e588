"""A queue in a folder on any shared file system: `dir:PATH`. It needs no server and no locks.

Any number of minions on any number of machines share it: a minion claims a chunk of tasks by
renaming its file, hands them out from memory, and notes in a log of its own what became of them.

    maniple.json    what this folder is
    ready/ later/   chunks that wait; later/ those that wait for a time
    leased/ logs/   chunks that a minion holds, and its notes on them
    done/ failed/   chunks whose tasks ended (a chunk of done/ has a log where some went elsewhere)
    damaged/        files that could not be read, set aside
    ids/            which tasks the queue has ever taken
    minions/        a heartbeat each
    tmp/            files before they count

What was put or acknowledged survives the death of any process, not a power cut that loses what the
operating system had not written yet. Three limits to know. Leases that others may take lapse with
their owner: while a queue object extends some leases, one that it forgot comes back only through
its own `lease`. A task that lapsed several times is handed out alone. And on NFS a client may see
others' changes late (its attribute cache, 30 to 60 s), which delays and never loses.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from maniple.queue import (
    MAX_LAPSES,
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    lost_failure,
)
from maniple.queues.folder_admin import purge, retry
from maniple.queues.folder_chunks import LEASED, PENDING, Claim
from maniple.queues.folder_claims import Claims
from maniple.queues.folder_files import Folder, guarded, storage_error
from maniple.queues.folder_fill import Filler
from maniple.queues.folder_search import Search
from maniple.queues.folder_view import View
from maniple.queues.folder_watch import Heartbeat
from maniple.task import Task

SUSPECT_LAPSES = 3
"""A task that lapsed so often may kill its minions: it gets a lease of its own."""
SHARE_AFTER = 1.0
"""Seconds after which the rest of a chunk goes to minions that find nothing."""
SHARE_PIECES = 16
FIRST_PAUSE = 0.005
LAST_PAUSE = 0.1


class FolderQueue:
    """The queue `dir:PATH`.

    Args:
        rest: path of the folder.
        create: make it when there is none.
        clock: seconds that only grow; leases are measured with it.
        wall: seconds since the epoch; delays are measured with it, as machines must agree on them.
        chunk: how many tasks `put` writes to a file; by default a file each for the first 2,000,
            and more and more of them for those that follow.

    Raises:
        QueueError: there is no such queue, the folder is something else, or may not be used.
    """

    guarantees = Guarantees(
        durable=True, shared=True, machines=True, redelivers=True, counts=True, finite=True
    )

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chunk: int | None = None,
    ) -> None:
        self.url = f"dir:{rest}"
        self.folder = Folder(rest, create=create)
        self._clock = clock
        self._wall = wall
        self._heartbeat = Heartbeat(self.folder)
        self._claims = Claims(self.folder, self._heartbeat.name)
        self._search = Search(self.folder, self._claims, self._heartbeat.name, clock, wall)
        self._filler = Filler(self.folder, clock, chunk)
        self._view = View(self.folder, self._filler.ids, self._claims.held, clock, wall)
        self._serial = 0
        self._next_lapse = float("inf")
        self._share_at = 0.0

    @guarded
    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; those whose id is known already are left out. Return how many were new.

        Chunks can be leased while the rest is still being put.
        """
        return self._filler.put(tasks)

    @guarded
    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one.

        Raises:
            StorageError: a damaged file of tasks had to be set aside, told once when nothing else
                can be leased.
        """
        waited, pause = 0.0, FIRST_PAUSE
        while True:
            leases = self._take(limit, ttl)
            if leases:
                return leases
            if waited >= wait:
                self._claims.report_damage()
                return []
            step = min(pause, wait - waited)
            time.sleep(step)
            waited += step
            pause = min(pause * 1.5, LAST_PAUSE)

    def _take(self, limit: int, ttl: float) -> list[Lease]:
        now = self._clock()
        self._heartbeat.beat(ttl, now)
        self._lapse(now)
        self._share(now)
        leases: list[Lease] = []
        if limit < 1:
            return leases
        for claim in list(self._claims.held.values()):
            if claim.has_pending() and not self._hand_out(claim, leases, limit, now + ttl):
                return leases
        while len(leases) < limit:
            found = self._search.next(now, ttl)
            if found is None:
                break
            self._weed(found)
            if not found.lost and not self._hand_out(found, leases, limit, now + ttl):
                break
        return leases

    def _hand_out(self, claim: Claim, leases: list[Lease], limit: int, deadline: float) -> bool:
        """Lease tasks of a claim; False when no other may join them."""
        self._serial = serial = self._serial + 1
        lines, state, serials, deadlines = claim.lines, claim.state, claim.serials, claim.deadlines
        more = True
        before = len(leases)
        while more and len(leases) < limit:
            index = claim.next_pending()
            if index is None:
                break
            if claim.lapses_of(index) >= SUSPECT_LAPSES:
                more = False
                if leases:
                    claim.put_back(index)
                    break
            state[index] = LEASED
            serials[index] = serial
            deadlines[index] = deadline
            leases.append(Lease(lines[index].task(), (claim, index, serial)))
        if len(leases) > before:
            if claim.tracked or claim.has_pending():
                self._claims.write(claim, "h", claim.fresh)
                claim.tracked = True
            self._next_lapse = min(self._next_lapse, deadline)
        return more

    def _lapse(self, now: float) -> None:
        """Take back our own leases that were not extended."""
        if now < self._next_lapse:
            return
        self._next_lapse = float("inf")
        for claim in list(self._claims.held.values()):
            over = []
            for index, state in enumerate(claim.state):
                if state == LEASED:
                    if claim.deadlines[index] <= now:
                        over.append(index)
                    else:
                        self._next_lapse = min(self._next_lapse, claim.deadlines[index])
            if over and self._claims.is_ours(claim):
                self._claims.write(claim, "l", over)
                for index in over:
                    claim.state[index] = PENDING
                    claim.lapses[index] = claim.lapses.get(index, 0) + 1
                claim.returned.extend(over)
                self._weed(claim)

    def _weed(self, claim: Claim) -> None:
        """Set aside what outlived too many minions, and what had failed before."""
        lost = []
        lines = []
        for index in claim.pending():
            failure = claim.lines[index].failure
            lapses = claim.lapses_of(index)
            if failure is None and lapses > MAX_LAPSES:
                failure = lost_failure(lapses, self._wall())
            if failure is not None:
                lost.append(index)
                lines.append(claim.line(index, failure=failure))
        if lost:
            self._claims.move(claim, [("failed", lost, lines, None)])

    def _share(self, now: float) -> None:
        """Give away the rest of chunks that we hold for long while others find nothing."""
        if now < self._share_at:
            return
        self._share_at = now + SHARE_AFTER / 2
        claims = [
            claim
            for claim in self._claims.held.values()
            if now - claim.since > SHARE_AFTER and claim.has_pending()
        ]
        if not claims or self.folder.names("ready"):
            return
        for claim in claims:
            rest = claim.pending()
            size = -(-len(rest) // SHARE_PIECES)
            self._give_back(claim, [rest[i : i + size] for i in range(0, len(rest), size)])

    def _give_back(self, claim: Claim, pieces: Iterable[list[int]]) -> None:
        parts = [("ready", piece, [claim.line(i) for i in piece], None) for piece in pieces]
        self._search.found(self._claims.move(claim, parts))

    def _ours(self, leases: Iterable[Lease]) -> tuple[dict[Claim, dict[int, Lease]], list[Lease]]:
        """Sort leases by their claims; those that are ours no more come second."""
        ours: dict[Claim, dict[int, Lease]] = {}
        lost = []
        held = self._claims.held
        for lease in leases:
            claim: Claim = lease.token[0]
            _, index, serial = lease.token
            if (
                claim.serials[index] == serial
                and claim.state[index] <= LEASED
                and held.get(claim.name) is claim
            ):
                ours.setdefault(claim, {})[index] = lease
            else:
                lost.append(lease)
        if self._heartbeat.silent(self._clock()):
            # others may have taken us for dead: no cached answer will do
            self.folder.refresh("leased")
        return ours, lost

    @guarded
    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        ours, lost = self._ours(leases)
        now = self._clock()
        self._heartbeat.beat(ttl, now)
        for claim, indices in ours.items():
            if not self._claims.is_ours(claim):
                lost.extend(indices.values())
                continue
            for index in indices:
                claim.state[index] = LEASED
                claim.deadlines[index] = now + ttl
        if ours:
            self._next_lapse = min(self._next_lapse, now + ttl)
        self._share(now)
        return lost

    @guarded
    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more and run (or ran) elsewhere.

        A claim that somebody took over counts as taken, with all its tasks.
        """
        ours, lost = self._ours(leases)
        for claim, indices in ours.items():
            if not self._claims.acknowledge(claim, list(indices)):
                lost.extend(indices.values())
        self._share(self._clock())
        return lost

    @guarded
    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        ours, _ = self._ours(leases)
        place, due = ("later", self._wall() + delay) if delay > 0 else ("ready", None)
        for claim, indices in ours.items():
            lines = [claim.line(index, attempted=attempted) for index in indices]
            self._search.found(self._claims.move(claim, [(place, list(indices), lines, due)]))

    @guarded
    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        reasons = {id(lease): failure for lease, failure in failures}
        ours, _ = self._ours(lease for lease, _ in failures)
        for claim, indices in ours.items():
            lines = [claim.line(i, failure=reasons[id(lease)]) for i, lease in indices.items()]
            self._claims.move(claim, [("failed", list(indices), lines, None)])

    @guarded
    def stats(self) -> QueueStats:
        """Count the tasks, from names of files mostly: a few milliseconds for a million."""
        return self._view.stats()

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks; those that move meanwhile may be missed or seen twice."""
        try:
            yield from self._view.records(state)
        except OSError as error:
            raise storage_error(self.folder.root, error) from None

    @guarded
    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        return self._view.find(key)

    @guarded
    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        self._heartbeat.beat(ADMIN_TTL, self._clock())
        wanted = None if ids is None else frozenset(ids)
        count, names = retry(self.folder, self._claims, wanted, self._clock())
        self._search.found(names)
        return count

    @guarded
    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        self._heartbeat.beat(ADMIN_TTL, self._clock())
        return purge(self.folder, self._claims, self._filler, state, self._clock(), self._wall())

    def close(self) -> None:
        """Give back what was not handed out. Leases still held lapse."""
        with contextlib.suppress(OSError):
            for claim in list(self._claims.held.values()):
                if rest := claim.pending():
                    self._give_back(claim, [rest])
            if not self._claims.held:
                self._heartbeat.stop()


ADMIN_TTL = 30.0
"""Seconds after which others clean up what a retry or a purge was doing when it fell silent."""
