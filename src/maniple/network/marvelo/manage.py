"""`manage.py NETWORK COMMAND`, with the verbs of `maniple network` behind the same words."""

from __future__ import annotations

import code
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import click

from maniple.errors import Exit, ManipleError, StorageError, UsageError
from maniple.network import picture, verbs
from maniple.network.marvelo.build import furnish, pack
from maniple.network.marvelo.config import Project
from maniple.network.marvelo.emulate import emulate
from maniple.network.marvelo.nodes import facts_here
from maniple.network.marvelo.place import CLIENT, place
from maniple.network.marvelo.scaffold import start_network, start_project

SIMULATION: Final = "simulation"
INFO: Final = "info.txt"


def main(words: Sequence[str], root: str | None = None) -> int:
    """Run one command; return the exit code. Errors of the user are one line.

    Args:
        words: NETWORK COMMAND and options.
        root: of the project; the folder of manage.py by default.
    """
    return _call("manage.py", lambda: _main(list(words), root or _root()))


def admin(words: Sequence[str]) -> int:
    """`fission_admin.py PROJECT startproject`."""

    def run() -> int:
        if len(words) != 2 or words[1] != "startproject":  # noqa: PLR2004 - a name and a word
            raise UsageError("write: fission_admin.py PROJECT startproject")
        print(start_project(words[0]))
        return Exit.OK

    return _call("fission_admin.py", run)


def _root() -> str:
    script = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.dirname(os.path.abspath(script)) if script else os.getcwd()


def _call(program: str, run: Callable[[], int]) -> int:
    try:
        return run()
    except (KeyboardInterrupt, click.exceptions.Abort):
        return Exit.INTERRUPTED
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        see = f" (see {context.command_path} --help)" if context else ""
        print(f"{program}: {error.format_message().rstrip('.')}{see}", file=sys.stderr)
        return Exit.USAGE
    except ManipleError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code


def _main(words: list[str], root: str) -> int:
    if len(words) < 2 or words[0] in {"-h", "--help"}:  # noqa: PLR2004 - a network and a command
        context = click.Context(commands, info_name="manage.py NETWORK")
        print(commands.get_help(context))
        return Exit.OK if words and words[0] in {"-h", "--help"} else Exit.USAGE
    name, command, rest = words[0], words[1], words[2:]
    if command not in commands.commands and not command.startswith("-"):
        known = ", ".join(sorted(commands.commands))
        raise UsageError(f"no command {command!r}: there are {known}")
    # not its main(), which would say something of its own on Ctrl-C
    with commands.make_context(
        f"manage.py {name}", [command, *rest], obj=_Target(root, name)
    ) as context:
        result: Any = commands.invoke(context)
    return result if isinstance(result, int) else Exit.OK


class _Target(NamedTuple):
    """What is typed before the command."""

    root: str
    name: str

    def __call__(self) -> Project:
        return Project(self.root, self.name)


class _Commands(click.Group):
    """In the order in which they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Make, check, run and draw the networks of this project.

    Each network is a folder here with a config.py in it.
    """


@commands.command()
@click.pass_obj
def startnetwork(found: _Target) -> None:
    """Make the network's folder."""
    print(start_network(found.root, found.name))


@commands.command()
@click.pass_obj
def new(found: _Target) -> None:
    """Do as startnetwork."""
    print(start_network(found.root, found.name))


@commands.command()
@click.pass_obj
def check(found: _Target) -> None:
    """See whether the network could run; say what is wrong with it."""
    network = found().network()
    said = verbs.summary(network)
    pack(network)
    click.echo(said)


@commands.command()
@verbs.run_options
@click.pass_obj
def simulate(
    found: _Target,
    restart: bool,  # noqa: FBT001
    raw: bool,  # noqa: FBT001
    only: tuple[str, ...],
) -> int:
    """Run every job in a process of its own on this machine."""
    return _run(found(), restart=restart, raw=raw, only=only)


@commands.command()
@verbs.run_options
@verbs.live_option
@click.pass_obj
def run(
    found: _Target,
    restart: bool,  # noqa: FBT001
    raw: bool,  # noqa: FBT001
    only: tuple[str, ...],
    live: bool | None,  # noqa: FBT001
) -> int:
    """Place the jobs on the nodes and run them; with a live view in a terminal."""
    project = found()
    facts = {node.ip: facts_here(node.ip) for node in project.nodes if node.is_local}
    placed = place(project.jobs, project.nodes, facts)
    names = {job.name: node.name if (node := placed[job.id]) else CLIENT for job in project.jobs}

    def show() -> None:
        for node in project.nodes:
            about = "" if node.ip in facts else " (elsewhere: not used in this version)"
            print(f"node {node.name} ({node.ip}): {', '.join(node.groups)}{about}", flush=True)
        for job in project.jobs:
            print(f"job {job.id} {job.name}: {names[job.name]}", flush=True)

    return _run(
        project,
        show,
        restart=restart,
        raw=raw,
        only=only,
        live=live,
        output=bool(project.values["DEBUG_WINDOW"]),
        places=names,
    )


def _run(project: Project, show: Callable[[], None] = lambda: None, **options: Any) -> int:
    network = project.network()
    network.check()
    pack(network)
    folder = os.path.join(project.folder, SIMULATION)
    if project.log.file is not None:
        # said now, and not by each job
        _append(project.log.file)
    try:
        os.makedirs(folder, exist_ok=True)
        for job in project.jobs:
            furnish(job, os.path.join(folder, str(job.id)))
        with open(os.path.join(folder, INFO), "w", encoding="utf-8") as file:
            file.writelines(f"{job.id}: {type(job).__name__}\n" for job in project.jobs)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}") from None
    show()
    ids = [job.id for job in project.jobs]
    return verbs.run(
        network, logs=folder, folders=lambda at: os.path.join(folder, str(ids[at])), **options
    )


def _append(path: str) -> None:
    try:
        with open(path, "ab"):
            return
    except OSError as error:
        raise StorageError(f"LOG_FILE: cannot write {path}: {error.strerror}") from None


@commands.command()
@verbs.graph_options
@click.pass_obj
def graph(found: _Target, path: str | None, as_mermaid: bool, window: bool) -> None:  # noqa: FBT001
    """Draw the network: to a file, as text, or in a window; with rates while it runs."""
    project = found()
    logs = os.path.join(project.folder, SIMULATION)
    verbs.graph(project.network(), logs, path, as_mermaid=as_mermaid, window=window)


@commands.command()
@click.pass_obj
def graphviz(found: _Target) -> None:
    """Draw the network into network.pdf; open it where there is a screen."""
    project = found()
    path = os.path.join(project.folder, "network.pdf")
    picture.draw(project.network(), path)
    print(f"wrote {path}")
    viewer = shutil.which("xdg-open")
    if viewer is not None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        subprocess.Popen([viewer, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@commands.command()
@click.pass_obj
def show(found: _Target) -> None:
    """Draw the network in a window."""
    picture.show(found().network())


@commands.command()
@click.pass_obj
def interactive(found: _Target) -> None:
    """Open a Python console with the network; it may be incomplete."""
    project = found()
    names: dict[str, Any] = {
        "network": project.network(),
        "JOBS": project.jobs,
        "PIPES": project.pipes,
        "NODES": project.nodes,
        "GROUPS": project.groups,
        "emulate": emulate,
    }
    code.interact(f"{project.name}: {', '.join(names)}", local=names, exitmsg="")


@commands.command()
@click.pass_obj
def collect(found: _Target) -> None:
    """Bring the log files of the jobs together."""
    project = found()
    source = os.path.join(project.folder, SIMULATION)
    logs = [n for n in os.listdir(source) if n.endswith(".log")] if os.path.isdir(source) else []
    if not logs:
        raise UsageError(f"no log files of {project.name}: run it first")
    target = os.path.join(project.folder, "collection")
    try:
        os.makedirs(target, exist_ok=True)
        for name in logs:
            shutil.copy2(os.path.join(source, name), target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from None
    print(f"{len(logs)} log files in {target}")


@commands.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def test(found: _Target, options: tuple[str, ...]) -> int:
    """Run pytest over the network's tests; OPTIONS go to pytest."""
    import importlib.util

    project = found()
    folder = os.path.join(project.folder, "tests")
    if not os.path.isdir(folder):
        raise UsageError(f"no tests: {folder} is missing")
    if importlib.util.find_spec("pytest") is None:
        raise UsageError("tests need pytest: pip install pytest")
    environment = {**os.environ, "FISSION_NETWORK": project.folder}
    words = [sys.executable, "-m", "pytest", "-p", "fission.testing", folder, *options]
    return subprocess.call(words, env=environment)


__all__ = ["admin", "main"]
