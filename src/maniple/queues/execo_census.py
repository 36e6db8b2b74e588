"""Where every task of a `ParamSweeper` stands, out of what execo knows and what we noted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maniple.queue import QueueStats, Record, State
from maniple.queues.execo_folder import Folder, in_progress
from maniple.queues.execo_notes import Watch
from maniple.queues.execo_values import task_of
from maniple.task import Task


class Census:
    """One look at a sweep; make and use it while the folder is locked.

    Attributes:
        held: what is in progress, by task id, noted or not.
    """

    def __init__(self, sweeper: Any, folder: Folder, watch: Watch) -> None:
        self.held: dict[str, Any] = {}
        self._sweeps: set[Any] = set()
        self._done: set[Any] = set()
        if sweeper is not None:
            self.held = in_progress(sweeper)
            sweeps, _, _, _, done = sweeper.stats()
            self._sweeps, self._done = set(sweeps), set(done)
        self._index = folder.index
        self._aside = folder.notes.aside
        self._watch = watch
        self._taken = folder.notes.all()
        self._failed = folder.notes.failed()

    def foreign(self) -> dict[str, Any]:
        """List what is in progress without a note of ours, by task id."""
        return {key: one for key, one in self.held.items() if key not in self._taken}

    def stats(self) -> QueueStats:
        """Count the tasks; what is in progress without a note counts nowhere."""
        leased = delayed = 0
        for key, note in self._taken.items():
            if note.owner:
                leased += 1
            elif not self._watch.over(key, note):
                delayed += 1
        done, failed = len(self._done & self._sweeps), len(self._failed)
        waiting = len(self._sweeps) - done - leased - delayed - failed - len(self.foreign())
        return QueueStats(
            waiting=max(0, waiting), delayed=delayed, leased=leased, done=done, failed=failed
        )

    def records(self) -> Iterator[tuple[Any, Record]]:
        """Walk over the tasks by number, each with what execo calls it."""
        for original in self._index.in_order(self._sweeps):
            yield original, self._record(original, task_of(original))

    def _record(self, original: Any, task: Task) -> Record:
        key = task.id
        number = self._index.number(original)
        if key in self._failed and (aside := self._aside(key)) is not None:
            failed = Task(key, task.data, aside.attempt, number)
            return Record(failed, State.FAILED, aside.failure)
        note = self._taken.get(key)
        task = Task(key, task.data, note.attempt if note else 1, number)
        if original in self._done:
            return Record(task, State.DONE)
        if note.owner if note is not None else key in self.held:
            return Record(task, State.LEASED)
        if note is not None and not self._watch.over(key, note):
            return Record(task, State.DELAYED)
        return Record(task, State.WAITING)
