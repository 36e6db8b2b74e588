"""How long commands take to start: help, and a minion from its start to the end of one task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import Bench
from pairs import Goal, Measure, Row, compare, rounds
from peers import gnu_parallel
from processes import run

PYTHON = "python -c pass"
HELP = "maniple --help"
RUN = "maniple run -q sqlite:"
DROP_IN = "minionize (ours)"
MINIONIZE = "minionize 0.3, one param"
MINION_GOAL = 0.2
HELP_GOAL = 0.1
SECONDS = 20.0


def measure(bench: Bench) -> list[Row]:
    """Measure seconds of whole commands."""
    huey, taskiq, parallel = "huey_consumer --help", "taskiq --help", "parallel --version"
    sides: dict[str, Measure] = {
        HELP: lambda: _time(bench, [bench.ours("maniple"), "--help"]),
        PYTHON: lambda: _time(bench, [bench.python, "-c", "pass"]),
        RUN: lambda: _run(bench),
        MINIONIZE: lambda: _minionize(bench, bench.peers.bin("minionize") / "minionize"),
        DROP_IN: lambda: _minionize(bench, bench.ours("minionize")),
        huey: lambda: _time(bench, [bench.peers.bin("huey") / "huey_consumer", "--help"]),
        taskiq: lambda: _time(bench, [bench.peers.bin("taskiq") / "taskiq", "--help"]),
        parallel: lambda: _time(bench, [gnu_parallel(bench.folder), "--version"]),
    }
    figures = rounds(sides, bench.size(11, 3), bench.say)
    work = "from exec to the end of one task"
    texts: dict[str, Any] = {"figure": "seconds", "subject": "startup", "unit": "s"}
    return [
        *compare(
            figures,
            HELP,
            {PYTHON: "the floor", huey: "", taskiq: "", parallel: ""},
            work=HELP,
            goal=Goal(at_most=HELP_GOAL),
            **texts,
        ),
        *compare(
            figures,
            RUN,
            {MINIONIZE: bench.peers.version("minionize"), PYTHON: "the floor"},
            work=f"maniple run -q sqlite:q.db -j1 -- true: {work}",
            goal=Goal(at_most=MINION_GOAL),
            **texts,
        ),
        *compare(
            figures,
            DROP_IN,
            {MINIONIZE: bench.peers.version("minionize"), PYTHON: "the floor"},
            work=f"the drop-in minionize, execo: {work}",
            goal=Goal(at_most=MINION_GOAL),
            **texts,
        ),
    ]


def _time(bench: Bench, words: Sequence[str | Path]) -> dict[str, float]:
    return {"seconds": run(words, cwd=bench.folder, timeout=SECONDS).seconds}


def _run(bench: Bench) -> dict[str, float]:
    with bench.room() as room:
        bench.fill("sqlite:q.db", ["x=1"], room)
        words = ("run", "-q", "sqlite:q.db", "-j1", "--", "true")
        return {"seconds": bench.maniple(*words, cwd=room, timeout=SECONDS).seconds}


def _minionize(bench: Bench, command: Path) -> dict[str, float]:
    python = bench.peers.bin("execo") / "python"
    with bench.room() as room:
        bench.side("execo_sweeper.py", "fill", "1", "1", cwd=room, timeout=SECONDS, python=python)
        setting = {"MINION_ENGINE": "execo"}
        return {"seconds": run([command, "true"], cwd=room, timeout=SECONDS, env=setting).seconds}
