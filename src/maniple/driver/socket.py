"""The WebSocket of a driver: how it is opened, watched and closed, and what can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from typing import Any, Final, Self

from maniple.cluster.messages import HEARTBEAT_SECONDS, LARGEST_FRAME, SUBPROTOCOL
from maniple.driver.address import TOKEN_VARIABLE, HubAddress
from maniple.driver.speech import Frame
from maniple.errors import ClusterError
from maniple.plugins import missing_extra

OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
SILENT_BEATS: Final = 3
_UNAUTHORIZED: Final = frozenset({401, 403})

# the library's own log would show the token, which is part of the URL
_quiet: Final = logging.getLogger("maniple.driver.socket")
_quiet.setLevel(logging.CRITICAL)


class NoHubError(ClusterError, ConnectionError):
    """Nobody answers there, or somebody who is no hub."""

    @classmethod
    def at(cls, address: HubAddress, reason: object) -> Self:
        """Word it: where, why, and what to do."""
        start = (
            "start one on this machine with: maniple loopback"
            if address.local
            else "is the address right, and the hub running?"
        )
        return cls(f"no hub at {address.shown}: {reason}; {start}")


class RefusedError(ClusterError):
    """The hub is there and does not take this driver."""

    @classmethod
    def token(cls, address: HubAddress) -> Self:
        """Word that the token is bad, without showing it."""
        return cls(
            f"unauthorized: the hub at {address.shown} does not take this application token:"
            f" check {TOKEN_VARIABLE}"
            if address.token
            else f"unauthorized: the hub at {address.shown} wants an application token:"
            f" set {TOKEN_VARIABLE}"
        )


class WentWrong(Exception):  # noqa: N818 - it is what happened to a connection, not to a user
    """This connection did not come about, or is over; another one may do better."""


class ClosedError(WentWrong):
    """The connection is over."""


class Socket:
    """One connection.

    Attributes:
        native: the hub speaks our own protocol.
    """

    def __init__(self, connection: Any, over: type[Exception]) -> None:
        self._connection = connection
        self._over = over
        self.native: bool = connection.subprotocol == SUBPROTOCOL

    async def send(self, frame: Frame) -> None:
        """Send a frame; this waits while the hub is slow to read.

        Raises:
            ClosedError: the connection is over.
        """
        try:
            await self._connection.send(frame)
        except self._over as error:
            raise _closed(error) from None

    async def recv(self) -> Frame:
        """Wait for a frame.

        Raises:
            ClosedError: the connection is over.
        """
        try:
            frame: Frame = await self._connection.recv()
        except self._over as error:
            raise _closed(error) from None
        return frame

    async def watch(self) -> None:
        """Ping the hub; return when it has been silent for too long.

        Raises:
            ClosedError: the connection is over.
        """
        connection, silent = self._connection, 0
        heard, unsent = connection.heard, 0
        ping = asyncio.create_task(self._ping())
        while silent < SILENT_BEATS:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if ping.done():
                ping = asyncio.create_task(self._ping())
            now = connection.heard, connection.transport.get_write_buffer_size()
            # what goes out shows as well that somebody is there: a pong may be far behind it
            silent = 0 if now[0] != heard or now[1] < unsent else silent + 1
            heard, unsent = now
        ping.cancel()
        raise ClosedError(f"silent for {SILENT_BEATS * HEARTBEAT_SECONDS:g} s")

    async def hang_up(self, *, goodbye: bool) -> None:
        """End the connection: with a closing handshake, for good, or by cutting it off."""
        if goodbye:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._connection.close()
        self._connection.transport.abort()

    async def _ping(self) -> None:
        with contextlib.suppress(Exception):
            await (await self._connection.ping())


async def dial(address: HubAddress) -> Socket:
    """Open a connection.

    Raises:
        RefusedError: the token is bad.
        WentWrong: nobody answers, or nobody who can be talked to.
    """
    try:
        from websockets.asyncio.client import ClientConnection, connect
        from websockets.exceptions import (
            ConnectionClosed,
            InvalidHandshake,
            InvalidStatus,
            WebSocketException,
        )
        from websockets.typing import Subprotocol
    except ImportError:
        raise missing_extra("websockets", "a driver") from None

    class Connection(ClientConnection):
        heard = 0

        def data_received(self, data: bytes) -> None:
            self.heard += 1
            super().data_received(data)

    options: dict[str, Any] = {"proxy": None} if address.local else {}
    try:
        connection = await connect(
            address.socket_url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            create_connection=Connection,
            compression=None,
            max_size=LARGEST_FRAME,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            logger=_quiet,
            **options,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if status in _UNAUTHORIZED:
            raise RefusedError.token(address) from None
        raise WentWrong(f"it answers HTTP {status}") from None
    except ssl.SSLError as error:
        raise WentWrong(f"TLS fails: {error.reason or error}") from None
    except TimeoutError:
        raise WentWrong(f"no answer for {OPEN_SECONDS:g} s") from None
    except OSError as error:
        raise WentWrong(_reason(error)) from None
    except InvalidHandshake as error:
        raise WentWrong(f"it is no WebSocket server: {_line(error)}") from None
    except (WebSocketException, EOFError) as error:
        raise WentWrong(_line(error)) from None
    return Socket(connection, ConnectionClosed)


def _closed(error: Any) -> ClosedError:
    said = error.rcvd
    if said is None:
        return ClosedError("cut off")
    return ClosedError(f"closed by the hub{f': {said.reason}' if said.reason else ''}")


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "connection refused"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return (error.strerror or _line(error)).lower()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
