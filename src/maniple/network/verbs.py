"""What the commands on networks do: for `maniple network`, and for the drop-in's manage.py."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from maniple.errors import Exit, StorageError, UsageError

if TYPE_CHECKING:
    from maniple.network.graph import Network

STATUS: Final = "status.json"
_LOOK_SECONDS: Final = 0.5
_STATUS_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 5.0


def run_options(command: Any) -> Any:
    """Add the options that `simulate` and `run` share."""
    for option in (
        click.option("--restart", is_flag=True, help="Start jobs again whose process dies."),
        click.option("--raw", is_flag=True, help="Jobs' output as it comes, without names."),
        click.option("--only", "only", multiple=True, metavar="JOB", help="Show only its output."),
    ):
        command = option(command)
    return command


def live_option(command: Any) -> Any:
    """Add --live."""
    return click.option(
        "--live/--no-live", default=None, help="Show what each job does. Default: in a terminal."
    )(command)


def graph_options(command: Any) -> Any:
    """Add the options of `graph`."""
    for option in (
        click.option(
            "-o", "--to", "path", metavar="FILE", help="A .svg, .pdf, .png, .dot or .mmd file."
        ),
        click.option(
            "--mermaid", "as_mermaid", is_flag=True, help="Print Mermaid text, for Markdown."
        ),
        click.option("--window", is_flag=True, help="Open a window."),
    ):
        command = option(command)
    return command


def summary(network: Network) -> str:
    """Check a network; say in one line what it is made of.

    Raises:
        UsageError: it could not run.
    """
    network.check()
    jobs, pipes = len(network.jobs), len(network.edges)
    return (
        f"{network.name}: {jobs} job{'s' if jobs > 1 else ''},"
        f" {pipes} pipe{'s' if pipes != 1 else ''}, nothing wrong"
    )


def run(
    network: Network,
    *,
    logs: str,
    restart: bool = False,
    raw: bool = False,
    only: Sequence[str] = (),
    live: bool | None = False,
    output: bool = False,
    folders: Callable[[int], str | None] = lambda _: None,
    places: Mapping[str, str] | None = None,
) -> int:
    """Run a network on this machine.

    Args:
        network: is checked first.
        logs: a folder for a log file per job.
        restart: start jobs again whose process dies.
        raw: the jobs' output without their names.
        only: jobs whose output is shown; none: all.
        live: show a table of the jobs instead of their output; None: in a terminal, unless
            somebody types for a job.
        output: show the output above the table.
        folders: gives a job's working directory by its place, or None.
        places: the node of each job, by its name, for the table.

    Raises:
        UsageError: the network cannot run, or `only` names no job of it.
        StorageError: the log files cannot be written.
        JobError: a job failed.
    """
    from maniple.network.live.console import Console, standard_output
    from maniple.network.live.run import JobError, LocalRun

    network.check()
    names = [job.name for job in network.jobs]
    for name in only:
        if name not in names:
            raise UsageError(f"no job {name!r} in {network.name}: there are {', '.join(names)}")
    if live is None:
        typed = any(job.interactive for job in network.jobs)
        live = sys.stdout is not None and sys.stdout.isatty() and not typed
    view = View(network, os.path.join(logs, STATUS), live=live, places=places)
    stream: Any = standard_output()
    if live:
        stream = view if only or output else None
    try:
        console = Console(names, stream, raw=raw, folder=logs, only=set(only) or None)
    except OSError as error:
        raise StorageError(f"cannot write the logs to {logs}: {error.strerror}") from None
    work = None
    try:
        try:
            work = LocalRun(network, console, restart=restart, folders=folders, watch=view.look)
            view.open()
            work.run()
        finally:
            console.close()
            view.close(work)
    except JobError as error:
        if error.trace:
            click.echo(error.trace.rstrip(), err=True)
        raise
    return Exit.OK


class View:
    """Looks at a run now and then: for the terminal, and for `graph` in another one.

    Args:
        network: that runs.
        status: file that other commands read.
        live: draw a table in the terminal.
        places: the node of each job, by its name.
    """

    def __init__(
        self,
        network: Network,
        status: str,
        *,
        live: bool,
        places: Mapping[str, str] | None = None,
    ) -> None:
        from maniple.network.top import Meter

        self._name = network.name
        self._status = status
        self._places = places
        self._meter = Meter(network.jobs, network.edges)
        self._began = time.monotonic()
        self._next = self._next_status = 0.0
        self._rest = b""
        self._wanted = live
        self._live: Any = None

    def open(self) -> None:
        """Begin to draw."""
        if self._wanted:
            from rich.console import Console as Terminal
            from rich.live import Live

            self._live = Live(console=Terminal(), auto_refresh=False, transient=False)
            self._live.start()

    def look(self, run: Any) -> None:
        """See what the jobs do, if the last look was a while ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        self._draw(run, now)
        if now >= self._next_status:
            self._next_status = now + _STATUS_SECONDS
            self._note({"pid": os.getpid(), "at": time.time(), "rates": self._meter.rates()})

    def _draw(self, run: Any, now: float) -> None:
        lines = self._meter.look(run.stats, run.pids, run.restarts, now)
        if self._live is not None:
            from maniple.network.top import table

            drawn = table(self._name, lines, now - self._began, self._places)
            self._live.update(drawn, refresh=True)

    def _note(self, status: dict[str, Any]) -> None:
        beside = f"{self._status}.part"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(status, file)
            os.replace(beside, self._status)
        except OSError:
            # a picture is no reason to stop
            self._next_status = float("inf")

    def write(self, data: bytes) -> None:
        """Show jobs' output above the table, in whole lines."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline and self._live is not None:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(whole.decode("utf-8", "replace")))

    def flush(self) -> None:
        """Lines are shown when they are whole."""

    def close(self, run: Any = None) -> None:
        """Show how it ended, and forget about it."""
        if self._rest:
            self.write(b"\n")
        if self._live is not None:
            if run is not None:
                self._draw(run, time.monotonic())
            self._live.stop()
            self._live = None
        if os.path.exists(self._status):
            os.unlink(self._status)


def rates(path: str) -> dict[str, float] | None:
    """Read the rates of a running network's pipes; None if none runs."""
    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
        fresh = time.time() - status["at"] < _STALE_SECONDS
        return status["rates"] if fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def graph(network: Network, logs: str, path: str | None, *, as_mermaid: bool, window: bool) -> None:
    """Draw a network, with the rates of its pipes where it runs.

    Raises:
        ManipleError: it cannot be drawn; see `picture`.
    """
    from maniple.network import picture

    found = rates(os.path.join(logs, STATUS))
    if as_mermaid:
        click.echo(picture.mermaid(network, found), nl=False)
    if window:
        picture.show(network, found)
    if path is not None:
        picture.draw(network, path, found)
        click.echo(f"wrote {path}")
    if not (as_mermaid or window or path):
        click.echo(picture.dot(network, found), nl=False)
