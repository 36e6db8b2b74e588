"""Statistics of 100,000 events."""

from __future__ import annotations

from pathlib import Path

from bench import Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import run

OURS = "maniple status --json"
PEER = "minion-status of minionize 0.3"
MINIONS = 2
GOAL_SECONDS = 2.0
SECONDS = 60.0


def measure(bench: Bench) -> list[Row]:
    """Measure seconds of the whole command, on the same files."""
    events = bench.size(100_000, 10_000)
    with bench.room() as room:
        folder = room / "minion-report"
        bench.side(
            "maniple_events.py", folder, str(events), str(MINIONS), cwd=room, timeout=SECONDS
        )
        sides: dict[str, Measure] = {
            OURS: lambda: _ours(bench, room, folder),
            PEER: lambda: _peer(bench, room, folder),
        }
        figures = rounds(sides, bench.size(5, 2), bench.say)
    return compare(
        figures,
        OURS,
        {PEER: f"{bench.peers.version('minionize')}, reading our event files"},
        figure="seconds",
        subject="status",
        work=f"{events:,} events through {OURS}",
        unit="s",
        goal=Goal(at_most=GOAL_SECONDS),
    )


def _ours(bench: Bench, room: Path, folder: Path) -> dict[str, float]:
    finished = bench.maniple("status", str(folder), "--json", cwd=room, timeout=SECONDS)
    return {"seconds": finished.seconds}


def _peer(bench: Bench, room: Path, folder: Path) -> dict[str, float]:
    command = bench.peers.bin("minionize") / "minion-status"
    setting = {"MINION_REPORTER": "json", "REPORTER_JSON_DIRECTORY": str(folder)}
    return {"seconds": run([command], cwd=room, timeout=SECONDS, env=setting).seconds}
