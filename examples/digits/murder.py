"""How the demo kills a minion: as a machine does that gives out, from outside and unannounced."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

LOOK_SECONDS: Final = 0.02
INTO_TASK_SECONDS: Final = 0.3


class Killed(NamedTuple):
    """A minion that is no more.

    Attributes:
        minion: its process.
        words: the command that it was running.
        at: when it was killed, in seconds since the epoch.
    """

    minion: int
    words: list[str]
    at: float


def kill_one(run: subprocess.Popen[bytes], script: str, ready: Callable[[], bool]) -> Killed | None:
    """Kill one minion of a running `maniple run` in the middle of a task.

    Args:
        run: the process of `maniple run`: its minions are its children.
        script: a word of the command that tasks run.
        ready: tells when it is time.

    Returns:
        What was killed, or None when all was over before.
    """
    while run.poll() is None:
        time.sleep(LOOK_SECONDS)
        if not ready():
            continue
        for minion, task in _at_work(run.pid, script):
            time.sleep(INTO_TASK_SECONDS)
            killed = _kill(minion, task, script)
            if killed is not None:
                return killed
    return None


def _kill(minion: int, task: int, script: str) -> Killed | None:
    with suppress(ProcessLookupError):
        # Held still, it cannot finish the task between our look and the blow
        os.kill(minion, signal.SIGSTOP)
        words = _words(task)
        if _parents().get(task) == minion and script in words:
            os.kill(minion, signal.SIGKILL)
            return Killed(minion, words, time.time())
        os.kill(minion, signal.SIGCONT)
    return None


def _at_work(run: int, script: str) -> list[tuple[int, int]]:
    """List the minions that run a task now, each with the task's process."""
    parents = _parents()
    return [
        (parent, pid)
        for pid, parent in parents.items()
        if parents.get(parent) == run and script in _words(pid)
    ]


def _parents() -> dict[int, int]:
    """Map each process that has not ended to its parent."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The program's name in brackets may hold spaces and brackets
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in {b"Z", b"X"}:
                    found[int(name)] = int(parent)
    return found


def _words(pid: int) -> list[str]:
    """Read the command line of a process; empty when it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    return []
