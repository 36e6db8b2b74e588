"""What the pipes of a network must agree about: how much they hold, how soon it is done with.

A block is kept until what came of it is done with at the end of the graph. A job that takes ten
blocks a call, before one that takes ten again, is done with the first block after the hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from maniple.network.graph import Edge

_SHARE: Final = 4


def least_blocks(edges: Sequence[Edge]) -> list[int]:
    """Tell for each pipe how many blocks make its reader's last descendants do one call each.

    Args:
        edges: of a network that was checked: without a cycle but through optional pipes.
    """
    after: dict[int, list[Edge]] = {}
    for edge in edges:
        after.setdefault(edge.writer, []).append(edge)
    known: dict[int, int] = {}

    def calls(place: int) -> int:
        if place not in known:
            known[place] = max((blocks(edge) for edge in after.get(place, ())), default=1)
        return known[place]

    def blocks(edge: Edge) -> int:
        # an optional input is done with when there is a newer block
        return 2 if edge.pipe.optional else edge.pipe.count * calls(edge.reader)

    return [blocks(edge) for edge in edges]


def acknowledge_after(edges: Sequence[Edge], windows: Sequence[int]) -> list[int]:
    """Tell for each pipe after how many blocks its writer must be told that they are done with.

    A pipe further up that holds little waits for the word of all those behind it.

    Args:
        edges: as in `least_blocks`.
        windows: how many blocks each pipe holds.
    """
    before: dict[int, list[int]] = {}
    for number, edge in enumerate(edges):
        if not edge.pipe.optional:
            before.setdefault(edge.reader, []).append(number)
    known: dict[int, int] = {}

    def outstanding(number: int) -> int:
        """How many blocks of a pipe there can be before some pipe is full."""
        if number not in known:
            edge = edges[number]
            above = (outstanding(u) // edges[u].pipe.count for u in before.get(edge.writer, ()))
            known[number] = min((windows[number], *above))
        return known[number]

    return [max(1, outstanding(number) // _SHARE) for number in range(len(edges))]
