"""No-op tasks from brokers, two minions, each beside the peers that are native to its broker."""

from __future__ import annotations

import importlib
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench import JOBS, Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import SERVERS as SERVERS_RUNNING
from processes import Trouble

TESTS = Path(__file__).resolve().parents[2] / "tests"
BATCH = 256
SECONDS = 120.0
GOAL_RATIO = 3.0
SERVERS = {
    "redis": "RedisServer",
    "postgresql": "PostgresqlServer",
    "rabbitmq": "RabbitmqServer",
    "nats": "NatsServer",
    "kafka": "KafkaServer",
    "pulsar": "PulsarServer",
    "pubsub": "PubsubServer",
}
PEERS: dict[str, dict[str, int]] = {
    "redis": {"dramatiq": 4_000, "taskiq": 4_000, "rq": 200, "celery": 2_000},
    "postgresql": {"procrastinate": 1_000},
    "rabbitmq": {"celery": 2_000, "dramatiq": 4_000},
}
"""The peers of each broker, with how many tasks are enough to measure them."""
NOTES = {
    "dramatiq": "acknowledges after execution; 2 processes of 8 threads",
    "taskiq": "RedisStreamBroker, --ack-type when_executed, 2 workers",
    "rq": "2 workers, which fork for each job",
    "celery": "acks_late, prefork, 2 processes",
    "procrastinate": "2 workers with a concurrency of 10",
}


def measure(bench: Bench) -> list[Row]:
    """Measure tasks a second: ours with start-up and the end, theirs from first task to last."""
    sys.path.insert(0, str(TESTS))
    rows: list[Row] = []
    for broker in SERVERS:
        rows += _of(bench, broker)
    return rows


def _of(bench: Bench, broker: str) -> list[Row]:
    work = f"no-op function, {broker}, 2 minions"
    try:
        server = _start(broker)
    except Trouble as trouble:
        return [_missing(work, str(trouble))]
    SERVERS_RUNNING.add(server.process.pid)
    try:
        tasks = bench.size(40_000, 5_000)
        sides: dict[str, Measure] = {"maniple": lambda: _ours(bench, server, tasks)}
        for peer, enough in PEERS.get(broker, {}).items():
            sides[peer] = lambda peer=peer, enough=enough: _peer(
                bench, broker, server, peer, bench.size(enough, enough // 4)
            )
        figures = rounds(sides, bench.size(3, 1), lambda text: bench.say(f"{broker}, {text}"))
        peers = {
            peer: f"{bench.peers.version(_venv(broker, peer))}: {NOTES[peer]}"
            for peer in PEERS.get(broker, {})
        }
        return compare(
            figures,
            "maniple",
            peers or {"-": "no native peer that acknowledges after execution"},
            figure="rate",
            more=True,
            subject="brokers",
            work=work,
            unit="/s",
            goal=Goal(ratio_at_least=GOAL_RATIO) if peers else Goal(),
        )
    finally:
        SERVERS_RUNNING.clear()
        server.remove()


def _missing(work: str, why: str) -> Row:
    return Row("brokers", work, "/s", Goal(), None, None, "-", None, None, 0, why)


def _start(broker: str) -> Any:
    """Start the server that the tests use, with the settings that they use."""
    module = importlib.import_module(f"brokers.{broker}_server")
    missing = importlib.import_module("brokers.server").MissingError
    server = getattr(module, SERVERS[broker])()
    try:
        server.prepare()
        server.start()
    except (missing, AssertionError, OSError) as error:
        server.remove()
        raise Trouble(str(error)) from None
    return server


def _ours(bench: Bench, server: Any, tasks: int) -> dict[str, float]:
    with bench.room() as room:
        url = server.url(f"q{uuid.uuid4().hex[:12]}")
        bench.fill(url, [f"x=1..{tasks}"], room)
        found = bench.side(
            "maniple_drain.py", url, str(JOBS), str(BATCH), cwd=room, timeout=SECONDS
        )
        if found["done"] != tasks:
            raise Trouble(f"{found['done']} tasks of {tasks} were done")
        return {"rate": tasks / found["seconds"]}


def _peer(bench: Bench, broker: str, server: Any, peer: str, tasks: int) -> dict[str, float]:
    python = bench.peers.bin(_venv(broker, peer)) / "python"
    with bench.room() as room:
        found = bench.side(
            "broker_drain.py",
            peer,
            str(tasks),
            cwd=room,
            timeout=SECONDS,
            python=python,
            env={"BENCH_URL": _peer_url(broker, server)},
        )
        return {"rate": (tasks - 1) / found["seconds"]}


def _peer_url(broker: str, server: Any) -> str:
    """The same server, at a place that is empty."""
    if broker == "redis":
        return f"redis://127.0.0.1:{server.port}/0"
    if broker == "rabbitmq":
        return f"amqp://guest:guest@127.0.0.1:{server.port}/%2F"
    name = f"peer_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
        login = f"{connection.info.user}:{quote(connection.info.password, safe='')}"
    return f"postgresql://{login}@127.0.0.1:{server.port}/{name}"


def _venv(broker: str, peer: str) -> str:
    return f"{peer}-{broker}"
