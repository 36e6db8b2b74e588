"""A million params: filling the queue, emptying it, and the memory of a minion."""

from __future__ import annotations

from bench import JOBS, Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import Trouble

QUEUES = {"sqlite": "sqlite:q.db", "dir": "dir:q"}
EXECO = "execo ParamSweeper"
BATCH = 256
SECONDS = 120.0
EXECO_TASKS = 20
GOALS = {
    "fill": ("fill by maniple sweep", "s", 5.0),
    "drain": ("drain by 2 no-op minions", "s", 20.0),
    "memory": ("peak memory of a minion", "MB", 60.0),
    "child": ("peak memory of its function's process", "MB", None),
}


def measure(bench: Bench) -> list[Row]:
    """Measure seconds, and megabytes (10**6 bytes) of peak resident memory."""
    edge = bench.size(1_000, 100)
    tasks = edge * edge
    names = {name: f"maniple, {name}" for name in QUEUES}
    sides: dict[str, Measure] = {
        names["sqlite"]: lambda: _ours(bench, QUEUES["sqlite"], edge),
        names["dir"]: lambda: _ours(bench, QUEUES["dir"], edge),
        EXECO: lambda: _execo(bench, edge),
    }
    figures = rounds(sides, bench.size(3, 1), bench.say)
    version = bench.peers.version("execo")
    opened = [each["open"] for each in figures.found[EXECO]]
    opening = f"; opening it takes {min(opened):.1f} to {max(opened):.1f} s" if opened else ""
    notes = {
        "fill": f"{version}{opening}",
        "drain": f"{version}: seconds for all, extrapolated from {EXECO_TASKS} tasks of one process"
        " that the library handles as it does its first",
        "memory": f"{version}: of a process that opens it and takes {EXECO_TASKS} tasks",
        "child": f"{version}: it runs functions in the minion itself",
    }
    rows: list[Row] = []
    for name, side in names.items():
        for figure, (what, unit, goal) in GOALS.items():
            rows += compare(
                figures,
                side,
                {EXECO: notes[figure]},
                figure=figure,
                subject="million",
                work=f"{tasks:,} params, {name}: {what}",
                unit=unit,
                goal=Goal(at_most=goal),
            )
    return rows


def _ours(bench: Bench, url: str, edge: int) -> dict[str, float]:
    with bench.room() as room:
        fill = bench.fill(url, [f"x=1..{edge}", f"y=1..{edge}"], room)
        found = bench.side(
            "maniple_drain.py", url, str(JOBS), str(BATCH), cwd=room, timeout=SECONDS
        )
        if found["done"] != edge * edge:
            raise Trouble(f"{found['done']:.0f} tasks of {edge * edge} were done")
        return {
            "fill": fill,
            "drain": found["seconds"],
            "memory": found["minion_bytes"] / 1e6,
            "child": found["child_bytes"] / 1e6,
        }


def _execo(bench: Bench, edge: int) -> dict[str, float]:
    python = bench.peers.bin("execo") / "python"
    script = "execo_sweeper.py"
    with bench.room() as room:
        words = (str(edge), str(edge))
        filled = bench.side(script, "fill", *words, cwd=room, timeout=SECONDS, python=python)
        few = str(EXECO_TASKS)
        taken = bench.side(script, "take", few, cwd=room, timeout=SECONDS, python=python)
        return {
            "fill": filled["seconds"],
            "open": taken["open_seconds"],
            "drain": taken["task_seconds"] * edge * edge,
            "memory": taken["bytes"] / 1e6,
        }
