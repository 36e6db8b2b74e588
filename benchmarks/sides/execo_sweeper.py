"""A million params in execo's ParamSweeper: `fill X Y` makes a grid, `take N` takes N of it."""

import json
import sys
import time

from execo_engine import ParamSweeper, sweep


def fill(x, y):
    """Make the sweep; return the seconds."""
    start = time.perf_counter()
    ParamSweeper("sweeps", sweep({"x": range(x), "y": range(y)}), save_sweeps=True)
    return {"seconds": time.perf_counter() - start}


def take(number):
    """Open it, take and finish tasks; return the seconds of each and the peak memory."""
    start = time.perf_counter()
    sweeper = ParamSweeper("sweeps")
    opened = time.perf_counter()
    for _ in range(number):
        sweeper.done(sweeper.get_next())
    ended = time.perf_counter()
    with open("/proc/self/status", encoding="ascii") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    return {
        "open_seconds": opened - start,
        "task_seconds": (ended - opened) / number,
        "bytes": peak,
    }


numbers = [int(word) for word in sys.argv[2:]]
print(json.dumps(fill(*numbers) if sys.argv[1] == "fill" else take(*numbers)))
