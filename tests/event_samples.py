"""Events for the tests of reporters and statistics."""

from __future__ import annotations

from typing import Any

from maniple.event import Event, Step
from maniple.reporters.jsonl import JsonlReporter

T0 = 1_700_000_000.0


def event(param: Any = None, *, at: float = 0.0, took: float = 1.0, **fields: Any) -> Event:
    """An attempt that started `at` seconds after T0; it ended well unless told otherwise."""
    start = T0 + at
    values: dict[str, Any] = {
        "uid": "minion-1",
        "generation": 1,
        "start": start,
        "end": start + took,
        "param": param,
        "error": None,
        "atomic_actions": [Step("process", start, start + took)],
        "nodename": "node-1",
    }
    return Event(**{**values, **fields})


def write_events(directory: Any, *events: Event) -> None:
    """Leave events in a folder as minions do."""
    reporter = JsonlReporter(directory)
    for each in events:
        reporter.report(each)
    reporter.close()
