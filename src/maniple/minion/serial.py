"""A runner of one task at a time, seen as a stream of tasks."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from maniple.errors import StorageError
from maniple.runner import Context, Outcome, Runner
from maniple.task import Task


class Serial:
    """Makes a stream of a runner that takes one task at a time."""

    def __init__(self, runner: Runner) -> None:
        self.lock: AbstractContextManager[Any] = threading.RLock()
        self._runner = runner
        self._waiting: deque[Task] = deque()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Queue tasks."""
        self._waiting.extend(tasks)

    def collect(self, context: Context, timeout: float) -> list[tuple[Task, Outcome]]:  # noqa: ARG002 - a task takes its time
        """Run the next task to its end."""
        try:
            task = self._waiting.popleft()
        except IndexError:
            return []
        start = time.time()
        try:
            outcome = self._runner.run(task, context)
        except StorageError:
            # not the task's fault, and the next one would meet it too
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            # signals only set a flag while a minion runs: an exit or an interrupt is the task's
            outcome = Outcome(
                ok=False,
                start=start,
                end=time.time(),
                cause=type(error).__name__,
                error="".join(traceback.format_exception(error)),
            )
        return [(task, outcome)]

    def withdraw(self) -> list[Task]:
        """Take back what waits: whoever pops a task has it."""
        taken = []
        while self._waiting:
            try:
                taken.append(self._waiting.pop())
            except IndexError:
                break
        return taken[::-1]

    def stop(self) -> list[tuple[Task, Outcome]]:
        """Do nothing: a task ends with `collect`."""
        return []

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()
