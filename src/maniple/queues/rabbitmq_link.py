"""How RabbitMQ is reached: an event loop in a thread, a socket, TLS, a login."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import threading
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from maniple.address import Address
from maniple.errors import QueueError, UsageError
from maniple.queues.rabbitmq_channel import GoneError, RefusedError
from maniple.queues.rabbitmq_wire import Wire

CONNECT_SECONDS: Final = 5.0
_Answer = TypeVar("_Answer")
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_in_child() -> None:
    # a child that has the socket as well would keep the server from seeing its parent's death
    for connection in list(_sockets):
        with suppress(OSError):
            connection.close()


os.register_at_fork(after_in_child=_close_in_child)


class Loop:
    """An event loop in a thread of its own: heartbeats must go on whatever the callers do."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="maniple-rabbitmq", daemon=True)
        # signals are for the main thread
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def ours(self) -> bool:
        """Whether this process started it; a forked child has no thread."""
        return os.getpid() == self._pid

    def call(self, what: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Run something in the loop and wait for its answer."""
        if not self.ours or not self._thread.is_alive():
            what.close()
            raise QueueError("the queue was opened by another process or closed: open it again")
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread."""
        if not self.ours or not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def tls_context(address: Address) -> ssl.SSLContext:
    """Make the TLS settings of an address.

    Raises:
        UsageError: a file is missing or no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.cert is not None:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f for f in (address.ca, address.cert, address.key) if f)
        raise UsageError(
            f"cannot use the certificates for {address.shown}: {error} ({files})"
        ) from (None)
    return context


async def connect(
    address: Address, vhost: str, *, tls: ssl.SSLContext | None, heartbeat: float
) -> Wire:
    """Log in at the first host that answers.

    Raises:
        GoneError: none does.
        RefusedError: the server does not let us in.
        QueueError: TLS is not possible.
    """
    trouble: Exception = GoneError("no host is named")
    for host, port in address.hosts:
        try:
            return await _connect(address, vhost, host, port, tls, heartbeat)
        except GoneError as error:
            trouble = error
    raise trouble


async def _connect(
    address: Address,
    vhost: str,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    heartbeat: float,
) -> Wire:
    user = "guest" if address.user is None else address.user
    password = "guest" if address.password is None else address.password
    wire = Wire(user, password, vhost, heartbeat=heartbeat, stuck=max(1.0, address.reconnect))
    try:
        # nothing else happens in this loop meanwhile
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        raise GoneError(error.strerror or str(error)) from None
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _sockets.add(connection)
    try:
        await asyncio.wait_for(
            wire.loop.create_connection(
                lambda: wire,
                sock=connection,
                ssl=tls,
                server_hostname=host if tls is not None else None,
            ),
            CONNECT_SECONDS,
        )
        await asyncio.wait_for(asyncio.shield(wire.ready), 2 * CONNECT_SECONDS)
    except ssl.SSLCertVerificationError as error:
        raise QueueError(
            f"the certificate of {address.shown} is not trusted: {error.verify_message}; "
            "name the file of its CA: ?ca=FILE"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            raise QueueError(f"{address.shown} does not speak TLS: write amqp://") from None
        raise GoneError(error.reason or str(error)) from None
    except TimeoutError:
        raise GoneError("the server does not answer") from None
    except OSError as error:
        raise GoneError(error.strerror or str(error)) from None
    finally:
        if not wire.ready.done() or wire.ready.exception() is not None:
            await wire.close()
            connection.close()
    return wire


def explained(error: RefusedError, address: Address, user: str | None) -> Exception:
    """Say in words of ours what the server has refused."""
    text = str(error)
    place = address.shown
    if error.code == _ACCESS_REFUSED:
        if "Login was refused" in text or "login refused" in text:
            who = f"the user {user}" if user else "guest"
            return QueueError(f"{place} does not let {who} in: wrong user or password")
        return QueueError(f"not permitted on {place}: {_plain(text)}")
    if error.code == _NOT_ALLOWED:
        return QueueError(f"{place} cannot be used: {_plain(text)}")
    if "timed out" in text:
        # what we held too long is with others now; this ends nothing but our leases
        return GoneError(text)
    if "inequivalent arg" in text:
        return QueueError(
            f"{place} cannot be filled, for it was made with other settings ({_plain(text)}): "
            "name another queue, or only run what is in it"
        )
    return QueueError(f"{place}: {_plain(text)}")


_ACCESS_REFUSED: Final = 403
_NOT_ALLOWED: Final = 530


def _plain(text: str) -> str:
    return text.partition(" - ")[2] or text
