"""What execo iterates over, as the params of tasks, and back."""

from __future__ import annotations

import hashlib
import math
import numbers
import pickle
from typing import Any

from maniple.errors import ParamError
from maniple.task import Task


def task_of(original: Any) -> Task:
    """Make the task of what a `ParamSweeper` iterates on; it never fails.

    What JSON has no form for becomes text, the same in every process.
    """
    try:
        return Task.of(_plain(original))
    except (ParamError, RecursionError):
        return Task.of(_text(original))


def original_of(param: Any, mapping: type[dict[Any, Any]]) -> Any:
    """Make a hashable value of a param: lists become tuples, objects become `mapping`."""
    if isinstance(param, dict):
        return mapping({key: original_of(value, mapping) for key, value in param.items()})
    if isinstance(param, list):
        return tuple(original_of(value, mapping) for value in param)
    return param


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else str(key): _plain(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, numbers.Number) and hasattr(value, "item"):
        # a number of numpy's
        return _plain(value.item())
    return _text(value)


def _text(value: Any) -> str:
    kind: Any = type(value)
    if kind.__repr__ != object.__repr__:
        return repr(value)
    # the default text holds an address, and so differs from process to process
    return f"{kind.__name__}:{hashlib.blake2b(pickle.dumps(value), digest_size=8).hexdigest()}"
