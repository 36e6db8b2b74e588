"""`maniple network`: check a graph of jobs, run it, look at it, draw it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from maniple.errors import Exit, StorageError, UsageError

if TYPE_CHECKING:
    from maniple.network.graph import Network

LOGS: Final = ".maniple-network"
STATUS: Final = "status.json"
_LOOK_SECONDS: Final = 0.5
_STATUS_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 5.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def network() -> None:
    """Run a graph of jobs joined by pipes.

    \b
    NETWORK is a .yaml file, or a .py file or a module with a `network` in it.
    maniple network new demo              make an example
    maniple network simulate demo/network.yaml
    """  # noqa: D301 - \b is click's mark


target = click.argument("target", metavar="NETWORK")


def _checked(name: str) -> Network:
    from maniple.network.describe import load

    found = load(name)
    found.check()
    return found


@network.command()
@target
def check(target: str) -> None:
    """See whether the network could run; say what is wrong with it."""
    found = _checked(target)
    jobs, pipes = len(found.jobs), len(found.edges)
    click.echo(
        f"{found.name}: {jobs} job{'s' if jobs > 1 else ''},"
        f" {pipes} pipe{'s' if pipes != 1 else ''}, nothing wrong"
    )


def _run_options(command: Any) -> Any:
    for option in (
        click.option("--restart", is_flag=True, help="Start jobs again whose process dies."),
        click.option("--raw", is_flag=True, help="Jobs' output as it comes, without names."),
        click.option("--only", "only", multiple=True, metavar="JOB", help="Show only its output."),
        click.option(
            "--logs",
            metavar="DIR",
            default=LOGS,
            show_default=True,
            help="A log file per job goes there.",
        ),
    ):
        command = option(command)
    return command


@network.command()
@target
@_run_options
def simulate(target: str, restart: bool, raw: bool, only: tuple[str, ...], logs: str) -> int:  # noqa: FBT001
    """Run all jobs on this machine; show their output."""
    return _run(target, restart=restart, raw=raw, only=only, logs=logs, live=False)


@network.command()
@target
@_run_options
@click.option(
    "--live/--no-live", default=None, help="Show what each job does. Default: in a terminal."
)
def run(
    target: str,
    restart: bool,  # noqa: FBT001
    raw: bool,  # noqa: FBT001
    only: tuple[str, ...],
    logs: str,
    live: bool | None,  # noqa: FBT001
) -> int:
    """Run the network, with a live view in a terminal; the jobs' output goes to the log files."""
    shown = sys.stdout is not None and sys.stdout.isatty() if live is None else live
    return _run(target, restart=restart, raw=raw, only=only, logs=logs, live=shown)


def _run(
    target: str, *, restart: bool, raw: bool, only: tuple[str, ...], logs: str, live: bool
) -> int:
    from maniple.network.live.console import Console, standard_output
    from maniple.network.live.run import JobError, LocalRun

    found = _checked(target)
    names = [job.name for job in found.jobs]
    for name in only:
        if name not in names:
            raise UsageError(f"no job {name!r} in {found.name}: there are {', '.join(names)}")
    stream = None if live and not only else standard_output()
    try:
        console = Console(names, stream, raw=raw, folder=logs, only=set(only) or None)
    except OSError as error:
        raise StorageError(f"cannot write the logs to {logs}: {error.strerror}") from None
    view = _View(found, os.path.join(logs, STATUS), live=live)
    try:
        LocalRun(found, console, restart=restart, watch=view.look).run()
    except JobError as error:
        view.close()
        if error.trace:
            click.echo(error.trace.rstrip(), err=True)
        raise
    finally:
        view.close()
        console.close()
    return Exit.OK


class _View:
    """Looks at a run now and then: for the terminal, and for `graph` in another one."""

    def __init__(self, found: Network, status: str, *, live: bool) -> None:
        from maniple.network.top import Meter

        self._name = found.name
        self._status = status
        self._meter = Meter(found.jobs, found.edges)
        self._began = time.monotonic()
        self._next = self._next_status = 0.0
        self._live: Any = None
        if live:
            from rich.console import Console as Terminal
            from rich.live import Live

            self._live = Live(console=Terminal(), auto_refresh=False, transient=False)
            self._live.start()

    def look(self, run: Any) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        lines = self._meter.look(run.stats, run.pids, run.restarts, now)
        if self._live is not None:
            from maniple.network.top import table

            self._live.update(table(self._name, lines, now - self._began), refresh=True)
        if now >= self._next_status:
            self._next_status = now + _STATUS_SECONDS
            self._write({"pid": os.getpid(), "at": time.time(), "rates": self._meter.rates()})

    def _write(self, status: dict[str, Any]) -> None:
        import json

        beside = f"{self._status}.part"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(status, file)
            os.replace(beside, self._status)
        except OSError:
            # a picture is no reason to stop
            self._next_status = float("inf")

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if os.path.exists(self._status):
            os.unlink(self._status)


@network.command()
@target
@click.option("-o", "--to", "path", metavar="FILE", help="A .svg, .pdf, .png, .dot or .mmd file.")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print Mermaid text, for Markdown.")
@click.option("--window", is_flag=True, help="Open a window.")
@click.option(
    "--logs", metavar="DIR", default=LOGS, help="Of a running network: show the pipes' rates."
)
def graph(target: str, path: str | None, as_mermaid: bool, window: bool, logs: str) -> None:  # noqa: FBT001
    """Draw the network: to a file, as text, or in a window."""
    from maniple.network import picture
    from maniple.network.describe import load

    found = load(target)
    rates = _rates(os.path.join(logs, STATUS))
    if as_mermaid:
        click.echo(picture.mermaid(found, rates), nl=False)
    if window:
        picture.show(found)
    if path is not None:
        picture.draw(found, path, rates)
        click.echo(f"wrote {path}")
    if not (as_mermaid or window or path):
        click.echo(picture.dot(found, rates), nl=False)


def _rates(path: str) -> dict[str, float] | None:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
        fresh = time.time() - status["at"] < _STALE_SECONDS
        return status["rates"] if fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@network.command()
@target
def interactive(target: str) -> None:
    """Open a Python console with `network`, `jobs` and `pipes`; the network may be incomplete."""
    import code

    from maniple.network.describe import load

    found = load(target)
    names = {
        "network": found,
        "jobs": {job.name: job for job in found.jobs},
        "pipes": {pipe.name: pipe for job in found.jobs for pipe in (*job.outputs, *job.inputs)},
    }
    banner = f"network {found.name}: network, jobs, pipes; call(job, *inputs) runs one job here"

    def call(job: Any, *inputs: Any) -> Any:
        """Set a job up and run it once, in this process."""
        work = names["jobs"][job] if isinstance(job, str) else job  # type: ignore[index]
        work.setup()
        return next(work.values()) if work.is_source else work.run(*inputs)

    code.interact(banner, local={**names, "call": call}, exitmsg="")


@network.command()
@click.argument("folder")
def new(folder: str) -> None:
    """Make a FOLDER with a small network to start from, and its test."""
    from maniple.network.example import FILES

    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise UsageError(f"{folder} is there already: name a new folder")
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in FILES.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from None
    click.echo(f"made {folder}: try  maniple network simulate {folder}/network.yaml")


@network.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", default=".")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(folder: str, options: tuple[str, ...]) -> int:
    """Run pytest on a network's FOLDER; more OPTIONS go to pytest."""
    import importlib.util
    import subprocess

    if not os.path.isdir(folder):
        raise UsageError(f"no folder {folder}")
    if importlib.util.find_spec("pytest") is None:
        raise UsageError("tests need pytest: pip install pytest")
    return subprocess.call([sys.executable, "-m", "pytest", folder, *options])
