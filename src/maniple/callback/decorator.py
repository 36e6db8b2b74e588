"""`@minionize`: a function that can empty a queue."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Minionized(Generic[Result]):
    """A function of one param. Call it with a param, or run it over all that the engine has."""

    def __init__(self, function: Callable[..., Result]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **options: Any) -> Result | None:
        """Call the function; without any argument, run it as `run` does."""
        if args or options:
            return self.function(*args, **options)
        self.run()
        return None

    def run(self) -> None:
        """Run it on every param of the engine that the environment names; see `minionizer`."""
        from maniple.callback.callbacks import FuncCallback
        from maniple.callback.entry import minionizer

        minionizer(FuncCallback(self.function)).run()

    def __reduce__(self) -> str:
        """Pickle by name, as a plain function is."""
        return str(getattr(self, "__qualname__", self.function.__name__))


def minionize(function: Callable[..., Result]) -> Minionized[Result]:
    """Make a function that runs over the params of the engine that the environment names.

    Example:
        >>> @minionize
        ... def square(x):
        ...     return x * x
        >>> square(3)
        9
    """
    return Minionized(function)
