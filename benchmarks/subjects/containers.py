"""Twenty containers, one after the other, beside a shell that calls `podman run` twenty times.

Both use one Podman with its own storage (the tests' server), one image, and no network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench import Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import Trouble, run

OURS = "maniple run --image"
PODMAN = "podman run --rm, in a loop"
SECONDS = 120.0
GOAL_RATIO = round(1 / 1.2, 2)


def measure(bench: Bench) -> list[Row]:
    """Measure seconds of whole commands, start-up included."""
    number = bench.size(20, 5)
    server, trouble = _server()
    try:
        sides: dict[str, Measure] = {
            OURS: lambda: _ours(bench, server, trouble, number),
            PODMAN: lambda: _loop(bench, server, trouble, number),
        }
        figures = rounds(sides, bench.size(7, 2), bench.say)
    finally:
        if server is not None:
            server.remove()
    return compare(
        figures,
        OURS,
        {PODMAN: "a fresh container each; ours through the socket, with limits and read-only"},
        figure="seconds",
        subject="containers",
        work=f"maniple run -j1 --image busybox -- true, {number} times",
        unit="s",
        goal=Goal(ratio_at_least=GOAL_RATIO),
    )


def _server() -> tuple[Any, str]:
    """Make a Podman of our own; where that cannot be, say why."""
    tests = Path(__file__).resolve().parents[2] / "tests"
    sys.path.insert(0, str(tests))
    try:
        from brokers.podman_server import PodmanServer
        from brokers.server import MissingError
    finally:
        sys.path.remove(str(tests))
    server = PodmanServer()
    try:
        server.prepare()
    except (MissingError, OSError) as error:
        server.remove()
        return None, str(error)
    return server, ""


def _image() -> str:
    from brokers.podman_server import IMAGE

    return str(IMAGE)


def _ours(bench: Bench, server: Any, trouble: str, number: int) -> dict[str, float]:
    if server is None:
        raise Trouble(trouble)
    words = [bench.ours("maniple"), "run", f"x=1..{number}", "-j1", "--image", _image()]
    with bench.room() as room:
        # `run` ends all that is below us when it has taken the time, the service too
        server.start()
        try:
            environment = {**server.environment, "DOCKER_HOST": server.host}
            line = [*words, "--", "true"]
            return {"seconds": run(line, cwd=room, timeout=SECONDS, env=environment).seconds}
        finally:
            server.stop(hard=True)


def _loop(bench: Bench, server: Any, trouble: str, number: int) -> dict[str, float]:
    if server is None:
        raise Trouble(trouble)
    script = (
        f"for i in $(seq {number}); do "
        f"podman run --rm --network none {_image()} true || exit 1; done"
    )
    with bench.room() as room:
        line = ["sh", "-c", script]
        found = run(line, cwd=room, timeout=SECONDS, env=server.environment)
        return {"seconds": found.seconds}
