"""The demo: sweep a classifier of real digits, kill a minion on the way, miss nothing.

Usage: demo.py [--small] [--in FOLDER]. Needs Linux, scikit-learn and matplotlib (`make demo`
installs them). Everything it makes is in the folder .demo, which is made anew each time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, NoReturn

from murder import Killed, kill_one
from picture import Landscape, draw

HERE: Final = os.path.dirname(os.path.realpath(__file__))
ROOT: Final = os.path.dirname(os.path.dirname(HERE))
BIN: Final = os.path.dirname(sys.executable)
# A variable that names another queue or folder is not meant for the demo
ENVIRONMENT: Final = {k: v for k, v in os.environ.items() if not k.startswith("MANIPLE_")}


class Size(NamedTuple):
    """What is swept, and after how many seconds a silent minion's task runs again."""

    params: tuple[str, ...]
    lease: str


FULL: Final = Size(("gamma=log:1e-5..1e-1:7", "c=log:0.1..100:4", "seed=1..2"), "5")
SMALL: Final = Size(("gamma=log:1e-4..1e-2:3", "c=1,10", "seed=1..1"), "2")


class Folder(NamedTuple):
    """Where everything goes."""

    path: str

    @classmethod
    def anew(cls, parent: str) -> Folder:
        """Make an empty folder .demo, in place of an earlier one."""
        path = _shown(os.path.join(os.path.realpath(parent), ".demo"))
        try:
            if os.path.lexists(path):
                shutil.rmtree(path)
            os.makedirs(path)
        except OSError as error:
            _stop(f"cannot make the folder {path} anew: {error.strerror}; choose another: --in")
        return cls(path)

    def of(self, name: str) -> str:
        """Name a file in it."""
        return os.path.join(self.path, name)

    @property
    def queue(self) -> str:
        """The queue's URL."""
        return f"sqlite:{self.of('digits.db')}"


class Again(NamedTuple):
    """The second run of the task that was cut short by the kill.

    Attributes:
        number: of the task.
        param: of the task.
        wait: from the kill until it began, worded.
    """

    number: int
    param: dict[str, Any]
    wait: str


def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smaller sweep, for tests")
    parser.add_argument(
        "--in", dest="parent", metavar="FOLDER", default=ROOT, help="where to make the folder .demo"
    )
    options = parser.parse_args()
    _check_needs()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    size = SMALL if options.small else FULL
    jobs = max(2, min(8, len(os.sched_getaffinity(0))))
    began = time.monotonic()
    folder = Folder.anew(options.parent)
    print("A classifier of scikit-learn's handwritten digits, over two parameters and a seed.")
    print(f"(maniple and python are those in {_shown(BIN)})")

    _title("1. Fill a queue with params")
    _maniple("sweep", *size.params, "-q", folder.queue)

    _title(f"2. Run an ordinary script for each, with {jobs} minions; one will be killed")
    killed = _run(folder, size, jobs)

    _title("3. See what they did")
    _maniple("status", folder.of("events"))

    _title("4. Is anything missing?")
    accuracy = check(folder, size)
    again = _second_run(folder, killed)

    _title("5. Look at it")
    land = _landscape(accuracy)
    cell = (float(again.param["gamma"]), float(again.param["c"]))
    draw(land, folder.of("digits.png"), _caption(len(accuracy), jobs, again), cell)
    _maniple("status", folder.of("events"), "--html", folder.of("status.html"))
    _table(land)
    print(f"\nDone in {time.monotonic() - began:.0f} s. To look at:")
    print(f"  {folder.of('digits.png')}     the table as a picture")
    print(f"  {folder.of('status.html')}    who did what and when, in a browser")
    return 0


def _check_needs() -> None:
    if not sys.platform.startswith("linux"):
        _stop("the demo finds its minions in /proc, which only Linux has")
    for module, name in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")):
        if find_spec(module) is None:
            _stop(f"{name} is missing: make demo installs it, or pip install {name}")
    if not os.access(os.path.join(BIN, "maniple"), os.X_OK):
        _stop(f"there is no maniple in {BIN}: make setup installs it into .venv")


def _run(folder: Folder, size: Size, jobs: int) -> Killed:
    """Empty the queue, and kill a minion when a quarter of the tasks is done."""
    script = _shown(os.path.join(HERE, "train.py"))
    results = folder.of("digits.jsonl")
    words = ["run", "-q", folder.queue, "-j", str(jobs), "--lease", size.lease]
    words += ["--results", results, "--report", folder.of("events"), "--output", "none"]
    command = ["python", script, "{gamma}", "{c}", "{seed}"]
    _announce(["maniple", *words, "--", *command])
    command[0] = sys.executable
    total = sum(1 for _ in _params(size))
    process = subprocess.Popen(
        [os.path.join(BIN, "maniple"), *words, "--", *command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )
    try:
        killed = kill_one(process, script, lambda: len(_lines(results)) * 4 >= total)
        if killed is not None:
            task = " ".join(["train.py", *killed.words[-3:]])
            # The progress line is there already, in a terminal
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            print(f"{clear}** kill -9 {killed.minion}: a minion dies while it runs {task}")
            sys.stdout.flush()
        code = process.wait()
    finally:
        # Only when we are interrupted: maniple then ends its tasks itself
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        _stop(f"maniple run ended with exit code {code}", code)
    if killed is None:
        _stop("all tasks were done before a minion could be killed; run the demo again")
    return killed


def check(folder: Folder, size: Size) -> dict[str, float]:
    """Compare what was asked for with what the queue and the results hold; leave if they differ.

    Returns:
        The accuracy by param, as JSON.
    """
    asked = {_key(param) for param in _params(size, show=True)}
    export = folder.of("tasks.jsonl")
    _maniple("queue", "export", "-q", folder.queue, "-o", export)
    done = Counter(_key(task["param"]) for task in _lines(export) if task["state"] == "done")
    rows = [row for row in _lines(folder.of("digits.jsonl")) if row["error"] is None]
    accuracy = {_key(row["param"]): float(row["result"]["accuracy"]) for row in rows}
    wrong = sorted(key for key in asked | done.keys() if done[key] != 1 or key not in accuracy)
    print(f"{len(asked)} params asked for, {len(asked - set(wrong))} done once and with a result")
    if wrong or done.keys() != asked:
        _stop(f"{len(wrong)} missing, done more than once or unasked for, first {wrong[0]}")
    return accuracy


def _second_run(folder: Folder, killed: Killed) -> Again:
    """Find when and by whom the task that was cut short ran again."""
    gamma, c, seed = map(float, killed.words[-3:])
    param = {"gamma": gamma, "c": c, "seed": int(seed)}
    events = [
        event
        for name in os.listdir(folder.of("events"))
        for event in _lines(folder.of(os.path.join("events", name)))
        if event["param"] == param and event["start"] > killed.at
    ]
    if not events:
        _stop(f"what was cut short by the kill did not run again: {param}")
    event = min(events, key=lambda event: float(event["start"]))
    tasks = _lines(folder.of("tasks.jsonl"))
    number = next(task["number"] for task in tasks if task["id"] == event["task"])
    seconds = event["start"] - killed.at
    wait = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    print(
        f"one of them was begun twice: task {number} ({_worded(param)}), cut short with minion "
        f"{killed.minion}\nand run again {wait} later by minion {event['pid']}"
    )
    return Again(number, param, wait)


def _landscape(accuracy: dict[str, float]) -> Landscape:
    """Average over the seeds."""
    by_cell: dict[tuple[float, float], list[float]] = defaultdict(list)
    for key, value in accuracy.items():
        param = json.loads(key)
        by_cell[param["gamma"], param["c"]].append(value)
    return Landscape(
        sorted({gamma for gamma, _ in by_cell}),
        sorted({c for _, c in by_cell}),
        {cell: sum(values) / len(values) for cell, values in sorted(by_cell.items())},
    )


def _caption(runs: int, jobs: int, again: Again) -> str:
    return (
        f"{runs} runs by {jobs} minions. One minion was killed (SIGKILL) in the middle of task "
        f"{again.number} ({_worded(again.param)}),\nwhich ran again {again.wait} later: "
        f"{runs} of {runs} are done, each acknowledged once."
    )


def _table(land: Landscape) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="accuracy (mean over the seeds)", box=box.SIMPLE, title_justify="left", pad_edge=False
    )
    table.add_column("gamma \\ C", justify="right")
    for c in land.cs:
        table.add_column(f"{c:g}", justify="right")
    for gamma in land.gammas:
        cells = []
        for c in land.cs:
            value = land.accuracy[gamma, c]
            best = (gamma, c) == land.best
            style = "bold green" if best else "dim" if value < 0.5 else ""
            text = f"{value:.3f}{' *' if best else '  '}"
            cells.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(f"{gamma:.2g}", *cells)
    Console(highlight=False, emoji=False).print(table)
    print(f"* the best: {land.accuracy[land.best]:.1%} of unseen digits read rightly")


def _params(size: Size, *, show: bool = False) -> list[dict[str, Any]]:
    """Ask maniple which params the sweep has."""
    words = ["sweep", *size.params, "--dry-run"]
    if show:
        _announce(["maniple", *words])
    text = subprocess.run(
        [os.path.join(BIN, "maniple"), *words], env=ENVIRONMENT, check=True, capture_output=True
    ).stdout
    params = [json.loads(line) for line in text.splitlines()]
    if show:
        print(f"{text.splitlines()[0].decode()}\n... ({len(params)} lines)")
    return params


def _maniple(*words: str) -> None:
    """Show a command, then run it; leave when it fails."""
    _announce(["maniple", *words])
    code = subprocess.run(
        [os.path.join(BIN, "maniple"), *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode
    if code:
        _stop(f"maniple {words[0]} ended with exit code {code}", code)


def _announce(words: list[str]) -> None:
    """Show a command as one would type it: placeholders need no quotes."""
    typed = [w if re.fullmatch(r"[\w@%+=:,./{}-]+", w) else shlex.quote(w) for w in words]
    print("$ " + " ".join(typed), flush=True)


def _title(text: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def _lines(path: str) -> list[dict[str, Any]]:
    """Read JSON Lines; none when the file is not there yet."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


def _key(param: dict[str, Any]) -> str:
    return json.dumps(param, sort_keys=True)


def _worded(param: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in param.items())


def _shown(path: str) -> str:
    """Write a path as one would type it here: short when it is below the working directory."""
    short = os.path.relpath(path)
    return path if short.startswith(os.pardir) else short


def _stop(text: str, code: int = 1) -> NoReturn:
    print(f"demo: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
