"""Figures as short text for people: durations, counts, rates, params."""

from __future__ import annotations

import time
from typing import Final

_SMALL: Final = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s"))
_RATE_UNITS: Final = {"second": "s", "minute": "min", "hour": "h"}
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def duration(seconds: float) -> str:
    """Write seconds with three digits at most: `1.25 ms`, `4m 05s`, `2h 10m`, `3d 4h`."""
    if seconds <= 0:
        return "0 s"
    for limit, factor, unit in _SMALL:
        # 59.97 s would round to 60 s: that is a minute
        if seconds < limit * 0.9995:
            return f"{_three(seconds * factor)} {unit}"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    minutes = round(seconds / _MINUTE)
    if minutes * _MINUTE < _DAY:
        return f"{minutes // _MINUTE}h {minutes % _MINUTE:02}m"
    hours = round(seconds / _HOUR)
    return f"{hours // 24}d {hours % 24}h"


def count(number: int | None) -> str:
    """Write a count with separators; `?` where it is not known."""
    return "?" if number is None else f"{number:,}"


def rate(per_second: float) -> str:
    """Write a rate in the unit that keeps it above 1: `36.2/s`, `5/min`, `2.5/h`."""
    factor, unit = rate_unit(per_second)
    return f"{_three(per_second * factor)}/{_RATE_UNITS[unit]}"


def percent(fraction: float) -> str:
    """Write a fraction; only what is whole is `100 %`, only nothing is `0 %`."""
    if fraction <= 0:
        return "0 %"
    if fraction >= 1:
        return "100 %"
    return f"{min(99.9, max(0.1, fraction * 100)):.1f} %"


def share(part: int, whole: int) -> str:
    """Write a part of a whole as a percentage; `0 %` of nothing."""
    return percent(part / whole if whole else 0.0)


def clock(at: float, span: float = 0.0) -> str:
    """Write a moment in local time; with its day where the `span` shown is a day or more."""
    return time.strftime("%d %b %H:%M" if span >= _DAY else "%H:%M:%S", time.localtime(at))


def moment(at: float) -> str:
    """Write a moment in local time with its full date."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def rate_unit(top: float) -> tuple[float, str]:
    """Choose the unit in which rates up to `top` per second read best.

    Returns:
        What to multiply with, and the unit's name.
    """
    if top >= 1 or top <= 0:
        return 1.0, "second"
    return (_MINUTE, "minute") if top * _MINUTE >= 1 else (_HOUR, "hour")


def printable(text: str, width: int | None = None) -> str:
    """Make text safe to show on one line, cut to `width` characters.

    Control characters (an escape sequence in an error message, say) become spaces.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    if width is not None and len(text) > width:
        text = text[: max(0, width - 1)] + "…"
    return text


def _three(value: float) -> str:
    """Write a number with three digits, more only before the point."""
    if value >= 999.5:  # noqa: PLR2004  # rounds to four digits
        return f"{value:,.0f}"
    return f"{value:.3g}"
