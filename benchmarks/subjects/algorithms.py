"""Algorithms: a warm call in each sandbox, a cluster's rate and bytes, compiled code."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench import SIDES, Bench
from pairs import Goal, Measure, Row, compare, rounds
from processes import Trouble, run

SECONDS = 300.0
ROOT = Path(__file__).resolve().parents[2]
EARLIER = ROOT / ".servers" / "motivus-2.4.0" / "bin" / "python"
ALGORITHM = "algorithm_maniple.py"
CLUSTER = "algorithm_cluster.py"
BARE = "algorithm_bare.py"
KMEANS = ("100000", "16", "8")
"""Points, dimensions, clusters; the rounds are as many as take the time."""


def measure(bench: Bench) -> list[Row]:
    """Measure milliseconds, tasks a second, bytes and seconds."""
    with bench.room() as room:
        rows = _calls(bench, room)
        rows += _cluster(bench, room)
        rows += _compiled(bench, room)
    return rows


def _built(bench: Bench, room: Path, source: str) -> Path:
    """Build a module as a user does."""
    name = Path(source).stem
    project = room / name
    project.mkdir()
    shutil.copy(SIDES / source, project)
    (project / "motivus.yml").write_text(
        f"{{version: 1.0, build: {{compiler: mvcc}}, package: {{name: {name}, version: 1.0.0}}}}\n"
    )
    bench.maniple("algorithm", "build", cwd=project, timeout=SECONDS)
    return project / "build" / f"{name}-1.0.0.wasm"


def _native(room: Path, source: str, *compiler: str) -> Path:
    program = room / f"{Path(source).stem}-{Path(compiler[0]).name}"
    words = [*compiler, "-O3", str(SIDES / source), "-o", str(program)]
    run(words, cwd=room, timeout=SECONDS)
    return program


def _calls(bench: Bench, room: Path) -> list[Row]:
    """One call after the other, in the worker."""
    module = _built(bench, room, "copy.c")
    loader = SIDES / "echo_loader.js"
    number = str(bench.size(1000, 100))
    few = str(bench.size(60, 10))

    def side(script: str, what: str, *words: str | Path) -> Measure:
        def once() -> dict[str, float]:
            with bench.room() as place:
                return bench.side(script, what, *words, cwd=place, timeout=SECONDS)

        return once

    sides: dict[str, Measure] = {
        "wasi": side(ALGORITHM, "wasi", module, number),
        "wasmtime": side(BARE, "wasmtime", module, number),
        "javascript": side(ALGORITHM, "javascript", loader, few),
        "deno": side(BARE, "deno", loader, few),
    }
    figures = rounds(sides, bench.size(3, 1), bench.say)
    rows = compare(
        figures,
        "wasi",
        {"wasmtime": "in the caller's process: no limit, nothing that could be killed"},
        figure="median",
        subject="algorithms",
        work="warm no-op WASI call, a file in, a file out, median",
        unit="ms",
        goal=Goal(at_most=1.0),
    )
    return rows + compare(
        figures,
        "javascript",
        {"deno": "deno run for each call: its own permissions only, no limit on memory or output"},
        figure="median",
        subject="algorithms",
        work="warm no-op JavaScript-loaded call, fresh process each, median",
        unit="ms",
        goal=Goal(at_most=35.0),
    )


def _cluster(bench: Bench, room: Path) -> list[Row]:
    """From the driver through socket, hub and worker, and back."""
    module = _built(bench, room, "echo.c")
    loader = SIDES / "echo_loader.js"
    number = str(bench.size(1000, 200))

    def side(what: str) -> Measure:
        def once() -> dict[str, float]:
            env = {"EARLIER_PYTHON": str(EARLIER)}
            if what == "earlier" and not EARLIER.exists():
                raise Trouble("the earlier client is not installed: make servers")
            with bench.room() as place:
                return bench.side(
                    CLUSTER, what, number, module, loader, cwd=place, timeout=SECONDS, env=env
                )

        return once

    sides = {what: side(what) for what in ("rate", "wire", "earlier")}
    figures = rounds(sides, bench.size(3, 1), bench.say)
    rows = compare(
        figures,
        "rate",
        {"earlier": "the client motivus 2.4.0 on our hub: the module goes with every task"},
        figure="rate",
        more=True,
        subject="algorithms",
        work="no-op WASI tasks, driver to worker and back, 2 workers",
        unit="/s",
        goal=Goal(at_least=500.0),
    )
    for figure, work in (
        ("lost", "1,000 tasks awaited by one driver: lost"),
        ("doubled", "1,000 tasks awaited by one driver: answered twice"),
    ):
        rows += compare(
            figures,
            "rate",
            {"-": ""},
            figure=figure,
            subject="algorithms",
            work=work,
            unit="",
            goal=Goal(at_most=0.0),
        )
    for figure, work, peers in (
        ("driver", "bytes a task beyond inputs and result, driver's socket", {"earlier": ""}),
        ("worker", "bytes a task beyond inputs and result, worker's socket", {"-": ""}),
    ):
        rows += compare(
            figures,
            "wire",
            peers,
            figure=figure,
            subject="algorithms",
            work=work,
            unit="B",
            goal=Goal(at_most=1024.0),
        )
    return rows


def _compiled(bench: Bench, room: Path) -> list[Row]:
    """The same C, for WASI and for this machine."""
    module = _built(bench, room, "kmeans.c")
    compilers = {"zig": (sys.executable, "-m", "ziglang", "cc"), "gcc": ("gcc",)}
    arguments = (*KMEANS, str(bench.size(3000, 100)))

    def ours() -> dict[str, float]:
        with bench.room() as place:
            return bench.side(ALGORITHM, "kmeans", module, *arguments, cwd=place, timeout=SECONDS)

    def native(name: str) -> Measure:
        program = _native(room, "kmeans.c", *compilers[name])
        return lambda: bench.side(BARE, "native", program, *arguments, cwd=room, timeout=SECONDS)

    sides = {"wasi": ours, **{name: native(name) for name in compilers}}
    figures = rounds(sides, bench.size(3, 1), bench.say)
    return compare(
        figures,
        "wasi",
        {
            "zig": "the same compiler for this machine, with -O3 and nothing else",
            "gcc": "-O3",
        },
        figure="seconds",
        subject="algorithms",
        work="k-means in C for about 10 s: in the sandbox beside native",
        unit="s",
        goal=Goal(ratio_at_least=1 / 1.5),
    )
