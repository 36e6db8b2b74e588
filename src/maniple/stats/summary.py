"""Statistics of a table of events, as plain data. Times are in seconds; `now` is passed in."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from maniple.queue import QueueStats
from maniple.stats.frame import Frame

DEFAULT_WINDOW: Final = 60.0
_SHOWN: Final = 5
_TIMELINES: Final = 64
_TIME_BINS: Final = 60
_DURATION_BINS: Final = 16
_SHORTEST: Final = 1e-6
_WIDTHS: Final = (
    *(digit * 10.0**power for power in range(-3, 1) for digit in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0),
)
_BINS_PER_DECADE: Final = (100, 50, 20, 10, 5, 3, 2, 1)


class Bin(msgspec.Struct, frozen=True):
    """How many durations lie in [low, high)."""

    low: float
    high: float
    count: int


class Durations(msgspec.Struct, frozen=True):
    """How long attempts took; the percentiles are exact, linear between neighbours."""

    min: float
    mean: float
    median: float
    p90: float
    p99: float
    max: float
    histogram: list[Bin]


class Rate(msgspec.Struct, frozen=True):
    """Attempts that ended in each of the bins of equal width, the first at `start`."""

    start: float
    width: float
    ok: list[int]
    failed: list[int]


class Machine(msgspec.Struct):
    """What the minions of one machine did.

    Attributes:
        busy: seconds in attempts, over all its minions.
        busy_fraction: of the time between each minion's first start and last end.
    """

    name: str
    minions: int = 0
    active_minions: int = 0
    events: int = 0
    failed: int = 0
    busy: float = 0.0
    busy_fraction: float = 0.0


class Minion(msgspec.Struct):
    """What one minion did.

    Attributes:
        activity: for each bin of the rate, the fraction of it spent in attempts; empty for all
            but the first minions, where there are many.
    """

    uid: str
    machine: str
    events: int = 0
    failed: int = 0
    first_start: float = math.inf
    last_end: float = -math.inf
    busy: float = 0.0
    busy_fraction: float = 0.0
    activity: list[float] = []


class StepTime(msgspec.Struct, frozen=True):
    """How often a step was timed, and its mean duration."""

    count: int
    mean: float


class Slow(msgspec.Struct, frozen=True):
    """One of the longest attempts; `param` is JSON."""

    param: msgspec.Raw
    duration: float
    uid: str
    ok: bool


class FailedAttempt(msgspec.Struct, frozen=True):
    """One of the last failed attempts; `param` is JSON, `message` the error's last line."""

    param: msgspec.Raw
    cause: str
    message: str
    end: float
    attempt: int
    uid: str


class Summary(msgspec.Struct, kw_only=True):
    """What a table of events says.

    Attributes:
        events: attempts that ended.
        damaged: lines of files that were no events and were skipped.
        done: distinct tasks that ended well.
        failed: distinct tasks that failed and never ended well (so far).
        failed_attempts: attempts that failed.
        retried: distinct tasks that ran more than once.
        params: distinct params seen.
        minions, machines: how many took part.
        active_minions: those with an event in the last `window` seconds.
        first_start, last_end, elapsed: of the whole; None without events.
        busy: seconds in attempts, over all minions.
        throughput: attempts that ended per second, overall.
        recent_throughput: the same over the last `window` seconds (or since the first start).
        causes: failed attempts by cause, the most frequent first.
        queue_urls: queues that events name.
    """

    events: int = 0
    damaged: int = 0
    done: int = 0
    failed: int = 0
    failed_attempts: int = 0
    retried: int = 0
    params: int = 0
    minions: int = 0
    active_minions: int = 0
    machines: int = 0
    first_start: float | None = None
    last_end: float | None = None
    elapsed: float = 0.0
    busy: float = 0.0
    throughput: float = 0.0
    recent_throughput: float = 0.0
    window: float = DEFAULT_WINDOW
    causes: dict[str, int] = {}
    durations: Durations | None = None
    rate: Rate | None = None
    per_machine: list[Machine] = []
    per_minion: list[Minion] = []
    steps: dict[str, StepTime] = {}
    slowest: list[Slow] = []
    last_failures: list[FailedAttempt] = []
    queue_urls: list[str] = []


def summarise(frame: Frame, now: float, window: float = DEFAULT_WINDOW) -> Summary:
    """Compute everything that is shown about a table of events.

    Args:
        frame: the events.
        now: seconds since the epoch; what is recent is counted back from it.
        window: seconds that count as recent.
    """
    summary = Summary(window=window, damaged=frame.damaged, queue_urls=frame.queues)
    if not len(frame):
        return summary
    starts, ends = frame.starts, frame.ends
    first, last = min(starts), max(ends)
    durations = [end - start for start, end in zip(starts, ends, strict=True)]
    span = min(window, now - first)
    recent = sum(1 for end in ends if end >= now - window)

    well = {task for task, ok in zip(frame.tasks, frame.ok, strict=True) if ok}
    badly = {frame.tasks[row] for row in frame.failures}
    again = {task for task, attempt in zip(frame.tasks, frame.attempts, strict=True) if attempt > 1}
    again.update(task for task, count in Counter(frame.tasks).items() if count > 1)

    summary.events = len(frame)
    summary.done = len(well)
    summary.failed = len(badly - well)
    summary.failed_attempts = len(frame.failures)
    summary.retried = len(again)
    summary.params = len(set(frame.params))
    summary.first_start = first
    summary.last_end = last
    summary.elapsed = last - first
    summary.busy = math.fsum(durations)
    summary.throughput = len(frame) / summary.elapsed if summary.elapsed > 0 else 0.0
    summary.recent_throughput = recent / span if span > 0 else 0.0
    summary.causes = dict(Counter(f.cause for f in frame.failures.values()).most_common())
    summary.rate = _rate(frame, first, last)
    summary.per_minion = _per_minion(frame, summary.rate)
    summary.per_machine = _per_machine(summary.per_minion, now - window)
    summary.minions = len(summary.per_minion)
    summary.machines = len(summary.per_machine)
    summary.active_minions = sum(machine.active_minions for machine in summary.per_machine)
    summary.steps = {name: StepTime(n, total / n) for name, (n, total) in frame.steps.items()}
    summary.slowest = _slowest(frame, durations)
    summary.last_failures = _last_failures(frame)
    durations.sort()
    summary.durations = _distribution(durations)
    return summary


def remaining_time(summary: Summary, queues: Sequence[tuple[str, QueueStats]]) -> float | None:
    """Estimate the seconds until the queues are empty, from the recent rate; None if unknown.

    Retries take a share of the rate: what counts is the tasks that end for good.
    """
    if not queues or not summary.events:
        return None
    left = sum(
        (stats.waiting or 0) + (stats.delayed or 0) + (stats.leased or 0) for _, stats in queues
    )
    settled = (summary.done + summary.failed) / summary.events
    rate = summary.recent_throughput * settled
    return left / rate if rate > 0 else None


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Return the exact percentile of sorted values, linear between neighbours."""
    place = fraction * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _distribution(ordered: Sequence[float]) -> Durations:
    return Durations(
        min=ordered[0],
        mean=math.fsum(ordered) / len(ordered),
        median=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        max=ordered[-1],
        histogram=_histogram(ordered),
    )


def _histogram(ordered: Sequence[float]) -> list[Bin]:
    """Count sorted durations in bins of equal width on a log scale.

    The edges are powers of ten and fixed steps between them, so that they stay where they are
    while events come in. What is shorter than a microsecond is in the first bin.
    """
    low = math.log10(max(ordered[0], _SHORTEST))
    high = math.log10(max(ordered[-1], _SHORTEST))
    per_decade, first, last = 1, math.floor(low), math.floor(high)
    for per_decade in _BINS_PER_DECADE:
        # The tiny shift keeps 0.1 in the bin that begins at 0.1, whatever its logarithm rounds to
        first = math.floor(low * per_decade + 1e-9)
        last = math.floor(high * per_decade + 1e-9)
        if last - first < _DURATION_BINS:
            break
    edges = [10 ** (power / per_decade) for power in range(first, last + 2)]
    places = [bisect_left(ordered, edge * (1 - 1e-12)) for edge in edges]
    places[0], places[-1] = 0, len(ordered)
    return [Bin(edges[i], edges[i + 1], places[i + 1] - places[i]) for i in range(len(edges) - 1)]


def _rate(frame: Frame, first: float, last: float) -> Rate:
    span = last - first
    width = next((w for w in _WIDTHS if span / w < _TIME_BINS), 0.0)
    if not width:
        width = 86400.0 * math.ceil(span / 86400.0 / (_TIME_BINS - 1))
    count = int(span / width) + 1
    ok: list[int] = []
    failed: list[int] = []
    for wanted, counts in ((1, ok), (0, failed)):
        ordered = sorted(e for e, good in zip(frame.ends, frame.ok, strict=True) if good == wanted)
        place = 0
        for index in range(1, count):
            after = bisect_left(ordered, first + index * width, place)
            counts.append(after - place)
            place = after
        counts.append(len(ordered) - place)
    return Rate(first, width, ok, failed)


def _per_minion(frame: Frame, rate: Rate) -> list[Minion]:
    """Sum up each minion; those that started first come first, with their activity."""
    minions = [Minion(uid, node) for uid, node in zip(frame.uids, frame.nodes, strict=True)]
    for number, start, end in zip(frame.minions, frame.starts, frame.ends, strict=True):
        minion = minions[number]
        minion.events += 1
        minion.busy += end - start
        minion.first_start = min(minion.first_start, start)
        minion.last_end = max(minion.last_end, end)
    for row in frame.failures:
        minions[frame.minions[row]].failed += 1
    for minion in minions:
        alive = minion.last_end - minion.first_start
        minion.busy_fraction = min(1.0, minion.busy / alive) if alive > 0 else 1.0
    order = sorted(range(len(minions)), key=lambda i: (minions[i].first_start, minions[i].uid))
    for number, seconds in _activity(frame, rate, set(order[:_TIMELINES])).items():
        minions[number].activity = [round(min(1.0, s / rate.width), 3) for s in seconds]
    return [minions[number] for number in order]


def _activity(frame: Frame, rate: Rate, chosen: set[int]) -> dict[int, list[float]]:
    """Seconds that each chosen minion spent in attempts, per bin of the rate."""
    first, width, count = rate.start, rate.width, len(rate.ok)
    seconds = {number: [0.0] * count for number in chosen}
    rows = zip(frame.minions, frame.starts, frame.ends, strict=True)
    for number, start, end in rows:
        if number not in chosen:
            continue
        bins = seconds[number]
        one = min(int((start - first) / width), count - 1)
        other = min(int((end - first) / width), count - 1)
        if one == other:
            bins[one] += end - start
            continue
        bins[one] += first + (one + 1) * width - start
        for between in range(one + 1, other):
            bins[between] += width
        bins[other] += end - (first + other * width)
    return seconds


def _per_machine(minions: list[Minion], since: float) -> list[Machine]:
    machines: dict[str, Machine] = {}
    alive: dict[str, float] = {}
    for minion in minions:
        machine = machines.setdefault(minion.machine, Machine(minion.machine))
        machine.minions += 1
        machine.active_minions += minion.last_end >= since
        machine.events += minion.events
        machine.failed += minion.failed
        machine.busy += minion.busy
        span = minion.last_end - minion.first_start
        alive[minion.machine] = alive.get(minion.machine, 0.0) + span
    for name, machine in machines.items():
        machine.busy_fraction = min(1.0, machine.busy / alive[name]) if alive[name] > 0 else 1.0
    return sorted(machines.values(), key=lambda machine: (-machine.events, machine.name))


def _slowest(frame: Frame, durations: Sequence[float]) -> list[Slow]:
    # All but the longest few are left out by one comparison, which a heap could not do faster
    bound = sorted(durations)[-_SHOWN:][0]
    rows = [row for row, duration in enumerate(durations) if duration >= bound]
    rows.sort(key=lambda row: -durations[row])
    return [
        Slow(
            _shown(frame.params[row]),
            durations[row],
            frame.uids[frame.minions[row]],
            bool(frame.ok[row]),
        )
        for row in rows[:_SHOWN]
    ]


def _last_failures(frame: Frame) -> list[FailedAttempt]:
    rows = sorted(frame.failures, key=lambda row: -frame.ends[row])[:_SHOWN]
    return [
        FailedAttempt(
            _shown(frame.params[row]),
            frame.failures[row].cause,
            frame.failures[row].message,
            frame.ends[row],
            frame.attempts[row],
            frame.uids[frame.minions[row]],
        )
        for row in rows
    ]


def _shown(param: bytes) -> msgspec.Raw:
    """A param as JSON for sure: a file may hold what Python's `json` takes for it, NaN say."""
    text = param.decode("utf-8", "replace")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return msgspec.Raw(msgspec.json.encode(text))
    return msgspec.Raw(text.encode())
