"""A summary drawn in the terminal, within 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from maniple.queue import QueueStats
from maniple.stats import words
from maniple.stats.summary import Durations, Rate, Summary, remaining_time

WIDTH: Final = 80
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_BAR_HEIGHT: Final = 4
_BAR_WIDTH: Final = 74
_ROWS: Final = 8
_OK = "green"
_BAD = "red"
_WAIT = "yellow"
_DIM = "dim"


def draw(
    summary: Summary,
    queues: Sequence[tuple[str, QueueStats]] = (),
    *,
    directory: str = "",
    now: float | None = None,
) -> RenderableType:
    """Draw a summary, and the queues that are known, for a terminal of 80 columns or more.

    Args:
        summary: what the events say.
        queues: URL and counts of each queue.
        directory: where the events are, for the heading.
        now: for the heading and the time that is left; left out where None.
    """
    parts: list[RenderableType] = [_heading(directory, now)]
    parts += [_queue(url, stats) for url, stats in queues]
    if not summary.events:
        parts.append(_nothing(summary, directory))
        return Group(*parts)
    parts.append(_counts(summary, queues, now))
    if summary.rate is not None:
        parts += [_section("rate"), _rate(summary.rate)]
    if summary.durations is not None:
        parts += [_section("durations"), _durations(summary, summary.durations)]
    parts += [_section("machines"), _machines(summary)]
    if summary.causes:
        parts += [_section("failures by cause"), _causes(summary)]
        parts += [_section("last failures"), _last_failures(summary)]
    if summary.damaged:
        parts.append(Text(f"\n {_damaged(summary.damaged)}", _DIM))
    return Group(*parts)


def _heading(directory: str, now: float | None) -> Table:
    grid = Table.grid(expand=False, padding=0)
    grid.width = WIDTH
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    title = Text.assemble(("maniple status", "bold"), "  ", (words.printable(directory), _DIM))
    grid.add_row(title, Text("" if now is None else words.moment(now), _DIM))
    return grid


def _section(title: str) -> Text:
    return Text(f"\n {title}", "bold cyan")


def _damaged(count: int) -> str:
    what = "line was" if count == 1 else "lines were"
    return f"{count:,} {what} torn or no events, and skipped"


def _nothing(summary: Summary, directory: str) -> Text:
    where = f" in {words.printable(directory)}" if directory else ""
    text = f"\n no events yet{where}; minions write one when an attempt ends"
    if summary.damaged:
        text += f"\n {_damaged(summary.damaged)}"
    return Text(text)


def _queue(url: str, stats: QueueStats) -> RenderableType:
    done, failed = stats.done or 0, stats.failed or 0
    grid = Table.grid(padding=(0, 1))
    grid.width = WIDTH - 1
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    total = stats.total
    name = Text(words.printable(url), "bold")
    if total is None:
        grid.add_row(name, Text("total not known", _DIM))
    else:
        grid.add_row(
            name,
            Text(f"{words.share(done + failed, total)} of {words.count(total)}"),
        )
    lines: list[RenderableType] = [Text(), grid]
    if total:
        lines.append(_progress(done, failed, stats.leased or 0, total))
    styles = {"waiting": "", "delayed": _WAIT, "leased": _WAIT, "done": _OK, "failed": _BAD}
    line = Text()
    for state, style in styles.items():
        number = getattr(stats, state)
        line.append(f"{words.count(number)} {state}", (style if number else _DIM))
        if state != "failed":
            line.append(" · ", _DIM)
    lines.append(line)
    return Padding(Group(*lines), (0, 0, 0, 1))


def _progress(done: int, failed: int, leased: int, total: int) -> Text:
    """One bar; every state that holds a task has a cell at least."""
    width = WIDTH - 2
    bar = Text()
    used = 0
    for number, style, cell in ((done, _OK, "━"), (failed, _BAD, "╍"), (leased, _WAIT, "─")):
        cells = min(width - used, max(1, round(width * number / total))) if number else 0
        if number and number == done and done < total:
            # A bar that looks full says that nothing is left
            cells = min(cells, width - 1)
        bar.append(cell * cells, style)
        used += cells
    bar.append("┈" * (width - used), _DIM)
    return bar


def _counts(
    summary: Summary, queues: Sequence[tuple[str, QueueStats]], now: float | None
) -> RenderableType:
    left = remaining_time(summary, queues)
    outcome = Text("\n ")
    outcome.append(f"{words.count(summary.done)} done", f"bold {_OK}")
    outcome.append(" · ", _DIM)
    outcome.append(
        f"{words.count(summary.failed)} failed", f"bold {_BAD}" if summary.failed else _DIM
    )
    outcome.append(" · ", _DIM)
    outcome.append(f"{words.count(summary.retried)} ran again")
    outcome.append(" · ", _DIM)
    outcome.append(
        f"{words.count(summary.events)} attempts,"
        f" {words.count(summary.failed_attempts)} of them failed"
    )
    pace = [words.duration(summary.elapsed), f"{words.rate(summary.throughput)} overall"]
    if summary.active_minions:
        pace.append(f"{words.rate(summary.recent_throughput)} now")
    if left:
        pace.append(f"about {words.duration(left)} left")
    where = "1 machine" if summary.machines == 1 else f"{words.count(summary.machines)} machines"
    who = "1 minion" if summary.minions == 1 else f"{words.count(summary.minions)} minions"
    crew = [f"{who} on {where}", f"{words.count(summary.active_minions)} active"]
    if now is not None and summary.last_end is not None:
        age = now - summary.last_end
        ago = f"{words.duration(age)} ago" if age >= 1 else "just now"
        crew.append(f"last event {ago}")
    return Group(outcome, Text(" " + " · ".join(pace)), Text(" " + " · ".join(crew)))


def _column(value: float, height: int) -> list[str]:
    """One bar of a chart, from its top row to its bottom row; `value` is from 0 to 1."""
    eighths = round(value * height * 8)
    if value > 0:
        eighths = max(1, eighths)
    return [_BLOCKS[min(8, max(0, eighths - 8 * row))] for row in reversed(range(height))]


def _bars(values: Sequence[float], height: int, thickness: int) -> list[str]:
    """Draw values as bars; return the rows, the top one first."""
    top = max(values, default=0) or 1
    columns = [_column(value / top, height) for value in values]
    return ["".join(column[row] * thickness for column in columns) for row in range(height)]


def _rate(rate: Rate) -> RenderableType:
    both = [ok + failed for ok, failed in zip(rate.ok, rate.failed, strict=True)]
    thickness = max(1, min(6, _BAR_WIDTH // len(both)))
    lines = [Text(f"   {row}", _OK) for row in _bars(both, _BAR_HEIGHT, thickness)]
    if any(rate.failed):
        # On its own scale, for a few failures among many tasks would not show
        lines += [Text(f"   {row}", _BAD) for row in _bars(rate.failed, 1, thickness)]
    span = thickness * len(both)
    seconds = rate.width * len(both)
    start, end = words.clock(rate.start, seconds), words.clock(rate.start + seconds, seconds)
    axis = f"{start}{end:>{span - len(start)}}" if span > len(start) + len(end) + 1 else start
    lines.append(Text(f"   {axis}", _DIM))
    note = f"peak {words.rate(max(both) / rate.width)}"
    if any(rate.failed):
        note += f"; failures in red beneath, peak {words.rate(max(rate.failed) / rate.width)}"
    lines.append(Text(f"   {note}; a bar is {words.duration(rate.width)}", _DIM))
    return Group(*lines)


def _durations(summary: Summary, durations: Durations) -> RenderableType:
    bins = durations.histogram
    thickness = max(1, min(5, 56 // len(bins)))
    lines = [Text(row, "blue") for row in _bars([b.count for b in bins], _BAR_HEIGHT, thickness)]
    low, high = words.duration(bins[0].low), words.duration(bins[-1].high)
    axis = f"{low}{high:>{max(len(high) + 2, thickness * len(bins) - len(low))}}"
    lines.append(Text(axis, _DIM))
    figures = Table.grid(padding=(0, 1))
    figures.add_column(style=_DIM)
    figures.add_column(justify="right", no_wrap=True)
    for name in ("min", "median", "mean", "p90", "p99", "max"):
        figures.add_row(name, words.duration(getattr(durations, name)))
    grid = Table.grid(padding=(0, 2))
    grid.width = WIDTH - 3
    grid.add_column(ratio=1)
    grid.add_column()
    grid.add_row(Group(*lines), figures)
    parts: list[RenderableType] = [grid]
    if summary.steps:
        steps = " · ".join(
            f"{words.printable(name, 16)} {words.duration(step.mean)}"
            for name, step in list(summary.steps.items())[:_ROWS]
        )
        parts.append(Text(f"mean of {steps}", _DIM, no_wrap=True, overflow="ellipsis"))
    return Padding(Group(*parts), (0, 0, 0, 3))


def _machines(summary: Summary) -> RenderableType:
    table = _table()
    table.add_column("machine", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("minions", "active", "attempts", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("busy", no_wrap=True)
    for machine in summary.per_machine[:_ROWS]:
        table.add_row(
            Text(words.printable(machine.name) or "(not named)"),
            words.count(machine.minions),
            words.count(machine.active_minions),
            words.count(machine.events),
            Text(words.count(machine.failed), _BAD if machine.failed else _DIM),
            Text.assemble(
                (("━" * round(12 * machine.busy_fraction)).ljust(13), _OK),
                f"{words.percent(machine.busy_fraction):>6}",
            ),
        )
    return _with_rest(table, len(summary.per_machine))


def _causes(summary: Summary) -> RenderableType:
    table = _table(show_header=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=40)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    top = max(summary.causes.values())
    for cause, number in list(summary.causes.items())[:_ROWS]:
        bar = "━" * max(1, round(28 * number / top))
        table.add_row(Text(words.printable(cause)), words.count(number), Text(bar, _BAD))
    return _with_rest(table, len(summary.causes))


def _last_failures(summary: Summary) -> RenderableType:
    table = _table(show_header=False)
    table.add_column(no_wrap=True, style=_DIM)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for failure in summary.last_failures:
        param = bytes(failure.param).decode("utf-8", "replace")
        table.add_row(
            words.clock(failure.end, summary.elapsed),
            Text(words.printable(param, 200)),
            Text(words.printable(failure.message, 200), _BAD),
        )
    return Padding(table, (0, 0, 0, 3))


def _table(*, show_header: bool = True) -> Table:
    return Table(
        box=None,
        width=WIDTH - 3,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style=_DIM,
        show_header=show_header,
    )


def _with_rest(table: Table, total: int) -> RenderableType:
    rest = total - _ROWS
    shown: RenderableType = table
    if rest > 0:
        shown = Group(table, Text(f"and {words.count(rest)} more", _DIM))
    return Padding(shown, (0, 0, 0, 3))
