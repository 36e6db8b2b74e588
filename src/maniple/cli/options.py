"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import click

from maniple.errors import UsageError

_UNITS: Final = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|min|m|h|d|)")

MOST_AXES: Final = 200

queue_option = click.option(
    "-q",
    "--queue",
    "url",
    metavar="URL",
    help="Queue: sqlite:FILE, dir:FOLDER or a broker's URL. Default: $MANIPLE_QUEUE.",
)


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 500ms, 90, 30m, 2h, 1d.

    Args:
        zero: whether no time at all makes sense.
    """

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the value in seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration: write seconds, or 500ms, 30m, 2h, 1d", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        if not (seconds or self._zero):
            self.fail(f"{value!r} is no time: it must be longer than 0", param, ctx)
        return seconds


def queue_url(url: str | None) -> str | None:
    """Choose the queue: the option, else the environment."""
    return url or os.environ.get("MANIPLE_QUEUE") or None


def need_queue(url: str | None) -> str:
    """Choose the queue, or say how to name one.

    Raises:
        UsageError: none is named.
    """
    chosen = queue_url(url)
    if chosen is None:
        raise UsageError("which queue? name it with -q sqlite:FILE, or set MANIPLE_QUEUE")
    return chosen


def space_options(command: Any) -> Any:
    """Add the options that say how params are made."""
    for option in (
        click.option(
            "--zip", "zipped", metavar="X,Y", multiple=True, help="Axes that go together."
        ),
        click.option("--samples", type=click.IntRange(min=1), help="Draws of the random axes."),
        click.option("--seed", type=int, default=0, show_default=True, help="Of the draws."),
        click.option("--text", is_flag=True, help="Keep all values as text."),
    ):
        command = option(command)
    return command


def params_of(
    words: Sequence[str],
    *,
    zipped: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    text: bool = False,
) -> Iterator[Any]:
    """Make params of the words of a command line: axes (a grid) and files, one after the other.

    Raises:
        UsageError: a word is neither an axis nor a file that can be read.
    """
    from maniple.sweep.sources import from_file
    from maniple.sweep.space import looks_like_axis, params

    axes = [word for word in words if looks_like_axis(word)]
    files = [word for word in words if not looks_like_axis(word)]
    if len(axes) > MOST_AXES:
        raise UsageError(
            f"{len(axes)} axes cannot be crossed: give a file, one param a row or line"
        )
    for file in files:
        if not os.path.exists(file):
            raise UsageError(
                f"{file!r} is neither a param (x=1..10, y=a,b) nor a file; a command goes after --"
            )
    found: list[Iterator[Any]] = []
    random_file = not axes and any(f.lower().endswith((".yaml", ".yml")) for f in files)
    if axes or zipped or (samples is not None and not random_file):
        groups = [tuple(group.split(",")) for group in zipped]
        found.append(params(axes, zipped=groups, samples=samples, seed=seed, text=text))
    for file in files:
        is_yaml = file.lower().endswith((".yaml", ".yml"))
        found.append(from_file(file, text=text, samples=samples if is_yaml else None, seed=seed))
    return chain.from_iterable(found)
