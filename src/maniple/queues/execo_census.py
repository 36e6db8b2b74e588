"""Where every task of a `ParamSweeper` stands, out of what execo knows and what we noted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maniple.queue import QueueStats, Record, State
from maniple.queues.execo_folder import in_progress
from maniple.queues.execo_notes import Notes, Watch
from maniple.queues.execo_values import task_of
from maniple.task import Task


class Census:
    """One look at a sweep; make and use it while the folder is locked.

    Attributes:
        held: what is in progress, by task id, noted or not.
    """

    def __init__(self, sweeper: Any, notes: Notes, watch: Watch) -> None:
        self.held: dict[str, Any] = {}
        self._sweeps: set[Any] = set()
        self._done: set[Any] = set()
        if sweeper is not None:
            self.held = in_progress(sweeper)
            sweeps, _, _, _, done = sweeper.stats()
            self._sweeps, self._done = set(sweeps), set(done)
        self._notes = notes
        self._watch = watch
        self._taken = notes.taken()
        self._failed = notes.failed()

    def foreign(self) -> dict[str, Any]:
        """List what is in progress without a note of ours, by task id."""
        return {key: one for key, one in self.held.items() if key not in self._taken}

    def stats(self) -> QueueStats:
        """Count the tasks; what is in progress without a note counts nowhere."""
        leased = delayed = 0
        for key in self._taken:
            note = self._notes.note(key)
            if note is not None and note.owner:
                leased += 1
            elif note is not None and not self._watch.over(key, note):
                delayed += 1
        done, failed = len(self._done & self._sweeps), len(self._failed)
        waiting = len(self._sweeps) - done - leased - delayed - failed - len(self.foreign())
        return QueueStats(
            waiting=max(0, waiting), delayed=delayed, leased=leased, done=done, failed=failed
        )

    def records(self) -> Iterator[tuple[Any, Record]]:
        """Walk over the tasks, each with what execo calls it."""
        for original in self._sweeps:
            yield original, self._record(original, task_of(original))

    def _record(self, original: Any, task: Task) -> Record:
        key = task.id
        if key in self._failed and (aside := self._notes.aside(key)) is not None:
            failed = Task(key, task.data, aside.attempt, aside.number)
            return Record(failed, State.FAILED, aside.failure)
        note = self._notes.note(key) if key in self._taken else None
        if note is not None:
            task = Task(key, task.data, note.attempt, note.number)
        if original in self._done:
            return Record(task, State.DONE)
        if note.owner if note is not None else key in self.held:
            return Record(task, State.LEASED)
        if note is not None and not self._watch.over(key, note):
            return Record(task, State.DELAYED)
        return Record(task, State.WAITING)
