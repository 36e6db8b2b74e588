"""The interface of the tool `minionize`: names only; what they do is in `maniple.callback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maniple.callback.callbacks import Callback, FuncCallback, ProcessCallback
    from maniple.callback.container import DockerCallback
    from maniple.callback.decorator import minionize
    from maniple.callback.engines import Engine
    from maniple.callback.entry import EntryPoint, minionizer

__all__ = [
    "Callback",
    "DockerCallback",
    "Engine",
    "EntryPoint",
    "FuncCallback",
    "ProcessCallback",
    "minionize",
    "minionizer",
]

_HOME = {
    "Callback": "callbacks",
    "DockerCallback": "container",
    "Engine": "engines",
    "EntryPoint": "entry",
    "FuncCallback": "callbacks",
    "ProcessCallback": "callbacks",
    "minionize": "decorator",
    "minionizer": "entry",
}


def __getattr__(name: str) -> Any:
    # a command that only prints its help is not to load everything
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"maniple.callback.{_HOME[name]}"), name)
