"""How leases and failures are written for the statements of the PostgreSQL queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from maniple.queue import Failure, Lease


def array(numbers: Iterable[int]) -> str:
    """Write an array of numbers: text is the same for every type that a statement gives it."""
    return f"{{{','.join(map(str, numbers))}}}"


def runs(leases: Sequence[Lease]) -> tuple[str, str, str]:
    """Name leases by runs of successive numbers under one token: tokens, first and last ones."""
    found: list[list[int]] = []
    last: tuple[int, int] | None = None
    for mark in sorted((lease.token, lease.task.number) for lease in leases):
        token, number = mark
        if last == (token, number - 1):
            found[-1][2] = number
        elif last != mark:
            found.append([token, number, number])
        last = mark
    tokens, lows, highs = zip(*found, strict=True)
    return array(tokens), array(lows), array(highs)


def losses(leases: Sequence[Lease], ours: Iterable[tuple[Any, ...]]) -> list[Lease]:
    """Find the leases that are in none of our ranges."""
    ranges: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for token, first, last in ours:
        ranges[token].append((first, last))
    return [
        lease
        for lease in leases
        if not any(
            first <= lease.task.number <= last for first, last in ranges.get(lease.token, ())
        )
    ]


def encoded(failure: Failure) -> bytes:
    """Write a failure as JSON, which holds any character in a database of any encoding."""
    try:
        return msgspec.json.encode(failure)
    except UnicodeEncodeError:
        # a file name that is no text, say
        cause, error, output = (
            text.encode("utf-8", "replace").decode()
            for text in (failure.cause, failure.error, failure.output)
        )
        return msgspec.json.encode(Failure(cause, error, output, failure.at))
