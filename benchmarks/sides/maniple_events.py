"""Writes events as minions do: FOLDER EVENTS MINIONS. One in a hundred is a failure."""

from __future__ import annotations

import json
import random
import sys

from maniple.event import Event, Step
from maniple.reporters.jsonl import JsonlReporter
from maniple.task import Task


def main() -> None:
    """Write them."""
    folder, events, minions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(1)
    for minion in range(minions):
        reporter = JsonlReporter(folder)
        now = 1_700_000_000.0
        for generation in range(1, events // minions + 1):
            end = now + chance.expovariate(2.0)
            failed = chance.random() < 0.01
            task = Task.of({"x": generation, "y": chance.random()})
            event = Event(
                uid=f"{minion:032x}",
                generation=generation,
                start=now,
                end=end,
                param={"x": generation, "y": chance.random()},
                error="exit status 3" if failed else None,
                atomic_actions=[Step("process", now, end)],
                nodename=f"node-{minion}",
                task=task.id,
                cause="exit 3" if failed else "",
                pid=1000 + minion,
            )
            reporter.report(event)
            now = end
            if generation % 1000 == 0:
                reporter.flush()
        reporter.close()
    print(json.dumps({"events": events}))


main()
