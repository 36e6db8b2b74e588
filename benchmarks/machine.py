"""The machine that figures are from."""

from __future__ import annotations

import os
import platform
import sqlite3
from contextlib import suppress


def describe() -> dict[str, str | int | float]:
    """Describe the machine: processors, kernel, Python, and how busy it was at the start."""
    model = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": round(os.getloadavg()[0], 2),
    }


def line(machine: dict[str, str | int | float]) -> str:
    """Write it as one line."""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}, "
        f"load at the start {machine['load']}"
    )
