"""A compact table of events: a column per field that statistics need."""

from __future__ import annotations

import math
import os
import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from maniple.stats.scan import Line, Scanner

_EXCEPTION: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?::\s|:?$)")
_MESSAGE_WIDTH: Final = 400
_CAUSE_WIDTH: Final = 60


class Failed(NamedTuple):
    """Why one attempt failed: a few words, and the last line of its message."""

    cause: str
    message: str


class Frame:
    """Events as columns, a row each, in the order in which they were read.

    Attributes:
        starts, ends: seconds since the epoch; `ends` is never before `starts`.
        ok: 1 where the attempt ended well.
        tasks: number of the task, equal for all attempts of one task of one queue; an event
            without a task's id is a task of its own.
        attempts: which attempt of the task this was.
        minions: index into `uids` and `nodes`.
        params: JSON text.
        failures: by row, for the rows whose attempt failed.
        uids, nodes: of the minions: their name and their machine's.
        queues: URLs that events name, in order of appearance.
        steps: name of a step to how often it was timed, and seconds in all.
        damaged: lines skipped.
    """

    def __init__(self) -> None:
        self.starts = array("d")
        self.ends = array("d")
        self.ok = bytearray()
        self.tasks = array("q")
        self.attempts = array("q")
        self.minions = array("q")
        self.params: list[bytes] = []
        self.failures: dict[int, Failed] = {}
        self.uids: list[str] = []
        self.nodes: list[str] = []
        self.steps: dict[str, tuple[int, float]] = {}
        self.damaged = 0
        self._task_count = 0
        self._task_numbers: dict[str, dict[str, int]] = {}
        self._minion_numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def queues(self) -> list[str]:
        """URLs that events name, in order of appearance."""
        return [url for url in self._task_numbers if url]

    def extend(self, lines: Sequence[Line]) -> None:
        """Add a row per event."""
        # A comprehension per column takes half the time of a loop with a row's worth of calls
        first = len(self.ok)
        starts = [line.start for line in lines]
        self.starts.extend(starts)
        # A clock that was set back in the middle must not give negative durations
        self.ends.extend(map(max, [line.end for line in lines], starts))
        self.params += [bytes(line.param) for line in lines]
        self.attempts.extend([line.attempt for line in lines])
        self.tasks.extend([self._task_number(line.queue, line.task) for line in lines])
        self.minions.extend([self._minion_number(line.uid, line.nodename) for line in lines])
        self.ok += bytes([line.error is None for line in lines])
        for row, line in enumerate(lines, first):
            if line.error is not None:
                self.failures[row] = Failed(*_explain(line.cause, line.error))
        self._time_steps(lines)

    def _time_steps(self, lines: Sequence[Line]) -> None:
        durations: defaultdict[str, list[float]] = defaultdict(list)
        for line in lines:
            for step in line.atomic_actions or ():
                start, end = step.start, step.end
                if start is not None and end is not None:
                    durations[step.name].append(end - start)
        for name, seconds in durations.items():
            count, total = self.steps.get(name, (0, 0.0))
            total += math.fsum(duration for duration in seconds if duration > 0)
            self.steps[name] = (count + len(seconds), total)

    def _minion_number(self, uid: str, node: str | None) -> int:
        number = self._minion_numbers.get(uid)
        if number is None:
            number = self._minion_numbers[uid] = len(self.uids)
            self.uids.append(uid)
            self.nodes.append(node or "")
        return number

    def _task_number(self, queue: str, task: str) -> int:
        numbers = self._task_numbers.get(queue)
        if numbers is None:
            numbers = self._task_numbers[queue] = {}
        number = numbers.get(task) if task else None
        if number is None:
            number = self._task_count
            self._task_count += 1
            if task:
                numbers[task] = number
        return number


def _explain(cause: str, error: str) -> tuple[str, str]:
    """Return cause and message; the cause is taken from the message where the event has none."""
    message = error.rstrip().rpartition("\n")[2].strip()[:_MESSAGE_WIDTH]
    if cause:
        return cause, message or cause
    if not message:
        return "no message", "no message"
    match = _EXCEPTION.match(message)
    return (match[1] if match else message[:_CAUSE_WIDTH]), message


class Follower:
    """Keeps a frame of a folder up to date, reading only what was added."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name a folder of event files, or one such file; it need not exist yet."""
        self._scanner = Scanner(path)
        self._frame = Frame()

    def refresh(self) -> Frame:
        """Read what was added; begin anew when files were removed or replaced.

        Raises:
            StorageError: the folder or a file cannot be read.
        """
        if self._scanner.stale():
            self._scanner = Scanner(self._scanner.path)
            self._frame = Frame()
        for batch in self._scanner.read():
            self._frame.extend(batch)
        self._frame.damaged = self._scanner.damaged
        return self._frame


def read_frame(path: str | os.PathLike[str]) -> Frame:
    """Read all events of a folder (or one file) into a table.

    Raises:
        StorageError: the folder or a file cannot be read.
    """
    return Follower(path).refresh()
