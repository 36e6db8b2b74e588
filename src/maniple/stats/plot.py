"""Plots as SVG text, styled by the page's classes. Nothing here knows what is plotted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

_DIGITS: Final = (1, 2, 5, 10)
_TIME_STEPS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000),
)
_MINUTE: Final = 60
_DAY: Final = 86400
_YEAR: Final = 366 * _DAY
_TOP: Final = 10
_BOTTOM: Final = 22
_LEFT: Final = 48
_RIGHT: Final = 10


class Series(NamedTuple):
    """Values of one colour (a class of the page), and what they are called."""

    name: str
    style: str
    values: Sequence[float]


class Mark(NamedTuple):
    """A vertical line at a place of the x axis (0 to 1)."""

    place: float
    label: str


def ticks(top: float, wanted: int = 4) -> list[float]:
    """Choose round values from 0 to at least `top`, `wanted` steps or fewer."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(digit * power for digit in _DIGITS if digit * power >= raw * (1 - 1e-9))
    return [step * i for i in range(math.ceil(top / step * (1 - 1e-9)) + 1)]


def time_ticks(start: float, end: float, wanted: int = 8) -> list[tuple[float, str]]:
    """Choose round moments of local time in a span, with their labels."""
    span = end - start
    step = next((float(s) for s in _TIME_STEPS if span / s <= wanted), float(_YEAR))
    offset = time.localtime(start).tm_gmtoff
    if step < _MINUTE:
        form = "%H:%M:%S"
    elif step < _DAY:
        form = "%H:%M" if span < _DAY else "%d %b %H:%M"
    else:
        form = "%d %b" if span < _YEAR else "%Y-%m"
    first = math.ceil((start + offset) / step) * step - offset
    count = max(0, math.floor((end - first) / step) + 1)
    moments = [first + i * step for i in range(count)]
    return [
        (at, time.strftime(form, time.localtime(at)) + (f"{at % 1:.1f}"[1:] if step < 1 else ""))
        for at in moments
    ]


def stacked_bars(
    series: Sequence[Series],
    *,
    x_labels: Sequence[tuple[float, str]],
    y_label: Callable[[float], str],
    title: Callable[[int], str],
    marks: Sequence[Mark] = (),
    size: tuple[int, int] = (1000, 200),
    label: str = "",
) -> str:
    """Draw bars of equal width, one series on top of the other.

    Args:
        series: all of the same length.
        x_labels: place (0 to 1) and text.
        y_label: text for a value of the y axis.
        title: text that a browser shows over a bar, by index.
        marks: vertical lines.
        size: of the picture, in its own units (about pixels).
        label: what the picture shows, for those who cannot see it.
    """
    width, height = size
    inner = width - _LEFT - _RIGHT
    marks_room = 14 if marks else 0
    top = _TOP + marks_room
    ground = height - _BOTTOM
    number = len(series[0].values)
    totals = [sum(one.values[i] for one in series) for i in range(number)]
    scale = ticks(max(totals, default=0))
    factor = (ground - top) / scale[-1]
    parts = [_open(size, label)]
    for value in scale:
        y = ground - value * factor
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="axis" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">'
            f"{escape(y_label(value))}</text>"
        )
    step = inner / max(1, number)
    gap = min(2.0, step * 0.18)
    for i in range(number):
        if not totals[i]:
            continue
        x = _LEFT + i * step + gap / 2
        y = float(ground)
        parts.append(f"<g><title>{escape(title(i))}</title>")
        for one in series:
            tall = one.values[i] * factor
            if tall <= 0:
                continue
            # What happened once among thousands is still seen
            tall = max(1.5, tall)
            y -= tall
            parts.append(
                f'<rect class="{one.style}" x="{x:.1f}" y="{y:.1f}"'
                f' width="{step - gap:.1f}" height="{tall:.1f}"/>'
            )
        parts.append("</g>")
    parts += _x_axis(x_labels, _LEFT, inner, ground, width)
    end = -math.inf
    for mark in sorted(marks, key=lambda mark: mark.place):
        x = _LEFT + mark.place * inner
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{ground}"/>')
        half = 3.2 * len(mark.label)
        if x - half > end:
            parts.append(
                f'<text class="axis" x="{x:.1f}" y="{top - 8}" text-anchor="middle">'
                f"{escape(mark.label)}</text>"
            )
            end = x + half + 4
    parts.append("</svg>")
    return "".join(parts)


def heat_rows(
    rows: Sequence[tuple[str, Sequence[float]]],
    *,
    x_labels: Sequence[tuple[float, str]],
    title: Callable[[int, int], str],
    width: int = 1000,
    label: str = "",
) -> str:
    """Draw a row of cells per name, the darker the nearer its value is to 1.

    Args:
        rows: name and values from 0 to 1, all of the same length.
        x_labels: place (0 to 1) and text.
        title: text that a browser shows over a cell, by row and column.
        width: of the picture, in its own units (about pixels).
        label: what the picture shows, for those who cannot see it.
    """
    left = 180
    pitch = 20 if len(rows) <= 24 else 12  # noqa: PLR2004  # rows that still fit a screen
    inner = width - left - _RIGHT
    ground = _TOP + pitch * len(rows)
    parts = [_open((width, ground + _BOTTOM), label)]
    for index, (name, values) in enumerate(rows):
        y = _TOP + index * pitch
        shown = name if len(name) <= 27 else "…" + name[-26:]  # noqa: PLR2004  # fits the margin
        parts.append(
            f'<text class="axis" x="{left - 8}" y="{y + pitch / 2 + 3:.1f}" text-anchor="end">'
            f"<title>{escape(name)}</title>{escape(shown)}</text>"
            f'<rect class="track" x="{left}" y="{y + 1}" width="{inner}" height="{pitch - 3}"/>'
        )
        step = inner / max(1, len(values))
        for column, value in enumerate(values):
            if value > 0:
                parts.append(
                    f'<rect class="heat" x="{left + column * step:.1f}" y="{y + 1}"'
                    f' width="{step + 0.15:.1f}" height="{pitch - 3}"'
                    f' fill-opacity="{0.12 + 0.88 * value:.2f}">'
                    f"<title>{escape(title(index, column))}</title></rect>"
                )
    parts += _x_axis(x_labels, left, inner, ground, width)
    parts.append("</svg>")
    return "".join(parts)


def _open(size: tuple[int, int], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(label)}"'
        ' xmlns="http://www.w3.org/2000/svg">'
    )


def _x_axis(
    labels: Sequence[tuple[float, str]], left: float, inner: float, ground: float, width: float
) -> list[str]:
    parts = [
        f'<line class="ground" x1="{left}" x2="{width - _RIGHT}" y1="{ground}" y2="{ground}"/>'
    ]
    end = -math.inf
    for place, text in labels:
        half = 3.1 * len(text)
        x = left + place * inner
        # Labels that would run into each other, or over the edge, are left out
        if x - half < end or x + half > width:
            continue
        end = x + half + 8
        parts.append(
            f'<line class="ground" x1="{x:.1f}" x2="{x:.1f}" y1="{ground}" y2="{ground + 4}"/>'
            f'<text class="axis" x="{x:.1f}" y="{ground + 16}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    return parts
