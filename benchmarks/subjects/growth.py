"""Whether a task costs more when there are more of them: 1 k, 100 k and 1 M."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from bench import JOBS, Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import Trouble

SIZES = (1_000, 100_000, 1_000_000)
BATCH = 256
SECONDS = 120.0
REPEATS = 5
GROWTH = 1.2


def measure(bench: Bench) -> list[Row]:
    """Measure microseconds a task of emptying sqlite queues of several sizes.

    The start and end of the minions, as a queue of one task shows them, are subtracted: they would
    be most of what a thousand tasks take.
    """
    sizes = SIZES[: bench.size(3, 2)]
    sides: dict[str, Measure] = {}
    for tasks in reversed(sizes):
        sides[_name(tasks)] = partial(_cost, bench, tasks)
    figures = rounds(sides, bench.size(3, 2), bench.say)
    return [
        row
        for fewer, more in pairwise(sizes)
        for row in compare(
            figures,
            _name(fewer),
            {_name(more): "the same with more tasks: here the ratio is the growth"},
            figure="us",
            subject="growth",
            work=f"no-op function, sqlite, 2 minions, {_name(fewer)}",
            unit="us",
            goal=Goal(ratio_at_most=GROWTH),
        )
    ]


def _name(tasks: int) -> str:
    return f"a task of {tasks:,}"


def _cost(bench: Bench, tasks: int) -> dict[str, float]:
    repeats = REPEATS if tasks == SIZES[0] else 1
    times = [_drain(bench, tasks) - _drain(bench, 1) for _ in range(repeats)]
    return {"us": sum(times) / repeats / tasks * 1e6}


def _drain(bench: Bench, tasks: int) -> float:
    with bench.room() as room:
        bench.fill("sqlite:q.db", [f"x=1..{tasks}"], room)
        found = bench.side(
            "maniple_drain.py", "sqlite:q.db", str(JOBS), str(BATCH), cwd=room, timeout=SECONDS
        )
        if found["done"] != tasks:
            raise Trouble(f"{found['done']:.0f} tasks of {tasks} were done")
        return found["seconds"]
