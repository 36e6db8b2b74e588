"""Measures Maniple beside its peers, prints one table, and writes the figures as JSON.

Peers are installed into `.bench/`. Every comparison is made in rounds, all sides in turn, so that
a busy machine is busy for all of them. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import machine
import table
from bench import Bench
from pairs import Row
from subjects import (
    algorithms,
    brokers,
    commands,
    containers,
    functions,
    growth,
    million,
    network,
    startup,
    status,
)

from maniple import proctree

SUBJECTS: dict[str, Callable[[Bench], list[Row]]] = {
    "functions": functions.measure,
    "commands": commands.measure,
    "million": million.measure,
    "growth": growth.measure,
    "startup": startup.measure,
    "status": status.measure,
    "network": network.measure,
    "brokers": brokers.measure,
    "containers": containers.measure,
    "algorithms": algorithms.measure,
}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure Maniple beside its peers.")
    parser.add_argument(
        "--only", action="append", choices=list(SUBJECTS), help="one subject; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="little work, few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=Path(__file__).resolve().parent.parent / ".bench",
        help="where peers and figures are kept (default: .bench)",
    )
    return parser.parse_args(words)


def main() -> int:
    """Run the subjects."""
    options = arguments()
    folder: Path = options.folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("room-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        print(f"bench: cannot write to {folder}: {error.strerror}; name another with --folder")
        return 3
    proctree.adopt_orphans()
    signal.signal(signal.SIGTERM, _terminated)
    began = time.monotonic()
    about = machine.describe()
    print(machine.line(about), file=sys.stderr)
    rows: list[Row] = []
    interrupted = False
    try:
        for name in options.only or SUBJECTS:

            def say(text: str, subject: str = name) -> None:
                spent = time.monotonic() - began
                print(f"{spent:5.0f} s  {subject}, {text}", file=sys.stderr, flush=True)

            rows += SUBJECTS[name](Bench(folder, quick=options.quick, say=say))
    except KeyboardInterrupt:
        interrupted = True
        print("bench: interrupted; what was measured until now:", file=sys.stderr)
    seconds = time.monotonic() - began
    table.show(rows, about, seconds)
    for path in (folder / "results.json", options.json):
        if path is not None:
            table.write(path, rows, about, seconds)
    return 130 if interrupted else 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
