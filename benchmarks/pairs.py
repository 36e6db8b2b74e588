"""Rounds of measurements side by side, and the rows that come of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from processes import Trouble

Measure = Callable[[], Mapping[str, float]]


class Goal(NamedTuple):
    """What a row should show: a figure of ours at most, or a ratio at least."""

    at_most: float | None = None
    at_least: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None


class Ratio(NamedTuple):
    """How many times better we are than a peer, over the rounds. Over 1: we are better."""

    median: float
    least: float
    most: float


class Row(NamedTuple):
    """One line of the table."""

    subject: str
    work: str
    unit: str
    goal: Goal
    ours: float | None
    spread: tuple[float, float] | None
    peer: str
    theirs: float | None
    ratio: Ratio | None
    rounds: int
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing to judge."""
        goal = self.goal
        if goal == Goal():
            return None
        if goal.at_most is not None:
            return None if self.ours is None else self.ours <= goal.at_most
        if goal.at_least is not None:
            return None if self.ours is None else self.ours >= goal.at_least
        if self.ratio is None:
            return None
        if goal.ratio_at_most is not None:
            return self.ratio.median <= goal.ratio_at_most
        return self.ratio.median >= (goal.ratio_at_least or 0)


class Figures(NamedTuple):
    """What the rounds gave: per side a list of measurements, or why there are none."""

    found: dict[str, list[Mapping[str, float]]]
    trouble: dict[str, str]


def rounds(sides: Mapping[str, Measure], number: int, say: Callable[[str], None]) -> Figures:
    """Measure all sides in turn, A B C A B C ...; a side that fails once is left out after."""
    figures = Figures({name: [] for name in sides}, {})
    for number_now in range(1, number + 1):
        for name, measure in sides.items():
            if name in figures.trouble:
                continue
            say(f"round {number_now} of {number}: {name}")
            try:
                figures.found[name].append(measure())
            except Trouble as trouble:
                figures.trouble[name] = str(trouble)
                figures.found[name].clear()
    return figures


def compare(
    figures: Figures,
    ours: str,
    peers: Mapping[str, str],
    *,
    figure: str,
    more: bool = False,
    **texts: Any,
) -> list[Row]:
    """Make a row for each peer beside one side of ours.

    Args:
        figures: of the rounds.
        ours: the name of our side.
        peers: the names of theirs, each with a note for the table.
        figure: which figure.
        more: more of it is better; otherwise less is.
        texts: `subject`, `work`, `unit`, `goal` of the rows. The goal stands in the first row.
    """
    mine = [each[figure] for each in figures.found[ours] if figure in each]
    rows: list[Row] = []
    goal = texts.pop("goal", Goal())
    for peer, note in peers.items():
        others = [each[figure] for each in figures.found.get(peer, []) if figure in each]
        both = list(zip(mine, others, strict=False))
        ratios = [(a / b if more else b / a) for a, b in both if a and b]
        # why ours failed is told once, in the first row
        whose = (peer,) if rows else (ours, peer)
        told = [f"{who}: {figures.trouble[who]}" for who in whose if who in figures.trouble]
        rows.append(
            Row(
                **texts,
                goal=goal,
                ours=statistics.median(mine) if mine else None,
                spread=(min(mine), max(mine)) if mine else None,
                peer=peer,
                theirs=statistics.median(others) if others else None,
                ratio=Ratio(statistics.median(ratios), min(ratios), max(ratios))
                if ratios
                else None,
                rounds=len(both),
                note="; ".join([*told, *([note] if note else [])]),
            )
        )
        goal = Goal()
    return rows
