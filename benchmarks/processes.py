"""Running commands: timed, limited, and nothing of them left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from maniple import proctree


class Trouble(Exception):  # noqa: N818 - it is told, not a defect
    """A command or a peer cannot be measured; the text says why, in one line."""


class Finished(NamedTuple):
    """How a command ended: wall time in seconds, from its start to its end, and its output."""

    seconds: float
    stdout: str


def run(
    words: Sequence[str | Path],
    *,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
) -> Finished:
    """Run a command to its end and take its time.

    Args:
        words: the command.
        cwd: where it runs.
        timeout: seconds; then it is ended, with all that it started.
        env: variables to add to ours.
        stdin: a file; otherwise standard input is empty.

    Raises:
        Trouble: it cannot be started, takes too long, or ends with a status other than 0.
    """
    texts = [str(word) for word in words]
    # a path meant for our Python would put our packages before a peer's of the same name
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    name = os.path.basename(texts[0])
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        open(stdin or os.devnull, "rb") as source,
    ):
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                texts,
                cwd=cwd,
                env={**inherited, **(env or {})},
                stdin=source,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise Trouble(f"{name} cannot be started: {error.strerror}") from None
        try:
            in_time = ended(process.pid, timeout)
            seconds = time.perf_counter() - start
            if not in_time:
                raise Trouble(f"{name} took longer than {timeout:g} s, and was ended")
            code = process.wait()
        finally:
            end(process)
        out.seek(0)
        err.seek(0)
        stdout = out.read().decode("utf-8", "replace")
        if code:
            told = (err.read().decode("utf-8", "replace") or stdout).strip().splitlines()
            why = told[-1].strip() if told else "it said nothing"
            raise Trouble(f"{name} ended with status {code}: {why[:200]}")
        return Finished(seconds, stdout)


SERVERS: set[int] = set()
"""Processes that serve all sides of a comparison, and are ended by whoever has started them."""


def ended(pid: int, timeout: float) -> bool:
    """Wait for the end of a child; False when time is up.

    `Popen.wait` with a timeout looks ever more seldom, up to 50 ms apart: no way to take a time.
    """
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(handle)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it left: orphans are ours, see `adopt_orphans`."""
    proctree.signal_group(process.pid, signal.SIGKILL)
    process.wait()
    while True:
        spared = {pid for root in SERVERS for pid in (root, *proctree.descendants(root))}
        below = [pid for pid in proctree.descendants(os.getpid()) if pid not in spared]
        proctree.signal_all(below, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            return
        time.sleep(0.005)
