"""Lets the workers of any peer note that a task ran, for a microsecond or two each."""

from __future__ import annotations

import os
import struct
import sys
import time

SIZE = struct.calcsize("d")
_files: dict[str, int] = {}


def tick(path: str) -> None:
    """Append the time: short appends of several processes do not mix."""
    file = _files.get(path)
    if file is None:
        file = _files[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, struct.pack("d", time.time()))


def seen(path: str) -> int:
    """Tell how many tasks have run."""
    try:
        return os.stat(path).st_size // SIZE
    except FileNotFoundError:
        return 0


def between(path: str, tasks: int, alive=lambda: True) -> float:
    """Wait for all tasks; return the seconds from the first one to the last."""
    while seen(path) < tasks:
        if not alive():
            sys.exit(f"the workers ended after {seen(path)} of {tasks} tasks")
        time.sleep(0.01)
    time.sleep(0.02)
    with open(path, "rb") as file:
        data = file.read()
    if len(data) != tasks * SIZE:
        sys.exit(f"{len(data) // SIZE} runs of {tasks} tasks")
    times = [each[0] for each in struct.iter_unpack("d", data)]
    return max(times) - min(times)
