"""The table, for the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import line
from pairs import Goal, Row

MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def number(value: float | None, unit: str) -> str:
    """Write a figure with its unit, in three digits or so."""
    if value is None:
        return "-"
    if value >= 100:
        text = f"{value:,.0f}"
    elif value >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"
    return f"{text}{unit}" if unit.startswith("/") else f"{text} {unit}"


def goal_text(goal: Goal, unit: str) -> str:
    """Write a goal."""
    if goal.at_most is not None:
        return f"<= {goal.at_most:g} {unit}"
    if goal.at_least is not None:
        return f">= {goal.at_least:g} {unit}"
    if goal.ratio_at_least is not None:
        return f">= {goal.ratio_at_least:g} x"
    if goal.ratio_at_most is not None:
        return f"<= {goal.ratio_at_most:g} x"
    return ""


def show(rows: Sequence[Row], machine: dict[str, Any], seconds: float) -> None:
    """Print the table."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=170)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("work", "goal", "", "ours", "peer", "peer's", "ratio", "spread"):
        table.add_column(
            name,
            justify="right" if name in {"ours", "peer's", "ratio", "spread"} else "left",
            overflow="fold",
        )
    notes: list[str] = []
    last: tuple[str, str] | None = None
    subject = ""
    for row in rows:
        if row.subject != subject:
            if subject:
                table.add_section()
            subject = row.subject
        first = (row.subject, row.work) != last
        last = (row.subject, row.work)
        mark = ""
        if row.note:
            if row.note not in notes:
                notes.append(row.note)
            mark = f" [{notes.index(row.note) + 1}]"
        ratio = row.ratio
        table.add_row(
            escape(row.work) if first else "",
            goal_text(row.goal, row.unit),
            MARKS[row.met],
            number(row.ours, row.unit) if first else "",
            escape(row.peer + mark),
            number(row.theirs, row.unit),
            f"{ratio.median:.2f} x" if ratio else "-",
            f"{ratio.least:.2f} to {ratio.most:.2f}" if ratio else "",
        )
    console.print(table)
    console.print("ratio: how many times better ours is (median of the rounds, least to most)")
    for place, note in enumerate(notes, 1):
        console.print(escape(f"[{place}] {note}"))
    console.print(escape(f"{line(machine)}; {seconds:.0f} s in all"))


def write(path: Path, rows: Sequence[Row], machine: dict[str, Any], seconds: float) -> None:
    """Write all figures as JSON."""
    found = []
    for row in rows:
        fields: dict[str, Any] = row._asdict()
        fields["goal"] = {k: v for k, v in row.goal._asdict().items() if v is not None}
        fields["ratio"] = row.ratio._asdict() if row.ratio else None
        found.append({**fields, "met": row.met})
    whole = {"machine": machine, "seconds": round(seconds, 1), "rows": found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
