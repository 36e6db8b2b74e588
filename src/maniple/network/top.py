"""What a running network does, job by job: as a table in the terminal, and as rates of pipes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from maniple.network.graph import Edge
from maniple.network.job import Job

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_WINDOW_SECONDS: Final = 1.0
_STYLES: Final = {
    "starting": "dim",
    "setup": "cyan",
    "running": "green",
    "blocked": "yellow",
    "ended": "dim",
}


class Line(NamedTuple):
    """One job.

    Attributes:
        name: of the job.
        state: what it does now.
        rate_in: blocks a second, of all inputs.
        rate_out: blocks a second, of all outputs.
        queued: blocks that wait at its inputs.
        load: share of the time that was spent in `run`, 0 to 1.
        cpu: share of a processor, 0 to 1 (and more, with threads).
        memory: resident, in bytes.
        dropped: blocks, because too many waited.
        dummies: stand-ins for lost blocks.
        restarts: how often its process was started again.
    """

    name: str
    state: str
    rate_in: float
    rate_out: float
    queued: int
    load: float
    cpu: float
    memory: int
    dropped: int
    dummies: int
    restarts: int


class _Sample(NamedTuple):
    at: float
    received: int
    sent: tuple[int, ...]
    busy: float
    cpu: float


class Meter:
    """Makes rates of what the jobs tell about themselves.

    Args:
        jobs: of the network.
        edges: its pipes.
    """

    def __init__(self, jobs: Sequence[Job], edges: Sequence[Edge]) -> None:
        self._jobs = jobs
        self._edges = edges
        self._past: list[list[_Sample]] = [[] for _ in jobs]

    def look(
        self, stats: Sequence[Any], pids: Sequence[int], restarts: Sequence[int], now: float
    ) -> list[Line]:
        """Make a line for each job.

        Args:
            stats: what each has said last (`words.Stats`), or None.
            pids: of their processes, 0 where there is none.
            restarts: of each.
            now: a time that does not go back.
        """
        return [
            self._line(place, stats[place], pids[place], restarts[place], now)
            for place in range(len(self._jobs))
        ]

    def _line(self, place: int, stats: Any, pid: int, restarts: int, now: float) -> Line:
        cpu, memory = _usage(pid)
        name = self._jobs[place].name
        past = self._past[place]
        if stats is None:
            return Line(name, "setup" if pid else "starting", 0, 0, 0, 0, 0, memory, 0, 0, restarts)
        past.append(_Sample(now, sum(stats.received), tuple(stats.sent), stats.busy, cpu))
        while len(past) > 2 and now - past[1].at >= _WINDOW_SECONDS:  # noqa: PLR2004 - a rate needs two
            past.pop(0)
        old, new = past[0], past[-1]
        span = max(new.at - old.at, 1e-9) if new.at > old.at else float("inf")
        return Line(
            name=name,
            state=stats.state if pid or stats.state == "ended" else "ended",
            rate_in=max(0, new.received - old.received) / span,
            rate_out=max(0, sum(new.sent) - sum(old.sent)) / span,
            queued=stats.queued,
            load=min(1.0, max(0.0, new.busy - old.busy) / span),
            cpu=max(0.0, new.cpu - old.cpu) / span,
            memory=memory,
            dropped=stats.dropped,
            dummies=stats.dummies,
            restarts=restarts,
        )

    def rates(self) -> dict[str, float]:
        """Blocks a second through each pipe, by its name."""
        found = {}
        for edge in self._edges:
            past = self._past[edge.writer]
            if len(past) > 1 and len(past[0].sent) == len(past[-1].sent) > edge.output:
                span = past[-1].at - past[0].at
                moved = past[-1].sent[edge.output] - past[0].sent[edge.output]
                found[edge.pipe.name] = max(0.0, moved / span) if span > 0 else 0.0
        return found


def table(
    name: str, lines: Sequence[Line], seconds: float, places: Mapping[str, str] | None = None
) -> Any:
    """Draw the lines, for rich.

    Args:
        name: of the network.
        lines: of the jobs.
        seconds: since the start.
        places: the node of each job, by its name.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=f"{name}  {seconds:.0f} s", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    columns = ["job", "state", "in/s", "out/s", "queue", "run", "CPU", "memory", "lost"]
    if places is not None:
        columns.insert(1, "node")
    for column in columns:
        words = column in {"job", "state", "node", "lost"}
        drawn.add_column(column, justify="left" if words else "right", no_wrap=column != "lost")
    for line in lines:
        lost = " ".join(
            f"{number} {what}"
            for number, what in (
                (line.dropped, "dropped"),
                (line.dummies, "dummies"),
                (line.restarts, "restarts"),
            )
            if number
        )
        drawn.add_row(
            Text(line.name),
            *([] if places is None else [Text(places.get(line.name, ""))]),
            Text(line.state, _STYLES.get(line.state, "")),
            _short(line.rate_in),
            _short(line.rate_out),
            str(line.queued),
            f"{line.load:.0%}",
            f"{line.cpu:.0%}",
            f"{line.memory / 1e6:.0f} MB" if line.memory else "",
            lost,
        )
    return drawn


def _short(rate: float) -> str:
    if rate < 1000:  # noqa: PLR2004 - as SI has it
        return f"{rate:.0f}"
    return f"{rate / 1000:.1f} k"


def _usage(pid: int) -> tuple[float, int]:
    """Processor seconds and resident bytes of a process."""
    if not pid:
        return 0.0, 0
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE
    return 0.0, 0
