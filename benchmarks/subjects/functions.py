"""A no-op Python function from a durable queue, two minions: in batches, and one at a time."""

from __future__ import annotations

from bench import JOBS, Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import Trouble

BATCHED = "maniple"
SINGLE = "maniple, one task at a time"
BATCH = 256
GOAL_US = 30.0
GOAL_SINGLE_US = 200.0
PEER_SECONDS = 60.0


def measure(bench: Bench) -> list[Row]:
    """Measure microseconds of wall time per task while two processes work."""
    sides: dict[str, Measure] = {
        BATCHED: lambda: _ours(bench, BATCH, bench.size(50_000, 10_000)),
        SINGLE: lambda: _ours(bench, 1, bench.size(10_000, 2_000)),
        "huey, SqliteHuey, 2 worker processes": lambda: _peer(
            bench, "huey", bench.size(4_000, 1_000)
        ),
        "taskiq, SQLite broker, 2 workers": lambda: _peer(
            bench, "taskiq", bench.size(3_000, 600), "sqlite"
        ),
        "taskiq, ZeroMQBroker, 1 worker": lambda: _peer(
            bench, "taskiq", bench.size(3_000, 600), "zmq"
        ),
        "minionize + execo, FuncCallback, 2 minions": lambda: _peer(
            bench, "minionize", bench.size(400, 100)
        ),
    }
    notes = {
        "huey": f"{bench.peers.version('huey')}, results=False: takes a task off the queue before "
        "it runs, with no acknowledgement; from its first task to its last, without start-up",
        "taskiq, SQ": f"{bench.peers.version('taskiq')} has no broker that is durable without a "
        "server: this one is sides/taskiq_app.py, DELETE ... RETURNING on SQLite, no "
        "acknowledgement; from the first task to the last",
        "taskiq, Z": f"{bench.peers.version('taskiq')}, its own broker that needs no server: not "
        "durable, and its documentation allows one worker only",
        "minionize": f"{bench.peers.version('minionize')}, ParamSweeper; from the first task to "
        "the last, without start-up",
    }
    peers = {
        name: next(note for start, note in notes.items() if name.startswith(start))
        for name in sides
        if not name.startswith("maniple")
    }
    figures = rounds(sides, bench.size(5, 2), bench.say)
    work = "no-op function, sqlite, 2 minions, a task"
    return [
        *compare(
            figures,
            BATCHED,
            peers,
            figure="us",
            subject="functions",
            work=work,
            unit="us",
            goal=Goal(at_most=GOAL_US),
        ),
        *compare(
            figures,
            SINGLE,
            peers,
            figure="us",
            subject="functions",
            work=f"{work}, no batching",
            unit="us",
            goal=Goal(at_most=GOAL_SINGLE_US),
        ),
    ]


def _ours(bench: Bench, batch: int, tasks: int) -> dict[str, float]:
    """From the fork of the first minion to the end of the last one: start-up counts."""
    with bench.room() as room:
        bench.fill("sqlite:q.db", [f"x=1..{tasks}"], room)
        found = bench.side(
            "maniple_drain.py", "sqlite:q.db", str(JOBS), str(batch), cwd=room, timeout=PEER_SECONDS
        )
        if found["done"] != tasks:
            raise Trouble(f"{found['done']} tasks of {tasks} were done")
        return {"us": found["seconds"] / tasks * 1e6}


def _peer(bench: Bench, name: str, tasks: int, *words: str) -> dict[str, float]:
    with bench.room() as room:
        commands = bench.peers.bin(name)
        found = bench.side(
            f"{name}_drain.py",
            str(tasks),
            *words,
            cwd=room,
            timeout=PEER_SECONDS,
            python=commands / "python",
        )
        return {"us": found["seconds"] / (tasks - 1) * 1e6}
