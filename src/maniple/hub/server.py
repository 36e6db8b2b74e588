"""The hub's port, and the web server behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.shelf import Shelf, cache_folder
from maniple.cluster.messages import HEARTBEAT_SECONDS, LARGEST_FRAME
from maniple.errors import ClusterError, UsageError
from maniple.hub.rules.view import View
from maniple.plugins import EXTRAS, missing_extra

BACKLOG: Final = 1024
MISSED_HEARTBEATS: Final = 3
LEAVE_SECONDS: Final = 0.7
GRACE_SECONDS: Final = 3.0
_LEAVING: Final = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """Open the hub's port.

    Args:
        host: the address to listen on.
        port: 0 means any free one.

    Raises:
        UsageError: there is no such address, or the port needs rights that we have not.
        ClusterError: the port is taken.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--bind {host}: {error}") from None
    family, kind, protocol, _, address = found[0]
    # with the protocol named, asyncio switches Nagle's algorithm off on what is accepted
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ClusterError(
                f"port {port} is taken, perhaps by another cluster: name another with -p, or take"
                " any free one with -p 0"
            ) from None
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


def run_hub(
    listener: socket.socket,
    host: str,
    *,
    shelf: Shelf | None = None,
    cache: str | None = None,
    ready: Callable[[], None] = lambda: None,
    show: Callable[[View], None] | None = None,
    every: float = 0.25,
) -> None:
    """Serve until SIGTERM or SIGINT; to be called in a process of its own.

    Args:
        listener: the port (see `listen`).
        host: what it listens on, as the user named it.
        shelf: the packages that the registry shows.
        cache: folder for parts of algorithms, this user's by default.
        ready: called once requests are answered.
        show: told what is going on, again and again.
        every: seconds between two calls of `show`.

    Raises:
        MissingExtraError: the web server is not installed.
    """
    try:
        import fastapi  # noqa: F401 - said here, before anything is under way
        import python_multipart  # noqa: F401 - fastapi reads forms with it
        import uvicorn
        import websockets  # noqa: F401 - uvicorn's sockets
    except ImportError as error:
        library = error.name if error.name in EXTRAS else "fastapi"
        raise missing_extra(library or "fastapi", "a hub") from None
    from maniple.hub.app import Hub
    from maniple.hub.exchange import Exchange
    from maniple.hub.gate import Gate
    from maniple.hub.identity import Everyone
    from maniple.hub.patience import PatientProtocol
    from maniple.hub.registry import ShelfRegistry
    from maniple.hub.rules.dispatch import Dispatch
    from maniple.hub.store import MemoryStore

    blobs = Blobs(os.path.join(cache or cache_folder(), "blobs"))
    rules = Dispatch(os.urandom(6).hex(), grace=GRACE_SECONDS)
    exchange = Exchange(rules, MemoryStore(), blobs, Everyone())
    hub = Hub(exchange, ShelfRegistry(shelf or Shelf(), blobs), Gate(host))
    config = uvicorn.Config(
        hub,
        ws=PatientProtocol,
        ws_max_size=LARGEST_FRAME,
        ws_ping_interval=HEARTBEAT_SECONDS,
        ws_ping_timeout=HEARTBEAT_SECONDS * MISSED_HEARTBEATS,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )

    class Server(uvicorn.Server):
        """Tells when it listens, and leaves signals to us."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready()

    async def serve() -> None:
        server = Server(config)
        leaving = asyncio.Event()
        for number in _LEAVING:
            asyncio.get_running_loop().add_signal_handler(number, leaving.set)
        jobs = [
            asyncio.create_task(exchange.keep_time()),
            asyncio.create_task(_watch(exchange, server, leaving)),
        ]
        if show is not None:
            jobs.append(asyncio.create_task(_tell(exchange, show, every)))
        try:
            await server.serve(sockets=[listener])
        finally:
            for job in jobs:
                job.cancel()
            for number in _LEAVING:
                # we have heard it; said again while the loop is taken apart it would be a mishap
                signal.signal(number, signal.SIG_IGN)

    asyncio.run(serve())


async def _watch(exchange: Any, server: Any, leaving: asyncio.Event) -> None:
    """Let the workers leave first: what they give back or have finished is taken still."""
    await leaving.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            while any(worker.connected for worker in exchange.view().workers):  # noqa: ASYNC110 - it is no hurry
                await asyncio.sleep(0.02)
    server.should_exit = True


async def _tell(exchange: Any, show: Callable[[View], None], every: float) -> None:
    while True:
        show(exchange.view())
        await asyncio.sleep(every)
