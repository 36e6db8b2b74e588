"""The program `true`, thousands of times, two at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import JOBS, Bench
from pairs import Goal, Measure, Row, compare, rounds
from peers import gnu_parallel
from processes import Trouble, run

KEPT = "maniple run -q sqlite:"
DIRECT = "seq | maniple run"
XARGS = "xargs -n1 -P2"
PARALLEL = "GNU parallel -j2"
HYPERQUEUE = "HyperQueue, LocalCluster, 2 cores"
FLOOR = "posix_spawn + waitpid, 2 processes"
GOAL_RATIO = 1.2
SECONDS = 60.0


def measure(bench: Bench) -> list[Row]:
    """Measure tasks a second over the whole command, start-up included."""
    tasks = bench.size(5_000, 1_000)
    fewer = bench.size(600, 200)
    sides: dict[str, Measure] = {
        KEPT: lambda: _kept(bench, tasks),
        XARGS: lambda: _piped(bench, tasks, ["xargs", "-n1", f"-P{JOBS}", "true"]),
        DIRECT: lambda: _piped(
            bench, tasks, [bench.ours("maniple"), "run", f"-j{JOBS}", "--", "true"]
        ),
        FLOOR: lambda: _floor(bench, tasks),
        PARALLEL: lambda: _parallel(bench, fewer),
        HYPERQUEUE: lambda: _hyperqueue(bench, tasks),
    }
    peers = {
        XARGS: "",
        PARALLEL: f"over {fewer} tasks",
        HYPERQUEUE: f"{bench.peers.version('hyperqueue')} from PyPI: the wheel holds no hq "
        "command, its library starts server and worker in one process; output not kept; "
        "its client looks for the end once a second",
        FLOOR: "the floor: a bare loop in Python, nothing read, kept or told",
    }
    figures = rounds(sides, bench.size(5, 2), bench.say)
    rows: list[Row] = []
    for ours, how in ((KEPT, "-q sqlite:q.db"), (DIRECT, "from seq")):
        rows += compare(
            figures,
            ours,
            peers,
            figure="rate",
            more=True,
            subject="commands",
            work=f"maniple run -j2 -- true, {tasks:,} times, {how}",
            unit="/s",
            goal=Goal(ratio_at_least=GOAL_RATIO),
        )
    return rows


def _kept(bench: Bench, tasks: int) -> dict[str, float]:
    with bench.room() as room:
        url = "sqlite:q.db"
        bench.fill(url, [f"x=1..{tasks}"], room)
        words = ("run", "-q", url, f"-j{JOBS}", "--", "true")
        return {"rate": tasks / bench.maniple(*words, cwd=room, timeout=SECONDS).seconds}


def _piped(bench: Bench, tasks: int, words: list[str | Path]) -> dict[str, float]:
    if shutil.which(words[0]) is None:
        raise Trouble(f"{words[0]} is not installed")
    with bench.room() as room:
        numbers = room / "numbers.txt"
        numbers.write_text("".join(f"{i}\n" for i in range(1, tasks + 1)))
        finished = run(words, cwd=room, timeout=SECONDS, stdin=numbers)
        return {"rate": tasks / finished.seconds}


def _parallel(bench: Bench, tasks: int) -> dict[str, float]:
    command = gnu_parallel(bench.folder)
    return _piped(bench, tasks, [command, "--will-cite", f"-j{JOBS}", "true"])


def _floor(bench: Bench, tasks: int) -> dict[str, float]:
    with bench.room() as room:
        found = bench.side("spawn_true.py", str(tasks), str(JOBS), cwd=room, timeout=SECONDS)
        return {"rate": tasks / found["seconds"]}


def _hyperqueue(bench: Bench, tasks: int) -> dict[str, float]:
    python = bench.peers.bin("hyperqueue") / "python"
    with bench.room() as room:
        found = bench.side(
            "hyperqueue_true.py", str(tasks), str(JOBS), cwd=room, timeout=SECONDS, python=python
        )
        return {"rate": tasks / found["seconds"]}
