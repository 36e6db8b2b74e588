"""A summary as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec

from maniple.queue import QueueStats
from maniple.stats import plot, words
from maniple.stats.style import STYLE
from maniple.stats.summary import Durations, Rate, Summary, remaining_time

_MINIONS: Final = 64
_MACHINES: Final = 100
_CAUSES: Final = 20
_EDGES: Final = 8


def page(
    summary: Summary,
    queues: Sequence[tuple[str, QueueStats]],
    generated_at: float,
    *,
    directory: str = "",
) -> str:
    """Write a page that shows a summary and the queues that are known.

    It refers to nothing outside itself, runs no script, and follows the browser's light or
    dark scheme. All text that comes from events is escaped.

    Args:
        summary: what the events say.
        queues: URL and counts of each queue.
        generated_at: seconds since the epoch.
        directory: where the events are, for the heading.
    """
    body = [_heading(directory, generated_at)]
    if summary.events:
        body.append(_tiles(summary, queues))
    body += [_queue(url, stats) for url, stats in queues]
    if summary.events:
        body += _plots(summary)
    else:
        where = f" in <code>{_text(directory)}</code>" if directory else ""
        body.append(
            f'<section class="card"><p class="empty">No events yet{where}. '
            "Minions write one when an attempt ends.</p></section>"
        )
    if summary.damaged:
        what = "line was" if summary.damaged == 1 else "lines were"
        body.append(
            f'<p class="note">{words.count(summary.damaged)} {what} torn or no events,'
            " and skipped.</p>"
        )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>maniple status {_text(directory)}</title>\n<style>{STYLE}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _text(value: str, width: int | None = None) -> str:
    return escape(words.printable(value, width))


def _json(param: msgspec.Raw, width: int = 80) -> str:
    return _text(bytes(param).decode("utf-8", "replace"), width)


def _heading(directory: str, at: float) -> str:
    return (
        f"<header><h1>maniple <span>{_text(directory)}</span></h1>"
        f"<p>{words.moment(at)}</p></header>"
    )


def _tiles(summary: Summary, queues: Sequence[tuple[str, QueueStats]]) -> str:
    left = remaining_time(summary, queues)
    tiles = [
        ("done", words.count(summary.done), f"{words.count(summary.params)} params seen", "ok"),
        (
            "failed",
            words.count(summary.failed),
            f"{words.count(summary.failed_attempts)} of {words.count(summary.events)} attempts",
            "bad" if summary.failed else "",
        ),
        ("ran again", words.count(summary.retried), "tasks with several attempts", ""),
    ]
    if summary.active_minions:
        now = f"{words.rate(summary.recent_throughput)} lately"
        tiles.append(("rate", words.rate(summary.throughput), now, ""))
    else:
        tiles.append(("rate", words.rate(summary.throughput), "attempts, overall", ""))
    busy = f"{words.duration(summary.busy)} of work"
    tiles.append(("elapsed", words.duration(summary.elapsed), busy, ""))
    if left:
        tiles.append(("left", words.duration(left), "at the recent rate", ""))
    where = "1 machine" if summary.machines == 1 else f"{words.count(summary.machines)} machines"
    tiles.append(
        (
            "minions",
            words.count(summary.minions),
            f"{words.count(summary.active_minions)} active, on {where}",
            "",
        )
    )
    cells = "".join(
        f'<div class="tile"><h2>{name}</h2><p class="figure {style}">{value}</p><p>{note}</p></div>'
        for name, value, note, style in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _queue(url: str, stats: QueueStats) -> str:
    total = stats.total
    states = (
        ("done", stats.done, "ok"),
        ("failed", stats.failed, "bad"),
        ("leased", stats.leased, "lease"),
        ("delayed", stats.delayed, "delay"),
        ("waiting", stats.waiting, "wait"),
    )
    if total:
        ended = (stats.done or 0) + (stats.failed or 0)
        head = f"{words.share(ended, total)} of {words.count(total)}"
        cells = "".join(
            f'<span class="{style}" style="flex-grow:{number}"'
            f' title="{words.count(number)} {name}"></span>'
            for name, number, style in states
            if number
        )
        bar = f'<div class="progress">{cells}</div>'
    else:
        head = "empty" if total == 0 else "total not known"
        bar = ""
    legend = "".join(
        f'<li><i class="{style}"></i>{words.count(number)} {name}</li>'
        for name, number, style in states
    )
    return (
        f'<section class="card"><h2><code>{_text(url)}</code><span>{head}</span></h2>'
        f'{bar}<ul class="legend">{legend}</ul></section>'
    )


def _plots(summary: Summary) -> list[str]:
    cards = []
    if summary.rate is not None:
        factor, unit = words.rate_unit(_peak(summary.rate))
        cards.append(_card("Rate", _rate(summary.rate, factor), f"attempts per {unit}"))
    pair = []
    if summary.durations is not None:
        pair.append(_card("Durations", _durations(summary.durations) + _steps(summary)))
    pair.append(_card("Machines", _machines(summary)))
    cards.append(f'<div class="pair">{"".join(pair)}</div>')
    if summary.rate is not None:
        drawn = sum(1 for minion in summary.per_minion if minion.activity)
        note = "share of time spent in attempts"
        if drawn < summary.minions:
            note += f"; the first {drawn} of {words.count(summary.minions)}"
        cards.append(_card("Minions", _timeline(summary, summary.rate), note))
    if summary.causes:
        pair = [
            _card("Failures by cause", _causes(summary), "attempts"),
            _card("Last failures", _last_failures(summary)),
        ]
        cards.append(f'<div class="pair uneven">{"".join(pair)}</div>')
    cards.append(_card("Longest attempts", _slowest(summary)))
    return cards


def _card(title: str, body: str, note: str = "") -> str:
    return f'<section class="card"><h2>{title}<span>{note}</span></h2>{body}</section>'


def _moments(rate: Rate) -> list[tuple[float, str]]:
    span = rate.width * len(rate.ok)
    moments = plot.time_ticks(rate.start, rate.start + span)
    return [((at - rate.start) / span, text) for at, text in moments]


def _peak(rate: Rate) -> float:
    return max(map(sum, zip(rate.ok, rate.failed, strict=True)), default=0) / rate.width


def _rate(rate: Rate, factor: float) -> str:
    span = rate.width * len(rate.ok)

    def title(index: int) -> str:
        start = words.clock(rate.start + index * rate.width, span)
        width = words.duration(rate.width)
        return f"{start}, {width}: {rate.ok[index]} ok, {rate.failed[index]} failed"

    return plot.stacked_bars(
        [
            plot.Series("ok", "ok", [factor * n / rate.width for n in rate.ok]),
            plot.Series("failed", "bad", [factor * n / rate.width for n in rate.failed]),
        ],
        x_labels=_moments(rate),
        y_label=lambda value: f"{value:,.10g}",
        title=title,
        label="attempts that ended, over time",
    )


def _durations(durations: Durations) -> str:
    bins = durations.histogram
    low, high = math.log10(bins[0].low), math.log10(bins[-1].high)

    def place(seconds: float) -> float:
        return min(1.0, max(0.0, (math.log10(max(seconds, bins[0].low)) - low) / (high - low)))

    edges = [each.low for each in bins] + [bins[-1].high]
    stride = math.ceil(len(edges) / _EDGES)
    picture = plot.stacked_bars(
        [plot.Series("attempts", "blue", [each.count for each in bins])],
        x_labels=[(place(edge), words.duration(float(f"{edge:.2g}"))) for edge in edges[::stride]],
        y_label=lambda value: f"{value:,.10g}",
        title=lambda i: (
            f"{words.duration(bins[i].low)} to {words.duration(bins[i].high)}: "
            f"{words.count(bins[i].count)}"
        ),
        marks=[
            plot.Mark(place(getattr(durations, name)), name) for name in ("median", "p90", "p99")
        ],
        size=(500, 220),
        label="how many attempts took how long, on a log scale",
    )
    names = ("min", "median", "mean", "p90", "p99", "max")
    figures = "".join(
        f"<div><dt>{name}</dt><dd>{words.duration(getattr(durations, name))}</dd></div>"
        for name in names
    )
    return f'{picture}<dl class="figures">{figures}</dl>'


def _steps(summary: Summary) -> str:
    if not summary.steps:
        return ""
    steps = " · ".join(
        f"{_text(name, 24)} <b>{words.duration(step.mean)}</b>"
        for name, step in summary.steps.items()
    )
    return f'<p class="note">mean of each step: {steps}</p>'


def _machines(summary: Summary) -> str:
    rows = [
        (
            _text(machine.name) or "(not named)",
            f"{words.count(machine.active_minions)} / {words.count(machine.minions)}",
            words.count(machine.events),
            words.count(machine.failed),
            _meter(machine.busy_fraction, "ok") + words.percent(machine.busy_fraction),
        )
        for machine in summary.per_machine[:_MACHINES]
    ]
    table = _table(("machine", "active", "attempts", "failed", "busy"), rows)
    return table + _rest(len(summary.per_machine) - _MACHINES)


def _timeline(summary: Summary, rate: Rate) -> str:
    minions = [minion for minion in summary.per_minion if minion.activity][:_MINIONS]

    def title(row: int, column: int) -> str:
        busy = words.percent(minions[row].activity[column])
        at = words.clock(rate.start + column * rate.width, rate.width * len(rate.ok))
        return f"{minions[row].uid}, {at}: {busy} busy"

    return plot.heat_rows(
        [(words.printable(minion.uid), minion.activity) for minion in minions],
        x_labels=_moments(rate),
        title=title,
        label="activity of each minion over time",
    )


def _causes(summary: Summary) -> str:
    top = max(summary.causes.values())
    rows = [
        (_text(cause, 60), _meter(number / top, "bad", wide=True), words.count(number))
        for cause, number in list(summary.causes.items())[:_CAUSES]
    ]
    return _table(None, rows) + _rest(len(summary.causes) - _CAUSES)


def _last_failures(summary: Summary) -> str:
    rows = [
        (
            words.clock(each.end, summary.elapsed),
            f"<code>{_json(each.param)}</code>",
            _text(each.message, 200),
        )
        for each in summary.last_failures
    ]
    return _table(None, rows, "failures")


def _slowest(summary: Summary) -> str:
    rows = [
        (
            f"<code>{_json(each.param, 120)}</code>",
            _text(each.uid, 60),
            "" if each.ok else '<span class="failed">failed</span>',
            words.duration(each.duration),
        )
        for each in summary.slowest
    ]
    return _table(None, rows)


def _meter(fraction: float, style: str, *, wide: bool = False) -> str:
    size = "meter wide" if wide else "meter"
    return f'<span class="{size}"><i class="{style}" style="width:{fraction:.1%}"></i></span>'


def _table(head: Sequence[str] | None, rows: Iterable[Sequence[str]], style: str = "") -> str:
    """Make a table of cells that are HTML already; the first column is text, the rest figures."""
    top = ""
    if head is not None:
        top = "<thead><tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr></thead>"
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{style}">{top}<tbody>{body}</tbody></table></div>'


def _rest(number: int) -> str:
    return f'<p class="note">and {words.count(number)} more</p>' if number > 0 else ""
