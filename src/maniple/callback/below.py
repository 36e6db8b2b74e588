"""The processes that a user's code started below us, and how all of them are ended.

Children are found by their parents, children of dead parents by a mark in their environment.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Final

from maniple import proctree

GRACE_SECONDS: Final = 0.5
_LOOKS: Final = 5
_PREFIX: Final = "MANIPLE_MINION_"


class Below:
    """All that is started below this process from now on; what was there before is not touched."""

    def __init__(self) -> None:
        self._before = set(_children())

    def pids(self) -> list[int]:
        """List the live processes."""
        me = os.getpid()
        old: set[int] = set(self._before)
        for pid in self._before:
            old.update(proctree.descendants(pid))
        return [*dict.fromkeys(p for p in (*proctree.descendants(me), *_marked()) if p not in old)]

    def end(self, grace: float = GRACE_SECONDS) -> None:
        """End all of them: TERM, then KILL after `grace` seconds."""
        pids = self.pids()
        if not pids:
            return
        proctree.signal_all(pids, signal.SIGTERM)
        # one that is stopped hears nothing before it goes on
        proctree.signal_all(pids, signal.SIGCONT)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and self.pids():
            time.sleep(0.01)
        for _ in range(_LOOKS):
            # what was started meanwhile, and what ignores a polite word
            left = self.pids()
            if not left:
                break
            proctree.signal_all(left, signal.SIGKILL)


def mark() -> dict[str, str]:
    """Give the environment of a program to start below us."""
    return {**os.environ, f"{_PREFIX}{os.getpid()}": _start()}


def _start() -> str:
    with suppress(OSError), open("/proc/self/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()
    return "0"


def _children() -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _marked() -> list[int]:
    if not proctree.LINUX:
        return []
    wanted = f"{_PREFIX}{os.getpid()}={_start()}".encode()
    found = []
    me = str(os.getpid())
    for name in os.listdir("/proc"):
        if name.isdigit() and name != me:
            # a zombie's environment is empty, another user's is hidden
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
    return found
