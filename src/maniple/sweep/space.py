"""The space of a sweep: axes crossed into a grid, zipped, or drawn at random, as params."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from maniple.errors import UsageError
from maniple.sweep.axis import RANDOM_FORMS, Axis, typed

__all__ = ["Axis", "count", "count_of", "grid", "looks_like_axis", "params", "typed"]

# Inner axes are walked over again and again: short ones are kept, long ones computed anew.
_KEPT: Final = 10_000


class _Block(NamedTuple):
    """Axes that advance together: one alone, or those of a zip."""

    names: tuple[str, ...]
    columns: tuple[Iterable[Any], ...]
    length: int


class _Space(NamedTuple):
    names: tuple[str, ...]
    blocks: tuple[_Block, ...]
    drawn: tuple[Axis, ...]
    samples: int


def looks_like_axis(word: str) -> bool:
    """Tell an axis from a file's path: `x=1..3` is one, `params.csv` and `./x=1.csv` are not."""
    name, equals, _ = word.partition("=")
    return bool(equals) and "/" not in name


def params(
    axes: Sequence[str],
    *,
    zipped: Sequence[Sequence[str]] = (),
    samples: int | None = None,
    seed: int = 0,
    text: bool = False,
) -> Iterator[dict[str, Any]]:
    """Turn axis words into params, lazily.

    The grid is the cross product of the axes; the last one varies fastest. A zip varies as its
    first axis. Random axes are drawn together, `samples` times; each draw is crossed with the
    whole grid and varies slowest, so that more samples append to what fewer gave. Each random
    axis draws from a generator of its own, seeded with `seed` and its name: adding an axis
    leaves the others' draws as they are.

    Args:
        axes: words, see `maniple.sweep.axis`.
        zipped: groups of names whose axes advance together.
        samples: how many draws; needed if and only if there is a random axis.
        seed: of the draws.
        text: keep every value as text.

    Returns:
        Fresh dicts, their keys in the order of the axes.

    Raises:
        UsageError: at the call, before any param: a malformed word, a duplicate name, a zip of
            unknown names or of unequal lengths, samples without a random axis or the reverse.
    """
    parsed = [Axis.parse(word, text=text) for word in axes]
    return grid(parsed, zipped=zipped, samples=samples, seed=seed)


def count(
    axes: Sequence[str], *, zipped: Sequence[Sequence[str]] = (), samples: int | None = None
) -> int:
    """Say how many params `params` gives for the same arguments, without making them.

    Raises:
        UsageError: as `params`.
    """
    return count_of([Axis.parse(word) for word in axes], zipped=zipped, samples=samples)


def grid(
    axes: Sequence[Axis],
    *,
    zipped: Sequence[Sequence[str]] = (),
    samples: int | None = None,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Cross axes that are parsed already; otherwise as `params`."""
    space = _arrange(axes, zipped, samples)
    # a dict that is copied keeps the order of its keys, whichever block sets them first
    bases: Iterator[dict[str, Any]] = iter((dict.fromkeys(space.names),))
    if space.drawn:
        bases = _draw(space.names, space.drawn, space.samples, seed)
    for block in space.blocks:
        bases = _cross(bases, block)
    return bases


def count_of(
    axes: Sequence[Axis], *, zipped: Sequence[Sequence[str]] = (), samples: int | None = None
) -> int:
    """Count the params of axes that are parsed already; otherwise as `count`."""
    space = _arrange(axes, zipped, samples)
    total = space.samples
    for block in space.blocks:
        total *= block.length
    return total


def _cross(bases: Iterator[dict[str, Any]], block: _Block) -> Iterator[dict[str, Any]]:
    columns = block.columns
    if block.length <= _KEPT:
        columns = tuple(map(tuple, columns))
    if len(block.names) == 1:
        name, column = block.names[0], columns[0]
        for base in bases:
            copy = base.copy
            for value in column:
                param = copy()
                param[name] = value
                yield param
        return
    for base in bases:
        for row in zip(*columns, strict=True):
            param = base.copy()
            param.update(zip(block.names, row, strict=True))
            yield param


def _draw(
    names: tuple[str, ...], axes: tuple[Axis, ...], samples: int, seed: int
) -> Iterator[dict[str, Any]]:
    from random import Random

    draws = [(a.name, a.draw, Random(f"{seed}:{a.name}")) for a in axes if a.draw is not None]
    for _ in range(samples):
        param: dict[str, Any] = dict.fromkeys(names)
        for name, draw, random in draws:
            param[name] = draw(random)
        yield param


def _arrange(axes: Sequence[Axis], zipped: Sequence[Sequence[str]], samples: int | None) -> _Space:
    if not axes:
        raise UsageError("there is no axis; write x=1..10 or x=a,b,c")
    named: dict[str, Axis] = {}
    for axis in axes:
        if axis.name in named:
            raise UsageError(
                f"axis {axis.word!r}: {axis.name!r} is given already, by "
                f"{named[axis.name].word!r}; write each name once, x=1,2,3 for several values"
            )
        named[axis.name] = axis
    drawn = tuple(axis for axis in axes if axis.draw is not None)
    if drawn and samples is None:
        raise UsageError(
            f"axis {drawn[0].word!r}: random values need the number of samples; "
            "say how many to draw, or write a grid, x=lin:0..1:5"
        )
    if samples is not None and samples < 1:
        raise UsageError(f"{samples} samples: at least 1 must be drawn")
    if samples is not None and not drawn:
        raise UsageError(f"{samples} samples of nothing: no axis is random; write {RANDOM_FORMS}")

    leaders: dict[str, Sequence[str]] = {}
    followers: set[str] = set()
    for group in zipped:
        _check_zip(group, named, followers | leaders.keys())
        first = min(group, key=list(named).index)
        leaders[first] = [name for name in named if name in group]
        followers.update(name for name in group if name != first)
    blocks = []
    for name, axis in named.items():
        if axis.draw is not None or name in followers:
            continue
        members = [named[member] for member in leaders.get(name, (name,))]
        names, columns = zip(*((member.name, member.values) for member in members), strict=True)
        blocks.append(_Block(names, columns, axis.length))
    return _Space(tuple(named), tuple(blocks), drawn, samples or 1)


def _check_zip(group: Sequence[str], named: dict[str, Axis], taken: set[str]) -> None:
    label = ",".join(group)
    for name in group:
        if name not in named:
            raise UsageError(f"zip {label}: there is no axis {name!r}, only {', '.join(named)}")
        if named[name].draw is not None:
            raise UsageError(
                f"zip {label}: {named[name].word!r} is random, and random axes are drawn together "
                "anyway; zip lists and ranges only"
            )
        if name in taken or list(group).count(name) > 1:
            raise UsageError(f"zip {label}: {name!r} is zipped already; name each axis once")
    if not group:
        raise UsageError("an empty zip; name the axes that advance together, x,y")
    first = named[group[0]]
    for name in group[1:]:
        other = named[name]
        if other.length != first.length:
            raise UsageError(
                f"zip {label}: {first.word!r} has {first.length} values and {other.word!r} has "
                f"{other.length}; give them the same number"
            )
