"""A loop-back cluster for tests of drivers: the real command, on a port of its own choice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import LONG, MANIPLE, PATIENCE, until

_LINE = re.compile(r"export WEBSOCKET_URI=(\S+)")


@contextmanager
def loop_back(folder: Path, shelf: Path) -> Iterator[dict[str, str]]:
    """Run a cluster in a folder; give the environment in which drivers find it.

    Args:
        folder: where it runs; algorithms in its `build` are found by name.
        shelf: the user's own packages, for this cluster alone.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MANIPLE_")}
    environment |= {"MANIPLE_ALGORITHMS": str(shelf)}
    log = folder / "loopback.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [MANIPLE, "loopback", "--port", "0", "--jobs", "2"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = until(lambda: _LINE.search(log.read_text()) or process.poll() is not None)
        assert isinstance(found, re.Match), log.read_text()
        yield environment | {"WEBSOCKET_URI": found.group(1)}
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def drive(script: Path, *words: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a driver to its end; give what it printed."""
    done = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
