"""Empties an execo sweep with 2 minions of minionize: TASKS."""

import json
import os
import sys
from multiprocessing import Process
from pathlib import Path

from execo_engine import ParamSweeper, sweep
from ticks import between, tick

tasks = int(sys.argv[1])
ticks = str(Path("ticks").resolve())
os.environ["MINION_ENGINE"] = "execo"
os.environ["EXECO_PERSISTENCE_DIR"] = "sweeps"


def noop(param):  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick(ticks)


def work():
    """Be one minion."""
    from minionize import FuncCallback, minionizer

    minionizer(FuncCallback(noop)).run()


if __name__ == "__main__":
    ParamSweeper("sweeps", sweep({"x": range(tasks)}), save_sweeps=True)
    minions = [Process(target=work) for _ in range(2)]
    for minion in minions:
        minion.start()
    seconds = between(ticks, tasks, lambda: any(minion.is_alive() for minion in minions))
    print(json.dumps({"seconds": seconds}))
    sys.stdout.flush()
    for minion in minions:
        minion.join()
