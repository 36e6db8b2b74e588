"""The folder of an execo `ParamSweeper` as a queue: `execo:DIR`.

execo knows what is done and what is in progress, but not by whom. We note that beside it (see
`execo_notes`), so that what a dead minion had in progress can be run again. The order of writing
makes every moment of death harmless: an owner is noted before execo marks a param as in
progress, and a note goes after execo has heard the outcome.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from maniple import owner
from maniple.queue import (
    MAX_LAPSES,
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    as_tasks,
    lost_failure,
)
from maniple.queues.execo_census import Census
from maniple.queues.execo_folder import Folder, in_progress
from maniple.queues.execo_notes import Aside, Note, Watch
from maniple.queues.execo_values import task_of
from maniple.task import Task

DEFAULT_DIRECTORY: Final = "sweeps"
POLL_SECONDS: Final = 0.05


class Token(NamedTuple):
    """A lease's mark, and what execo calls the param."""

    mark: str
    original: Any


class ExecoQueue:
    """The queue `execo:DIR`; plain users of execo may work on the folder at the same time.

    A param in progress without a note (another tool took it) is left alone, and counted nowhere,
    until `retry` names it.

    Args:
        rest: the folder, made by `ParamSweeper(DIR, sweeps=..., save_sweeps=True)` or by `put`.
        create: accept a folder that does not exist yet.
        clock: seconds; never goes back; common to the processes of one machine.
        wall: seconds since the epoch, for what people read.

    Raises:
        QueueError: the folder is missing, of another kind, damaged or not permitted.
        MissingExtraError: execo is not installed.
    """

    guarantees = Guarantees(
        durable=True, shared=True, machines=True, redelivers=True, counts=True, finite=True
    )

    def __init__(
        self,
        rest: str = "",
        *,
        create: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        directory = rest or DEFAULT_DIRECTORY
        self.url = f"execo:{directory}"
        self._clock = clock
        self._wall = wall
        self._owner = owner.identity()
        self._clock_name = "-".join(self._owner.split("-")[:2])
        self._watch = Watch(clock, self._clock_name)
        self._skipped: set[str] = set()
        self._skipper: Any = None
        self._folder = Folder(directory, create=create)
        self._notes = self._folder.notes

    def put(self, tasks: Iterable[Any]) -> int:
        """Add tasks; the whole list is written anew, so add many at a time."""
        new = {task.id: task for task in as_tasks(tasks)}
        with self._folder.work() as sweeper:
            for one in () if sweeper is None else sweeper.get_sweeps():
                new.pop(task_of(one).id, None)
            return self._folder.extend(list(new.values())) if new else 0

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks: those that came back first, then by their number."""
        deadline = self._clock() + wait
        while True:
            if limit > 0:
                with self._folder.work() as sweeper:
                    leases = [] if sweeper is None else self._take(sweeper, limit, ttl)
                if leases:
                    return leases
            left = deadline - self._clock()
            if left <= 0:
                return []
            time.sleep(min(left, POLL_SECONDS))

    def _take(self, sweeper: Any, limit: int, ttl: float) -> list[Lease]:
        notes = self._notes.all()
        if self._reclaim(sweeper, notes):
            notes = self._notes.all()
        failed = self._notes.failed()
        if self._skipper is not sweeper:
            self._skipper = sweeper
            self._skipped.clear()
        if self._skipped - failed:
            # somebody put them back: this instance has to forget that it skipped them
            sweeper.reset()
            self._skipped.clear()
        leases: list[Lease] = []
        problem: list[BaseException] = []

        def choose(remaining: Collection[Any]) -> list[Any]:
            try:
                for original in self._runnable(remaining, notes, failed):
                    leases.append(self._note(original, notes, ttl))
                    if len(leases) == limit:
                        break
            except BaseException as error:
                # execo's own locks are to be left in order
                problem.append(error)
            return [lease.token.original for lease in leases]

        got = set(sweeper.get_next_batch(limit, choose))
        if problem:
            raise problem[0]
        for lease in leases:
            if lease.token.original not in got:
                self._notes.forget(lease.task.id)
        return [lease for lease in leases if lease.token.original in got]

    def _runnable(
        self, remaining: Collection[Any], notes: dict[str, Note], failed: set[str]
    ) -> Iterator[Any]:
        """Walk over what can be leased now, each once."""
        index = self._folder.index
        over = [k for k, note in notes.items() if not note.owner and self._watch.over(k, note)]
        back = [original for original in index.originals(over) if original in remaining]
        yield from back
        given = set(back)
        for original in index.walk(remaining):
            key = index.key(original)
            # in somebody's hands (execo can lose that), in its pause, or set aside
            if key not in notes and key not in failed and original not in given:
                given.add(original)
                yield original

    def _note(self, original: Any, notes: dict[str, Note], ttl: float) -> Lease:
        task = task_of(original)
        note = notes.get(task.id)
        attempt = note.attempt if note else 1
        mark = f"{random.getrandbits(64):016x}"
        self._notes.write(
            task.id,
            Note(
                token=mark,
                owner=self._owner,
                beat=0,
                ttl=ttl,
                until=self._clock() + ttl,
                attempt=attempt,
                lapses=note.lapses if note else 0,
                clock=self._clock_name,
            ),
        )
        number = self._folder.index.number(original)
        return Lease(Task(task.id, task.data, attempt, number), Token(mark, original))

    def _reclaim(self, sweeper: Any, notes: dict[str, Note]) -> int:
        """Take back what the dead held, and what lapsed; return how many."""
        dead = {name: owner.is_dead(name) for name in {note.owner for note in notes.values()}}
        stale = [
            (key, note)
            for key, note in notes.items()
            if note.owner and (self._watch.over(key, note) or dead[note.owner] is True)
        ]
        if not stale:
            return 0
        held = in_progress(sweeper)
        # killed between two writes: execo has it as done, or not yet as in progress
        loose = any(key not in held for key, _ in stale)
        todo = {task_of(one).id for one in sweeper.get_remaining()} if loose else set()
        for key, note in stale:
            self._watch.forget(key)
            if key in held:
                self._lapse(sweeper, key, note, held[key])
            elif key in todo:
                self._notes.write(key, _returned(note, lapses=note.lapses + 1))
            else:
                self._notes.forget(key)
        return len(stale)

    def _lapse(self, sweeper: Any, key: str, note: Note, original: Any) -> None:
        lapses = note.lapses + 1
        if lapses > MAX_LAPSES:
            failure = lost_failure(lapses, self._wall())
            self._notes.set_aside(key, Aside(failure, note.attempt))
            sweeper.skip(original)
            self._skipped.add(key)
            self._notes.forget(key)
        else:
            sweeper.cancel(original)
            self._notes.write(key, _returned(note, lapses=lapses))

    def _mine(self, lease: Lease) -> Note | None:
        note = self._notes.note(lease.task.id)
        if note is None or note.token != lease.token.mark or note.owner != self._owner:
            return None
        return note

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that were taken back."""
        lost: list[Lease] = []
        if not leases:
            return lost
        with self._folder.work():
            until = self._clock() + ttl
            for lease in leases:
                note = self._mine(lease)
                if note is None:
                    lost.append(lease)
                    continue
                renewed = replace(note, beat=note.beat + 1, ttl=ttl, until=until)
                self._notes.write(lease.task.id, renewed)
        return lost

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that others have taken since."""
        lost: list[Lease] = []
        if not leases:
            return lost
        with self._folder.work() as sweeper:
            ours = []
            for lease in leases:
                note = self._notes.note(lease.task.id)
                if note is not None and note.token == lease.token.mark:
                    ours.append(lease)
                elif note is None and self._lost_only(lease.task.id):
                    self._notes.pardon(lease.task.id)
                    ours.append(lease)
                else:
                    lost.append(lease)
            if ours:
                sweeper.done_batch([lease.token.original for lease in ours])
            for lease in ours:
                self._notes.forget(lease.task.id)
        return lost

    def _lost_only(self, key: str) -> bool:
        aside = self._notes.aside(key)
        return aside is not None and aside.failure.cause == "lost"

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay`."""
        if not leases:
            return
        with self._folder.work() as sweeper:
            ours = [(lease, note) for lease in leases if (note := self._mine(lease)) is not None]
            sweeper.cancel_batch([lease.token.original for lease, _ in ours])
            for lease, note in ours:
                back = _returned(note, ttl=delay, until=self._clock() + delay)
                self._notes.write(lease.task.id, replace(back, attempt=note.attempt + attempted))

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside: execo has them as skipped, and we the reason."""
        if not failures:
            return
        with self._folder.work() as sweeper:
            for lease, failure in failures:
                note = self._mine(lease)
                if note is not None:
                    key = lease.task.id
                    self._notes.set_aside(key, Aside(failure, note.attempt))
                    sweeper.skip(lease.token.original)
                    self._skipped.add(key)
                    self._notes.forget(key)

    def _census(self, sweeper: Any) -> Census:
        return Census(sweeper, self._folder, self._watch)

    def stats(self) -> QueueStats:
        """Count the tasks; what is in progress without a note of ours is not counted."""
        with self._folder.work() as sweeper:
            return self._census(sweeper).stats()

    def foreign(self) -> int:
        """Count what is in progress without a note of ours."""
        with self._folder.work() as sweeper:
            return len(self._census(sweeper).foreign())

    def original(self, lease: Lease) -> Any:
        """Give the very object that the sweep was made of."""
        return lease.token.original

    def waiting_originals(self) -> list[Any]:
        """List what waits, as the sweep was made of it."""
        with self._folder.work() as sweeper:
            if sweeper is None:
                return []
            sweeper.update()
            remaining = sweeper.get_remaining()
            found = self._runnable(remaining, self._notes.all(), self._notes.failed())
            return list(found)

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks, as they stood when the walk began."""
        with self._folder.work() as sweeper:
            found = [
                record
                for _, record in self._census(sweeper).records()
                if state in {None, record.state}
            ]
        yield from found

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by the first digits of its id."""
        low = key.lower()
        exact = None
        matching = []
        for record in self.records():
            if key.isdigit() and record.task.number == int(key):
                exact = record
            if low and record.task.id.startswith(low):
                matching.append(record)
        return exact or (matching[0] if len(matching) == 1 else None)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks back as new; and those in progress without a note, if they are named."""
        with self._folder.work() as sweeper:
            failed = self._notes.failed()
            chosen = failed if ids is None else failed & set(ids)
            count = sum(self._notes.pardon(key) for key in chosen)
            for key, original in self._census(sweeper).foreign().items():
                if ids is not None and key in ids:
                    sweeper.cancel(original)
                    count += 1
        return count

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks of one state (never leased ones), or all."""
        if state is State.LEASED:
            return 0
        with self._folder.work() as sweeper:
            kept: list[Any] = []
            gone: list[str] = []
            for original, record in self._census(sweeper).records():
                if record.state is State.LEASED or state not in {None, record.state}:
                    kept.append(original)
                else:
                    gone.append(record.task.id)
            for key in gone:
                self._notes.forget(key)
                self._notes.pardon(key)
            if gone:
                self._folder.replace(kept, forget_done=state in {None, State.DONE})
        return len(gone)

    def close(self) -> None:
        """Let go of the folder."""
        self._folder.close()


def _returned(note: Note, **changes: Any) -> Note:
    back = replace(note, owner="", beat=note.beat + 1, ttl=0.0, until=0.0)
    return replace(back, **changes)
