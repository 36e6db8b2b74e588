"""The loop-back cluster: a hub and its workers on this machine, in one process group."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from typing import Final

import msgspec

from maniple.algorithm.call import Limits
from maniple.algorithm.shelf import Shelf
from maniple.cluster.messages import DRIVER_PATH, WORKER_PATH
from maniple.errors import Exit
from maniple.hub.board import Board
from maniple.hub.gate import is_loopback
from maniple.hub.rules.view import View
from maniple.hub.server import listen, run_hub
from maniple.minion.crew import Crew
from maniple.minion.tally import Tally
from maniple.minion.worker import worker_minion
from maniple.plugins import need_all

PORT: Final = 7070
HOST: Final = "127.0.0.1"
LOOK_SECONDS: Final = 0.5
LARGEST_VIEW: Final = 1 << 16
MOST_SHOWN: Final = 256
LIBRARIES: Final = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
    "python-multipart": "python_multipart",
    "wasmtime": "wasmtime",
}
_READY: Final = b"ready"
_SIGNALLED: Final = 128


def serve(
    port: int = PORT,
    jobs: int | None = None,
    *,
    host: str = HOST,
    limits: Limits | None = None,
    shelf: Shelf | None = None,
    quiet: bool = False,
) -> int:
    """Run a loop-back cluster until a signal ends it.

    The line for drivers (`export WEBSOCKET_URI=...`) goes to standard output once the hub answers;
    what is shown meanwhile goes to standard error.

    Args:
        port: of the hub; 0 means any free one.
        jobs: how many workers; by default as many as there are processors.
        host: the address to listen on.
        limits: what any task may use at most.
        shelf: the packages that the registry shows; by default `build` here, and this user's.
        quiet: show nothing meanwhile.

    Returns:
        The exit code: that of the signal, or `Exit.BROKEN`.

    Raises:
        UsageError: there is no such address, or the port needs rights that we have not.
        ClusterError: the port is taken.
        MissingExtraError: what hub and workers need is not installed.
    """
    # else each process of the cluster would say it of the one that it needs
    need_all(LIBRARIES, "motivus", "a cluster on this machine")
    jobs = jobs or len(os.sched_getaffinity(0))
    listener = listen(host, port)
    shown = socket_name(host)
    port = listener.getsockname()[1]
    if not is_loopback(host):
        _say(
            f"whoever reaches port {port} of this machine may run algorithms here, in their"
            " sandboxes: there are no accounts in a loop-back cluster"
        )
    # messages on it are whole or not at all, and never make the hub wait
    ours, hubs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    hubs.setblocking(False)

    def work(slot: int) -> int:
        ours.close()
        if slot > jobs:
            run_hub(
                listener,
                host,
                shelf=shelf,
                ready=lambda: _send(hubs, _READY),
                show=lambda view: _send(hubs, _packed(view)),
            )
            return Exit.OK
        hubs.close()
        listener.close()
        return worker_minion(f"ws://{shown}:{port}{WORKER_PATH}", slot, tally, limits=limits)

    tally = Tally(jobs + 1)
    crew = Crew(jobs + 1, work, tally)
    watch = _Watch(ours, f"ws://{shown}:{port}{DRIVER_PATH}", jobs, quiet=quiet)
    try:
        crew.start()
        while crew.running:
            if crew.wait(LOOK_SECONDS, ours.fileno()):
                watch.look()
    finally:
        watch.close()
        crew.end()
        for each in (ours, hubs, listener):
            each.close()
    if crew.broken:
        return Exit.BROKEN
    return _SIGNALLED + crew.stopped_by if crew.stopped_by else Exit.OK


def socket_name(host: str) -> str:
    """Name an address as it stands in a URL for programs of this machine."""
    if host in {"127.0.0.1", "::1", "0.0.0.0", "::", "", "localhost"}:  # noqa: S104 - it is compared
        return "localhost"
    return f"[{host}]" if ":" in host else host


class _Watch:
    """What the first process does with what the hub tells it."""

    def __init__(self, ours: socket.socket, url: str, jobs: int, *, quiet: bool) -> None:
        self._ours = ours
        self._url = url
        self._jobs = jobs
        self._quiet = quiet
        self._told = False
        self._board: Board | None = None

    def look(self) -> None:
        latest: bytes | None = None
        with suppress(BlockingIOError):
            while message := self._ours.recv(LARGEST_VIEW):
                if message == _READY:
                    self._ready()
                else:
                    latest = message
        if latest is not None and self._board is not None:
            self._board.show(msgspec.msgpack.decode(latest, type=View), time.monotonic())

    def _ready(self) -> None:
        if self._told:
            _say("the hub's process was killed, and is replaced: drivers submit their tasks again")
            return
        self._told = True
        print(f"export WEBSOCKET_URI={self._url}", flush=True)
        if not self._quiet:
            self._board = Board(sys.stderr)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _packed(view: View) -> bytes:
    """Leave out what does not fit a message."""
    if len(view.workers) > MOST_SHOWN:
        view = msgspec.structs.replace(view, workers=view.workers[:MOST_SHOWN])
    short = [msgspec.structs.replace(worker, tasks=worker.tasks[:8]) for worker in view.workers]
    return msgspec.msgpack.encode(msgspec.structs.replace(view, workers=short))


def _send(hubs: socket.socket, message: bytes) -> None:
    if len(message) < LARGEST_VIEW:
        # nobody looks just now: the next one will do
        with suppress(OSError):
            hubs.send(message)


def _say(text: str) -> None:
    print(f"maniple: {text}", file=sys.stderr, flush=True)
