"""Who holds a lease, and whether that process is still alive.

An identity is text that is safe in a file name: `boot-namespaces-pid-start-host`. The boot id and
the namespaces say where the other parts mean anything; the start time tells a process from a later
one that was given the same pid; the host name is there for people to read.
"""

from __future__ import annotations

import os

_UNKNOWN_START = "0"
_PARTS = 5
_START_FIELD = 19  # of /proc/PID/stat, counted from the state: field 22 in proc(5)
_cached: str | None = None


def _forget() -> None:
    global _cached  # noqa: PLW0603 - a child is another owner than its parent
    _cached = None


os.register_at_fork(after_in_child=_forget)


def identity() -> str:
    """Name this process, so that others can tell whether it still lives."""
    global _cached  # noqa: PLW0603 - five files are read for it, and it never changes
    if _cached is None:
        pid = os.getpid()
        status = _status(pid)
        start = _UNKNOWN_START if status is None else status[1]
        host = "".join(c if c.isalnum() or c in "._" else "_" for c in os.uname().nodename)
        _cached = f"{_boot()}-{_namespaces()}-{pid}-{start}-{host[:64]}"
    return _cached


def host_of(owner: str) -> str:
    """Return the host name that an identity holds, to show it to people."""
    return owner.rpartition("-")[2]


def is_dead(owner: str) -> bool | None:
    """Tell whether the process of an identity has ended.

    Returns:
        True when it certainly has (a zombie has, too), False when it certainly lives, None when
        that cannot be known from here: another machine, another boot, another namespace. Another
        boot id under the same host name is None as well, for containers share host names.
    """
    parts = owner.split("-")
    if len(parts) != _PARTS or not parts[2].isdecimal():
        return None
    mine = identity()
    if owner == mine:
        return False
    if parts[:2] != mine.split("-", 2)[:2]:
        return None
    pid, start = int(parts[2]), parts[3]
    status = _status(pid)
    if status is not None:
        state, started = status
        if start == _UNKNOWN_START:
            return None
        return started != start or state in "ZX"
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    # it exists, but who it is stays hidden (no /proc, or one that hides other users' processes)
    return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _boot() -> str:
    boot = _read("/proc/sys/kernel/random/boot_id").strip().replace("-", "")
    if boot:
        return boot
    import hashlib

    started = [line for line in _read("/proc/stat").splitlines() if line.startswith("btime")]
    return hashlib.blake2b(repr((os.uname(), started)).encode(), digest_size=16).hexdigest()


def _namespaces() -> str:
    """Pids mean something within one pid namespace, start times within one time namespace."""
    found = []
    for name in ("pid", "time"):
        try:
            found.append(f"{os.stat(f'/proc/self/ns/{name}').st_ino:x}")
        except OSError:
            found.append("0")
    return ".".join(found)


def _status(pid: int) -> tuple[str, str] | None:
    """State and start time (clock ticks after boot), or None where they cannot be read."""
    text = _read(f"/proc/{pid}/stat")
    # the command's name stands in brackets and may hold brackets and spaces itself
    fields = text.rpartition(")")[2].split()
    if len(fields) <= _START_FIELD:
        return None
    return fields[0], fields[_START_FIELD]
