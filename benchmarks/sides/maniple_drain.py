"""Empties a queue with no-op function minions: URL JOBS BATCH. Prints seconds and peak memory.

What was done is counted by the function itself, in memory that the processes share: the queue's own
word is not taken for it. Where a queue cannot count what others hold, its minions stay for a while
when all is done; there the time ends with the last call.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from contextlib import suppress

from maniple.minion.book import Policy
from maniple.minion.minion import Minion
from maniple.proctree import children
from maniple.runners.function import FunctionRunner
from maniple.urls import open_queue

LOOK_SECONDS = 0.1


def work(
    url: str, batch: int, counts: memoryview[int], lasts: memoryview[float], slot: int
) -> None:
    """Be one minion; note each call of the function in the slot that is this minion's."""

    def noop(_param: object) -> None:
        counts[slot] += 1
        lasts[slot] = time.perf_counter()

    queue = open_queue(url, create=False)
    Minion(queue, FunctionRunner(noop), policy=Policy(batch=batch)).run()
    queue.close()


def peak_bytes(pid: int) -> int:
    """Tell the most memory that a process has occupied (its high-water mark of resident pages)."""
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Fork the minions, and look at them until they have left."""
    url, jobs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    start = time.perf_counter()
    counts: memoryview[int] = memoryview(mmap.mmap(-1, jobs * 8)).cast("Q")
    lasts: memoryview[float] = memoryview(mmap.mmap(-1, jobs * 8)).cast("d")
    minions = []
    for slot in range(jobs):
        pid = os.fork()
        if pid == 0:
            work(url, batch, counts, lasts, slot)
            os._exit(0)
        minions.append(pid)
    minion_bytes = child_bytes = 0
    failed = False
    while minions:
        for pid in minions:
            minion_bytes = max(minion_bytes, peak_bytes(pid))
            for child in children(pid):
                child_bytes = max(child_bytes, peak_bytes(child))
        waited = time.perf_counter()
        while minions and time.perf_counter() - waited < LOOK_SECONDS:
            time.sleep(0.001)
            for pid in list(minions):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    minions.remove(pid)
                    failed = failed or status != 0
    seconds = time.perf_counter() - start
    if failed:
        sys.exit("a minion failed")
    queue = open_queue(url, create=False)
    stats = queue.stats()
    queue.close()
    calls = sum(counts)
    done = calls if stats.done is None else stats.done
    if stats.leased is None:
        seconds = max(lasts) - start
    if calls != done:
        sys.exit(f"the function was called {calls} times for {done} tasks done")
    found = {
        "seconds": seconds,
        "done": done,
        "minion_bytes": minion_bytes,
        "child_bytes": child_bytes,
    }
    print(json.dumps(found))


main()
