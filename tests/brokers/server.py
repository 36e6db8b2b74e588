"""Real servers for tests: each on a free port, in a folder of its own, and ended with the tests.

A broker's module has a class `Server` with `start` and `url`; `running(Server)` gives the one that
all tests of this process share.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

START_SECONDS = 300.0
STOP_SECONDS = 120.0
_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class MissingError(Exception):
    """The server's programs are not installed; the text says what would install them."""


def free_port() -> int:
    """Find a port of the loopback that nobody listens on, and keep it free.

    Only those can listen on it who are given its number: no connection that somebody makes is given
    it, also while its server is away.
    """
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    # servers say so, too: then both may have it, as long as we do not listen
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    atexit.register(probe.close)
    return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, package: str) -> str:
    """Find a program, also where only root looks.

    Raises:
        MissingError: it is not installed.
    """
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=places)
    if found is None:
        raise MissingError(f"{name} is not installed: apt-get install {package}")
    return found


class Server:
    """A server that tests start, kill and start again. Its data outlive a restart.

    A subclass gives `command`, perhaps `prepare` and `ready`, and `url`.
    """

    name: ClassVar[str]
    # where clients connect to the address that the server tells them: the port that the proxy must
    # have then, and the port that it leads to; 0: any, and `port`
    proxy_port = 0
    proxied = 0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"maniple-{self.name}-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = dict(os.environ)

    def prepare(self) -> None:
        """Write what the first start needs. Raise MissingError where programs are missing."""

    def command(self) -> list[str]:
        """Give the words that start the server in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Tell whether the server serves."""
        return listens(self.port)

    def url(self, name: str, **options: Any) -> str:
        """Give the URL of the queue of this name; `port=` leads through a proxy."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it serves."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # it must not outlive tests that are killed
            preexec_fn=lambda: _libc.prctl(_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.said()
                self.stop(hard=True)
                raise AssertionError(f"{self.name} did not start:\n{text}")
            time.sleep(0.05)

    def said(self) -> str:
        """Give the end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def stop(self, *, hard: bool = False) -> None:
        """End it, in order or as by a power cut."""
        process, self.process = self.process, None
        if process is None:
            return
        number = signal.SIGKILL if hard else signal.SIGTERM
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # what it forked ends with it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def restart(self, *, hard: bool = False) -> None:
        """Stop it and start it again on the same port, with the same data."""
        self.stop(hard=hard)
        self.start()

    def remove(self) -> None:
        """End it and remove its data."""
        self.stop(hard=True)
        shutil.rmtree(self.folder, ignore_errors=True)


_Kind = TypeVar("_Kind", bound=Server)
_running: dict[type[Server], Server | MissingError] = {}


def end_all() -> None:
    """End the servers that `running` has started; it starts new ones when they are asked for."""
    for kind, server in list(_running.items()):
        if isinstance(server, Server):
            del _running[kind]
            server.remove()
            atexit.unregister(server.remove)


def running(kind: type[_Kind]) -> _Kind:
    """Give the server of a kind that this process's tests share, started at the first call.

    A test is skipped where the server is not installed; with CI set it fails instead.
    """
    found = _running.get(kind)
    if found is None:
        server = None
        try:
            server = kind()
            server.prepare()
            server.start()
            found = server
            atexit.register(server.remove)
        except MissingError as missing:
            if server is not None:
                server.remove()
            found = missing
        _running[kind] = found
    if isinstance(found, MissingError):
        if os.environ.get("CI"):
            pytest.fail(str(found))
        pytest.skip(str(found))
    if found.process is None:
        # a test that failed has left it so
        found.start()
    elif found.process.poll() is not None:
        text = found.said()
        found.restart(hard=True)
        # only its log can tell why, and that goes with the server
        pytest.fail(f"{found.name} has ended by itself:\n{text}")
    return found  # type: ignore[return-value]
