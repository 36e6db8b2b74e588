"""Run any program over many params, massively in parallel, and lose nothing.

>>> import maniple
>>> list(maniple.map(abs, [-1, 2, -3], jobs=2))
[1, 2, 3]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maniple.callback.decorator import minionize as minionize
    from maniple.driver.connect import connect as connect
    from maniple.errors import ManipleError as ManipleError
    from maniple.minion.book import Policy as Policy
    from maniple.minion.minion import Minion as Minion
    from maniple.minion.work import work as work
    from maniple.queue import Failure as Failure
    from maniple.queue import Lease as Lease
    from maniple.queue import Queue as Queue
    from maniple.queue import QueueStats as QueueStats
    from maniple.queue import State as State
    from maniple.reporters.jsonl import JsonlReporter as JsonlReporter
    from maniple.reporters.null import NullReporter as NullReporter
    from maniple.reporters.stdout import StdoutReporter as StdoutReporter
    from maniple.runner import Context as Context
    from maniple.runner import Outcome as Outcome
    from maniple.runners.algorithm import AlgorithmRunner as AlgorithmRunner
    from maniple.runners.algorithm import algorithm_runner as algorithm_runner
    from maniple.runners.function import FunctionRunner as FunctionRunner
    from maniple.runners.process import ProcessRunner as ProcessRunner
    from maniple.sweep.map import TaskFailedError as TaskFailedError
    from maniple.sweep.map import map as map  # noqa: A004 - it is what the built-in does
    from maniple.task import Task as Task
    from maniple.urls import open_queue as open_queue

# The names load when they are used: a command starts in a few hundredths of a second.
_PUBLIC = {
    "AlgorithmRunner": "maniple.runners.algorithm",
    "Context": "maniple.runner",
    "Failure": "maniple.queue",
    "FunctionRunner": "maniple.runners.function",
    "JsonlReporter": "maniple.reporters.jsonl",
    "Lease": "maniple.queue",
    "ManipleError": "maniple.errors",
    "Minion": "maniple.minion.minion",
    "NullReporter": "maniple.reporters.null",
    "Outcome": "maniple.runner",
    "Policy": "maniple.minion.book",
    "ProcessRunner": "maniple.runners.process",
    "Queue": "maniple.queue",
    "QueueStats": "maniple.queue",
    "State": "maniple.queue",
    "StdoutReporter": "maniple.reporters.stdout",
    "Task": "maniple.task",
    "TaskFailedError": "maniple.sweep.map",
    "algorithm_runner": "maniple.runners.algorithm",
    "connect": "maniple.driver.connect",
    "map": "maniple.sweep.map",
    "minionize": "maniple.callback.decorator",
    "open_queue": "maniple.urls",
    "work": "maniple.minion.work",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'maniple' has no attribute {name!r}") from None
    import importlib

    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
