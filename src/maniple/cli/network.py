"""`maniple network`: check a graph of jobs, run it, look at it, draw it."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

from maniple.errors import StorageError, UsageError
from maniple.network import verbs
from maniple.network.describe import load

LOGS: Final = ".maniple-network"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def network() -> None:
    """Run a graph of jobs joined by pipes.

    \b
    NETWORK is a .yaml file, or a .py file or a module with a `network` in it.
    maniple network new demo              make an example
    maniple network simulate demo/network.yaml
    """  # noqa: D301 - \b is click's mark


target = click.argument("target", metavar="NETWORK")


@network.command()
@target
def check(target: str) -> None:
    """See whether the network could run; say what is wrong with it."""
    click.echo(verbs.summary(load(target)))


logs_option = click.option(
    "--logs", metavar="DIR", default=LOGS, show_default=True, help="A log file per job goes there."
)


@network.command()
@target
@verbs.run_options
@logs_option
def simulate(target: str, restart: bool, raw: bool, only: tuple[str, ...], logs: str) -> int:  # noqa: FBT001
    """Run all jobs on this machine; show their output."""
    return verbs.run(load(target), logs=logs, restart=restart, raw=raw, only=only)


@network.command()
@target
@verbs.run_options
@logs_option
@verbs.live_option
def run(
    target: str,
    restart: bool,  # noqa: FBT001
    raw: bool,  # noqa: FBT001
    only: tuple[str, ...],
    logs: str,
    live: bool | None,  # noqa: FBT001
) -> int:
    """Run the network; in a terminal with a live view instead of the jobs' output."""
    return verbs.run(load(target), logs=logs, restart=restart, raw=raw, only=only, live=live)


@network.command()
@target
@verbs.graph_options
@click.option(
    "--logs", metavar="DIR", default=LOGS, help="Of a running network: show the pipes' rates."
)
def graph(target: str, path: str | None, as_mermaid: bool, window: bool, logs: str) -> None:  # noqa: FBT001
    """Draw the network: to a file, as text, or in a window."""
    verbs.graph(load(target), logs, path, as_mermaid=as_mermaid, window=window)


@network.command()
@target
def interactive(target: str) -> None:
    """Open a Python console with `network`, `jobs` and `pipes`; the network may be incomplete."""
    import code

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
