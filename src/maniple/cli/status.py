"""`maniple status`: what was done, what failed, how fast, and what is left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from maniple.errors import ManipleError, StorageError, UsageError

if TYPE_CHECKING:
    from maniple.queue import Queue, QueueStats
    from maniple.stats.frame import Follower
    from maniple.stats.summary import Summary

    Counted = list[tuple[str, QueueStats]]

DEFAULT_DIRECTORY: Final = "minion-report"
_COUNTS: Final = ("waiting", "delayed", "leased", "done", "failed", "total")


@click.command()
@click.argument("directory", required=False)
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="URL",
    multiple=True,
    help="Queue to count tasks of; may be given several times."
    " Default: $MANIPLE_QUEUE, else the queues that the events name.",
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@click.option("--html", metavar="FILE", help="Write one self-contained page with plots.")
@click.option(
    "--watch",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Show it again every so many seconds, until the queues are empty or Ctrl-C.",
)
def status(
    directory: str | None,
    queues: tuple[str, ...],
    json: bool,  # noqa: FBT001  # click passes options by name
    html: str | None,
    watch: float | None,
) -> None:
    """Show what the minions did, from the events in DIRECTORY, and what is left in the queue.

    DIRECTORY holds the event files (default: $MANIPLE_REPORT, else minion-report); minions may
    still be writing them.
    """
    import sys

    folder = directory or os.environ.get("MANIPLE_REPORT") or DEFAULT_DIRECTORY
    named = queues or tuple(filter(None, [os.environ.get("MANIPLE_QUEUE")]))
    if not named and not os.path.exists(folder):
        raise UsageError(
            f"nothing to show: there are no events at {folder} and no queue is named;"
            " give the folder of events, or a queue with -q"
        )
    if hasattr(sys.stdout, "reconfigure"):
        # Bars and unusual params must not end a status in a terminal that cannot show them
        sys.stdout.reconfigure(errors="replace")
    source = _Source(folder, named)
    try:
        output: _JsonOutput | _DrawnOutput | _NoOutput
        if json:
            output = _JsonOutput()
        elif html is not None and watch is None:
            output = _NoOutput()
        else:
            output = _DrawnOutput(live=watch is not None)
        _repeat(source, watch, html, output)
    finally:
        source.close()


class _Source:
    """The event files and the queues, looked at again and again."""

    def __init__(self, folder: str, named: tuple[str, ...]) -> None:
        from maniple.stats.frame import Follower
        from maniple.urls import open_queue

        self.folder = folder
        self._follower: Follower = Follower(folder)
        self._named = named
        self._queues: dict[str, Queue] = {}
        self._left_out: set[str] = set()
        for url in named:
            if url not in self._queues:
                self._queues[url] = open_queue(url, create=False)

    def look(self, now: float) -> tuple[Summary, Counted]:
        """Read what is new and count."""
        from maniple.stats.summary import summarise
        from maniple.urls import redact

        summary = summarise(self._follower.refresh(), now)
        if not self._named:
            self._open(summary.queue_urls)
        counted: Counted = []
        for url, queue in list(self._queues.items()):
            try:
                counted.append((redact(url), queue.stats()))
            except ManipleError:
                if self._named:
                    raise
                # Gone in the meantime: only the events know it
                self._drop(url)
        return summary, counted

    def _open(self, urls: list[str]) -> None:
        """Open the queues that events name, as far as this machine can."""
        for url in urls:
            if url in self._queues or url in self._left_out:
                continue
            queue = _open_shared(url)
            if queue is None:
                self._left_out.add(url)
            else:
                self._queues[url] = queue

    def _drop(self, url: str) -> None:
        self._left_out.add(url)
        self._queues.pop(url).close()

    def close(self) -> None:
        """Let go of the queues."""
        for queue in self._queues.values():
            queue.close()


def _open_shared(url: str) -> Queue | None:
    """Open a queue that another process made; None where there is none to be seen from here."""
    from maniple import plugins
    from maniple.urls import open_queue, split_url

    try:
        backend = plugins.find("maniple.queues", split_url(url)[0])
        promised = getattr(backend, "guarantees", None)
        if not getattr(promised, "shared", True):
            # A stream or another process's memory: opening it would read or invent one
            return None
        queue = open_queue(url, create=False)
    except ManipleError:
        return None
    if queue.guarantees.shared:
        return queue
    queue.close()
    return None


class _JsonOutput:
    """One JSON object per look."""

    def show(self, summary: Summary, queues: Counted, folder: str, now: float) -> None:  # noqa: ARG002  # as the other
        click.echo(as_json(summary, queues))

    def close(self) -> None:
        """Nothing is held."""


class _DrawnOutput:
    """A drawing per look; on a terminal that is watched, the new one replaces the old one."""

    def __init__(self, *, live: bool) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live: Any = None
        if live and self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()

    def show(self, summary: Summary, queues: Counted, folder: str, now: float) -> None:
        from maniple.stats.draw import draw

        drawing = draw(summary, queues, directory=folder, now=now)
        if self._live is None:
            self._console.print(drawing)
        else:
            self._live.update(drawing, refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


class _NoOutput:
    """Only the page is wanted."""

    def show(self, summary: Summary, queues: Counted, folder: str, now: float) -> None:
        """The page was written."""

    def close(self) -> None:
        """Nothing is held."""


def _repeat(
    source: _Source,
    watch: float | None,
    html: str | None,
    output: _JsonOutput | _DrawnOutput | _NoOutput,
) -> None:
    import time

    told = False
    try:
        while True:
            now = time.time()
            summary, queues = source.look(now)
            if html is not None:
                _write_page(html, summary, queues, source.folder, now)
                if not told:
                    # Standard output may be for a program
                    click.echo(f"wrote {html}", err=isinstance(output, _JsonOutput))
                    told = True
            output.show(summary, queues, source.folder, now)
            if watch is None or (queues and all(stats.drained for _, stats in queues)):
                return
            time.sleep(watch)
    except KeyboardInterrupt:
        if watch is None:
            raise
    finally:
        output.close()


def as_json(summary: Summary, queues: Counted) -> bytes:
    """Write a summary and the queues' counts as one JSON object on one line."""
    import msgspec

    counts = [
        {"url": url, **{name: getattr(stats, name) for name in _COUNTS}} for url, stats in queues
    ]
    fields = {name: getattr(summary, name) for name in summary.__struct_fields__}
    fields["queues"] = counts
    if len(counts) == 1:
        fields["queue"] = counts[0]
    return msgspec.json.encode(fields)


def _write_page(path: str, summary: Summary, queues: Counted, folder: str, now: float) -> None:
    """Write the page whole or not at all: a browser may reload it at any moment."""
    from maniple.stats.page import page

    text = page(summary, queues, now, directory=folder)
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        if os.path.exists(beside):
            os.unlink(beside)
        raise StorageError(f"cannot write the page {path}: {error.strerror or error}") from None
