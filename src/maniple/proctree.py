"""Processes and their descendants, as Linux shows them: finding, ending, adopting.

Elsewhere the calls that only Linux has do nothing, and process groups carry the weight.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

LINUX: Final = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(number: int, parent: int) -> None:
    """Have the kernel send this signal when the parent dies; also if it already has."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                # the name in brackets may hold anything, brackets and spaces included
                fields = file.read().rpartition(b")")[2].split()
                if fields[0] not in {b"Z", b"X"}:
                    found[int(name)] = int(fields[1])
    return found


def descendants(root: int) -> list[int]:
    """List all live processes below one, children first."""
    if not LINUX:
        return []
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def children(parent: int) -> list[int]:
    """List the live children of a process, adopted ones included."""
    if not LINUX:
        return []
    try:
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return [pid for pid, above in _parents().items() if above == parent]


def leaders_with(variable: bytes) -> list[int]:
    """List the leaders of process groups with this `NAME=value` in their first environment."""
    found = []
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{name}/environ", "rb") as file:
                if variable in file.read().split(b"\0") and os.getpgid(int(name)) == int(name):
                    found.append(int(name))
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Signal processes; those that are gone already do not matter."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def signal_group(leader: int, number: int) -> None:
    """Signal a process group; one that is gone already does not matter."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end_tree(leader: int, *, grace: float) -> int:
    """End a child of ours, its group and all its descendants: TERM, then KILL after `grace` s.

    Returns:
        Its wait status.
    """
    below = descendants(leader)
    signal_group(leader, signal.SIGTERM)
    signal_all(below, signal.SIGTERM)
    deadline = time.monotonic() + grace
    nap = 0.001
    while time.monotonic() < deadline:
        if has_ended(leader) and not any(map(_alive, below)):
            break
        time.sleep(nap)
        nap = min(nap * 2, 0.02)
    # whoever was started meanwhile, or ignores a polite word
    below += descendants(leader)
    signal_group(leader, signal.SIGKILL)
    signal_all(below, signal.SIGKILL)
    return os.waitpid(leader, 0)[1]


def has_ended(child: int) -> bool:
    """Tell whether a child of ours has ended, and leave it to be waited for."""
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, child, flags) is not None


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False
