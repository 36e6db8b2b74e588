"""Imports go down only: the floors of ARCHITECTURE.md, held against the code."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FLOORS = [
    {
        "maniple.errors",
        "maniple.interrupts",
        "maniple.proctree",
        "maniple.owner",
        "maniple.task",
        "maniple.event",
        "maniple.scratch",
        "maniple.persist",
        "maniple.address",
    },
    {
        "maniple.queue",
        "maniple.runner",
        "maniple.reporter",
        "maniple.settings",
        "maniple.plugins",
        "maniple.urls",
    },
    {
        "maniple.queues",
        "maniple.runners",
        "maniple.stats",
        "maniple.reporters",
        "maniple.sweep",
        "maniple.algorithm",
        "maniple.builders",
        "maniple.cluster",
    },
    {"maniple.minion", "maniple.callback", "maniple.network", "maniple.hub", "maniple.driver"},
    {"maniple.cli", "maniple", "minionize", "fission", "motivus"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    parts = module.split(".")
    while ".".join(parts) not in LEVEL:
        parts.pop()
    return ".".join(parts)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if (SOURCE / Path(*node.module.split("."))).is_dir():
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_its_own_floor_or_below(path):
    room = room_of(name_of(path))
    for target in imports(path):
        if target.partition(".")[0] in {"maniple", "minionize", "fission", "motivus"}:
            below = room_of(target)
            assert LEVEL[below] <= LEVEL[room], f"{name_of(path)} imports {target}"


@pytest.mark.parametrize("path", sorted((SOURCE / "maniple/queues").rglob("*.py")), ids=name_of)
def test_a_queue_backend_imports_no_other_backend(path):
    def backend(module):
        # a backend of several files has its name in front of each: sqlite_file, folder_claims
        return module.removeprefix("maniple.queues").strip(".").partition("_")[0].partition(".")[0]

    # a stream of lines keeps what it has read in a memory queue of its own
    allowed = {("lines", "memory")}
    own = backend(name_of(path))
    for target in imports(path):
        if target.startswith("maniple.queues."):
            assert backend(target) == own or (own, backend(target)) in allowed, target
