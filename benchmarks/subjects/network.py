"""Networks: throughput, latency, memory and start, beside bare carriers."""

from __future__ import annotations

from bench import Bench
from pairs import Goal, Measure, Row, compare, rounds

SECONDS = 120.0
OURS = "maniple"
BARE = {
    "pyzmq PUSH/PULL, ipc": "zmq",
    "named pipes + pickle": "fifo",
    "multiprocessing queues": "queue",
}
DORA = "dora-rs"
NOTE = "bare: nothing is numbered, acknowledged or sent again; a process that dies loses blocks"
DORA_NOTE = (
    "its queues made large, and still it drops blocks that come fast (from none to nearly all):"
    " the figure is of those that arrived; fewer blocks than ours, timed as ours"
)


def measure(bench: Bench) -> list[Row]:
    """Measure blocks a second, milliseconds, megabytes and seconds."""
    number = bench.size(300_000, 50_000)
    large = bench.size(20_000, 4_000)
    ticks = bench.size(3_000, 500)
    rows = _beside(
        bench, "ints", number, "rate", "three jobs, ints to CSV", "/s", Goal(at_least=150_000)
    )
    rows += _beside(
        bench, "blocks", large, "rate", "three jobs, 64 KiB blocks", "/s", Goal(at_least=10_000)
    )
    rows += _beside(
        bench, "latency", ticks, "median", "one hop, small block, median", "ms", Goal(at_most=0.10)
    )
    rows += _beside(
        bench, "latency", ticks, "p99", "one hop, small block, p99", "ms", Goal(at_most=0.5)
    )
    alone: dict[str, Measure] = {
        "memory": lambda: _ours(bench, "memory", 3200),
        "start": lambda: _ours(bench, "start", 20),
    }
    figures = rounds(alone, bench.size(3, 1), bench.say)
    for side, figure, work, unit, goal in (
        ("memory", "mb", "middle job after 200 MiB, peak memory", "MB", Goal(at_most=60.0)),
        ("start", "seconds", "20 jobs, start to the first block", "s", Goal(at_most=2.0)),
    ):
        rows += compare(
            figures,
            side,
            {"-": ""},
            figure=figure,
            subject="network",
            work=work,
            unit=unit,
            goal=goal,
        )
    return rows


def _beside(
    bench: Bench, what: str, number: int, figure: str, work: str, unit: str, goal: Goal
) -> list[Row]:
    sides: dict[str, Measure] = {OURS: lambda: _ours(bench, what, number)}
    for name, kind in BARE.items():
        sides[name] = lambda kind=kind: _bare(bench, kind, what, number)
    sides[DORA] = lambda: _dora(bench, what, max(number // 10, 400))
    figures = rounds(sides, bench.size(3, 1), bench.say)
    return compare(
        figures,
        OURS,
        {**dict.fromkeys(BARE, NOTE), DORA: f"{bench.peers.version('dora')}: {DORA_NOTE}"},
        figure=figure,
        more=figure == "rate",
        subject="network",
        work=work,
        unit=unit,
        goal=goal,
    )


def _ours(bench: Bench, what: str, number: int) -> dict[str, float]:
    with bench.room() as room:
        return bench.side("network_maniple.py", what, str(number), cwd=room, timeout=SECONDS)


def _bare(bench: Bench, kind: str, what: str, number: int) -> dict[str, float]:
    with bench.room() as room:
        return bench.side("network_bare.py", kind, what, str(number), cwd=room, timeout=SECONDS)


def _dora(bench: Bench, what: str, number: int) -> dict[str, float]:
    python = bench.peers.bin("dora") / "python"
    with bench.room() as room:
        return bench.side(
            "network_dora.py", what, str(number), cwd=room, timeout=SECONDS, python=python
        )
