"""`manage.py NETWORK COMMAND`, and the verbs of `maniple network` behind the same words."""

from __future__ import annotations

import code
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from maniple.errors import Exit, ManipleError, UsageError
from maniple.network import picture
from maniple.network.live.console import Console, standard_output
from maniple.network.live.run import JobError, LocalRun
from maniple.network.marvelo.build import furnish
from maniple.network.marvelo.config import Project
from maniple.network.marvelo.emulate import emulate
from maniple.network.marvelo.jobs import BaseJob
from maniple.network.marvelo.scaffold import start_network, start_project

SIMULATION: Final = "simulation"
INFO: Final = "info.txt"


def main(words: Sequence[str], root: str | None = None) -> int:
    """Run one command; return the exit code. Errors of the user are one line."""
    return _call(lambda: _main(list(words), root or os.getcwd()))


def admin(words: Sequence[str]) -> int:
    """`fission_admin.py PROJECT startproject`."""

    def run() -> int:
        if len(words) != 2 or words[1] != "startproject":  # noqa: PLR2004 - a name and a word
            raise UsageError("write: fission_admin.py PROJECT startproject")
        print(start_project(words[0]))
        return Exit.OK

    return _call(run)


def _call(run: Callable[[], int]) -> int:
    try:
        return run()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except JobError as error:
        if error.trace:
            print(error.trace.rstrip(), file=sys.stderr)
        print(f"manage.py: {error}", file=sys.stderr)
        return error.exit_code
    except ManipleError as error:
        print(f"manage.py: {error}", file=sys.stderr)
        return error.exit_code


def _main(words: list[str], root: str) -> int:
    if len(words) < 2 or words[0] in {"-h", "--help"}:  # noqa: PLR2004 - a network and a command
        names = ", ".join(sorted(COMMANDS))
        print(f"python3 manage.py NETWORK COMMAND; the commands: {names}")
        return Exit.OK if words and words[0] in {"-h", "--help"} else Exit.USAGE
    name, command, rest = words[0], words[1], words[2:]
    if command not in COMMANDS:
        raise UsageError(f"no command {command!r}: there are {', '.join(sorted(COMMANDS))}")
    if command == "startnetwork":
        print(start_network(root, name))
        return Exit.OK
    return COMMANDS[command](Project(root, name), rest)


def simulate(project: Project, rest: list[str]) -> int:
    """Run every job in a process of its own on this machine."""
    return _run(project, rest, lambda: None)


def run(project: Project, rest: list[str]) -> int:
    """Place the jobs on the nodes and run them."""
    nodes = [node for node in project.nodes if node.is_local]
    for job in project.jobs:
        wanted = job.DEFAULT_NODE
        remote = wanted is not None and wanted not in {n.ip for n in nodes} | {"localhost"}
        if not job.LOCAL and (remote or not nodes):
            where = wanted or ", ".join(node.ip for node in project.nodes) or "no node at all"
            raise UsageError(
                f"job {job.name} belongs on {where}: nodes on other machines are not in this"
                " version; use LocalNode() in NODES, or the command simulate"
            )

    def show() -> None:
        for node in nodes:
            print(f"node {node.name} ({node.ip}): {', '.join(node.groups)}", flush=True)
        where = nodes[0].name if nodes else "client"
        for job in project.jobs:
            print(f"job {job.id} {job.name}: {'client' if job.LOCAL else where}", flush=True)

    return _run(project, rest, show)


def _run(project: Project, rest: list[str], show: Callable[[], None]) -> int:
    _none(rest)
    network = project.network()
    network.check()
    folder = os.path.join(project.folder, SIMULATION)
    os.makedirs(folder, exist_ok=True)
    lines = []
    for job in project.jobs:
        furnish(job, os.path.join(folder, str(job.id)), os.path.join(project.folder, "source"))
        lines.append(f"{job.id}: {type(job).__name__}\n")
    with open(os.path.join(folder, INFO), "w", encoding="utf-8") as file:
        file.writelines(lines)
    show()
    ids = [job.id for job in project.jobs]
    console = Console([job.name for job in network.jobs], standard_output(), folder=folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        LocalRun(
            network, console, folders=lambda place: os.path.join(folder, str(ids[place]))
        ).run()
    finally:
        console.close()
    return Exit.OK


def graphviz(project: Project, rest: list[str]) -> int:
    """Draw the graph into network.pdf, and open it where there is a screen."""
    _none(rest)
    path = os.path.join(project.folder, "network.pdf")
    picture.draw(project.network(), path)
    print(f"wrote {path}")
    viewer = shutil.which("xdg-open")
    if viewer is not None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        subprocess.Popen([viewer, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Exit.OK


def show(project: Project, rest: list[str]) -> int:
    """Draw the graph in a window."""
    _none(rest)
    picture.show(project.network())
    return Exit.OK


def interactive(project: Project, rest: list[str]) -> int:
    """Open a Python console."""
    _none(rest)
    names: dict[str, Any] = {
        "network": project.network(),
        "JOBS": project.jobs,
        "PIPES": project.pipes,
        "NODES": project.nodes,
        "GROUPS": project.groups,
        "emulate": emulate,
    }
    code.interact(f"{project.name}: {', '.join(names)}", local=names, exitmsg="")
    return Exit.OK


def collect(project: Project, rest: list[str]) -> int:
    """Bring the log files of the jobs together."""
    _none(rest)
    source = os.path.join(project.folder, SIMULATION)
    logs = [n for n in os.listdir(source) if n.endswith(".log")] if os.path.isdir(source) else []
    if not logs:
        raise UsageError(f"no log files of {project.name}: run it first")
    target = os.path.join(project.folder, "collection")
    os.makedirs(target, exist_ok=True)
    for name in logs:
        shutil.copy2(os.path.join(source, name), target)
    print(f"{len(logs)} log files in {target}")
    return Exit.OK


def test(project: Project, rest: list[str]) -> int:
    """Run pytest over the network's tests."""
    folder = os.path.join(project.folder, "tests")
    if not os.path.isdir(folder):
        raise UsageError(f"no tests: {folder} is missing")
    environment = {**os.environ, "FISSION_NETWORK": project.folder}
    words = [sys.executable, "-m", "pytest", "-p", "fission.testing", folder, *rest]
    return subprocess.call(words, env=environment)


def _none(rest: list[str]) -> None:
    if rest:
        raise UsageError(f"too many words: {' '.join(rest)}")


COMMANDS: Final[dict[str, Callable[[Project, list[str]], int]]] = {
    "simulate": simulate,
    "run": run,
    "startnetwork": lambda _project, _rest: Exit.OK,
    "graphviz": graphviz,
    "show": show,
    "interactive": interactive,
    "collect": collect,
    "test": test,
}

__all__ = ["BaseJob", "admin", "main"]
