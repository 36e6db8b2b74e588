"""What a loop-back cluster shows: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections import Counter, deque
from typing import IO, TYPE_CHECKING, Final

from maniple.hub.rules.view import Counts, View

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

LINE_SECONDS: Final = 10.0
RATE_SECONDS: Final = 5.0
MOST_WORKERS: Final = 16


class Board:
    """Shows views of a hub.

    Args:
        stream: a terminal, or not.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._live: Live | None = None
        self._ended: deque[tuple[float, int]] = deque()
        self._last = ""
        self._next = 0.0
        self._counts = Counts()
        if stream.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=stream)
            if not console.is_dumb_terminal:
                # no thread of its own draws it: this process forks
                self._live = Live(console=console, auto_refresh=False, transient=True)
                self._live.start()

    def show(self, view: View, now: float) -> None:
        """Show a view; `now` is in seconds that only grow."""
        rate = self._rate(view, now)
        self._counts = view.counts
        if self._live is not None:
            from rich.console import Group
            from rich.text import Text

            numbers = Text(f" {told(view)}, {rate:.1f} tasks/s\n Ctrl-C ends it", style="dim")
            self._live.update(Group(_table(view), numbers), refresh=True)
            return
        line = told(view)
        early = not self._last and not view.workers
        if line == self._last or now < self._next or early:
            return
        self._last, self._next = line, now + LINE_SECONDS
        print(f"maniple: {line}, {rate:.1f} tasks/s", file=self._stream, flush=True)

    def _rate(self, view: View, now: float) -> float:
        self._ended.append((now, view.counts.done + view.counts.failed))
        while now - self._ended[0][0] > RATE_SECONDS:
            self._ended.popleft()
        since, before = self._ended[0]
        return (self._ended[-1][1] - before) / (now - since) if now > since else 0.0

    def close(self) -> None:
        """Leave the terminal as it was, and say what has been done."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        counts = self._counts
        if counts.done or counts.failed:
            failed = f", {counts.failed} failed" if counts.failed else ""
            print(f"maniple: {counts.done} done{failed}", file=self._stream, flush=True)


def _table(view: View) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("worker")
    table.add_column("runs", overflow="ellipsis", no_wrap=True, min_width=30)
    workers = sorted(view.workers, key=lambda worker: worker.name)
    for worker in workers[:MOST_WORKERS]:
        if not worker.connected:
            doing = "connection lost"
        elif worker.tasks:
            more = len(worker.tasks) - 1
            doing = worker.tasks[0] + (f" and has {more} more" if more else "")
        else:
            doing = "-"
        table.add_row(escape(worker.name), escape(doing))
    if len(workers) > MOST_WORKERS:
        table.add_row("...", f"{len(workers) - MOST_WORKERS} more")
    if view.counts.wanting:
        table.add_row("", f"{view.counts.wanting} tasks wait for code from their driver")
    return table


def told(view: View) -> str:
    """Say the numbers in a line."""
    counts = view.counts
    runs = Counter(worker.connected for worker in view.workers)
    parts = [
        _of(runs[True], "worker"),
        _of(counts.drivers, "driver"),
        f"{counts.waiting + counts.wanting} waiting",
        f"{counts.leased} running",
        f"{counts.done} done",
    ]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    if counts.cancelled:
        parts.append(f"{counts.cancelled} cancelled")
    return ", ".join(parts)


def _of(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
