"""What tests of the real command share: starting it, waiting for something, leaving nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from maniple.minion.crew import GRACE_SECONDS

MANIPLE = str(Path(sys.executable).with_name("maniple"))
PATIENCE = 60.0
LONG = 5 * PATIENCE
"""Seconds for a whole command, compilers and thousands of tasks included, on a busy machine."""
MARK = "TEST_MARK"
_Found = TypeVar("_Found")


def until(condition: Callable[[], _Found], patience: float = PATIENCE) -> _Found:
    """Wait for a condition to be true, and return what it gave; fail when time is up."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"still waiting after {patience:g} s")
        time.sleep(0.01)
    return found


@contextmanager
def kept_port() -> Iterator[int]:
    """Keep a port for servers of this test alone: nobody else is given it between two of them.

    While none of them listens, connections are refused. A server must allow the reuse of its
    address, as they do.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def children(pid: int) -> list[int]:
    """List the children of a process, in the order in which they were started."""
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
    return []


def minions(pid: int) -> list[int]:
    """List the minions of a `maniple run`: its children but the guard, which has its own session."""
    found = []
    for child in children(pid):
        with suppress(OSError):
            if os.getsid(child) == os.getsid(pid):
                found.append(child)
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    return False


class Patient:
    """A queue whose server needs a moment: a lease that does not wait waits until it is whole."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def lease(self, limit: int, ttl: float, wait: float | None = None) -> Any:
        if wait is not None or not limit:
            return self._queue.lease(limit, ttl, wait or 0.0)
        leases: list[Any] = []
        deadline = time.monotonic() + PATIENCE
        while len(leases) < limit and (left := deadline - time.monotonic()) > 0:
            # the rest of a batch may be a moment behind its first task
            leases += self._queue.lease(limit - len(leases), ttl, left)
        return leases


class Shell:
    """Runs commands in a folder of its own, and knows every process that comes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[Any]] = []
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MANIPLE_", "MINION_")) and name != "COLUMNS"
        }
        self.environment = {**kept, MARK: self._mark, "PYTHONDONTWRITEBYTECODE": "1"}

    def maniple(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `maniple` to its end; standard input is empty unless `input` gives it."""
        return self.command(MANIPLE, *words, **options)

    def command(
        self, *words: object, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run any command to its end."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        if not {"stdout", "stderr"} & options.keys():
            options["capture_output"] = True
        return subprocess.run(
            [str(word) for word in words],
            cwd=options.pop("cwd", self.folder),
            env={**self.environment, **(env or {})},
            timeout=LONG,
            text=True,
            check=False,
            **options,
        )

    def start(
        self, *words: object, under: tuple[str, ...] = (), **options: Any
    ) -> subprocess.Popen[Any]:
        """Start `maniple` in a session of its own, under another command if need be."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("text", True)
        options.setdefault("start_new_session", True)
        process = subprocess.Popen(
            [*under, MANIPLE, *map(str, words)], cwd=self.folder, env=self.environment, **options
        )
        self._started.append(process)
        return process

    def finish(self, process: subprocess.Popen[Any]) -> tuple[int, str, str]:
        """Wait for a started command; give its exit code and what it printed."""
        out, err = process.communicate(timeout=LONG)
        return process.returncode, out, err

    def interrupt(self, process: subprocess.Popen[Any], number: int) -> tuple[int, bool]:
        """Send a signal to `maniple run`, and wait for its end.

        Returns:
            Its exit code, and whether it took no longer than minions are given to leave: those that
            need more are killed, and their tasks come back when the leases lapse.
        """
        began = time.monotonic()
        process.send_signal(number)
        code = self.finish(process)[0]
        return code, time.monotonic() - began < GRACE_SECONDS

    def lines(self, name: str) -> list[str]:
        """Read the lines of a file of the folder; none when it does not exist."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def stats(self, url: str = "sqlite:q.db") -> dict[str, int]:
        """Count a queue's tasks as `maniple status` does."""
        result = self.maniple("status", "-q", url, "--json")
        assert result.returncode == 0, result.stderr
        counts: dict[str, int] = json.loads(result.stdout)["queue"]
        return counts

    def alive(self) -> list[int]:
        """List the live processes that come of this shell, however they left it."""
        mark = f"{MARK}={self._mark}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
        return found

    def close(self) -> list[int]:
        """End what is left, and tell what it was."""
        deadline = time.monotonic() + PATIENCE / 2
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.kill()
            with suppress(ValueError):
                process.communicate()
        return left


def opened_shell(folder: Path) -> Iterator[Shell]:
    """Give a shell; what it started must be gone when the test ends."""
    shell = Shell(folder)
    yield shell
    left = shell.close()
    assert not left, f"processes were left behind: {left}"


def one_line(text: str) -> str:
    """Assert that a command said one line, no traceback, and give it."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("maniple: "), text
    return lines[0]
