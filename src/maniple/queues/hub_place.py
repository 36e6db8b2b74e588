"""Where a hub is: what the URL of the queue `hub:` and the environment say of it.

    hub:ws://HOST:PORT/socket/websocket?token=TOKEN     hub:wss://HOST     hub:HOST:PORT

The address that drivers use leads to the same hub. The token may come from the environment instead
(`MANIPLE_TOKEN`, `APPLICATION_TOKEN`), where other users of the machine do not see it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from maniple.address import read_address
from maniple.cluster.messages import DRIVER_PATH, WORKER_PATH
from maniple.errors import UsageError

LOOPBACK_PORT: Final = 7070
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_SAME: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TOKENS: Final = ("MANIPLE_TOKEN", "APPLICATION_TOKEN")


class Place(msgspec.Struct, frozen=True):
    """The address of a hub's socket for workers.

    Attributes:
        secure: with TLS.
        host, port: where it listens.
        path: of the socket, without its query.
        token: who we are, or None.
        ca, cert, key: files for TLS (`?ca=`, `?cert=`, `?key=`, or `HUB_CA` ...), or None.
        reconnect: seconds after which a lost connection is an error (`?reconnect=`); None: never.
    """

    secure: bool
    host: str
    port: int
    path: str
    token: str | None
    ca: str | None
    cert: str | None
    key: str | None
    reconnect: float | None

    @property
    def shown(self) -> str:
        """The address for messages: without the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}{self.path}"

    @property
    def uri(self) -> str:
        """The address for the handshake."""
        query = f"?token={quote(self.token, safe='')}" if self.token else ""
        return self.shown + query

    def __repr__(self) -> str:
        return f"Place({self.shown})"


def read_place(rest: str, environ: Mapping[str, str] | None = None) -> Place:
    """Read what follows `hub:` in a queue's URL.

    Args:
        rest: a WebSocket's URL, or HOST:PORT.
        environ: the environment; the process's own by default.

    Raises:
        UsageError: it is malformed; no token is in the message.
    """
    environ = os.environ if environ is None else environ
    match = _SCHEME.match(rest)
    named = "ws" if match is None else match[1].lower()
    if named not in _SAME:
        raise UsageError(f"a hub is at ws://HOST:PORT or wss://HOST, not at {named}://")
    scheme = _SAME[named]
    bare = rest.removeprefix("//") if match is None else rest[match.end() :]
    if not bare:
        raise UsageError("which hub? write hub:HOST:PORT, or hub:wss://HOST")
    address = read_address(
        scheme,
        f"//{bare}",
        prefix="HUB",
        port=LOOPBACK_PORT if match is None else _DEFAULT_PORTS[scheme],
        options=("token",),
        environ=environ,
    )
    if len(address.hosts) != 1:
        raise UsageError(f"one hub is needed, not {address.shown}")
    if address.user is not None or address.password is not None:
        raise UsageError(f"a hub takes a token, no user: write {address.shown}?token=TOKEN")
    path = "".join(f"/{quote(part)}" for part in address.path)
    if path.endswith(DRIVER_PATH):
        # what `maniple loopback` prints is for drivers; a worker's socket is beside it
        path = path.removesuffix(DRIVER_PATH) + WORKER_PATH
    elif not path or named in {"http", "https"}:
        path = path.removesuffix(WORKER_PATH) + WORKER_PATH
    ((host, port),) = address.hosts
    from_environment = next((environ[name] for name in _TOKENS if environ.get(name)), None)
    return Place(
        secure=scheme == "wss",
        host=host,
        port=port,
        path=path,
        token=address.options.get("token") or from_environment,
        ca=address.ca,
        cert=address.cert,
        key=address.key,
        reconnect=address.reconnect if re.search(r"[?&]reconnect=", bare) else None,
    )
