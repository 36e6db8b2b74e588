"""Where the hub is, and how to get in: from a URL, the environment and `.env`.

    ws://host:port/client_socket/websocket   host:port   https://host/prefix

Variables: `WEBSOCKET_URI`, `APPLICATION_TOKEN` and, where the registry answers elsewhere,
`ALGORITHM_REPO_HOST`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from maniple.cluster.messages import DRIVER_PATH
from maniple.errors import UsageError

URI_VARIABLE: Final = "WEBSOCKET_URI"
TOKEN_VARIABLE: Final = "APPLICATION_TOKEN"  # noqa: S105 - the variable's name
REGISTRY_VARIABLE: Final = "ALGORITHM_REPO_HOST"
LOOPBACK_PORT: Final = 7070
_SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class HubAddress(msgspec.Struct, frozen=True):
    """Where a hub is.

    Attributes:
        host, port: of its server.
        secure: TLS is spoken there.
        prefix: what stands before the known paths, where a proxy serves the hub under a path.
        path: of the drivers' socket.
        registry: URL of the registry's server.
        token: an application token, or None. It is never shown.
    """

    host: str
    port: int
    secure: bool = False
    prefix: str = ""
    path: str = DRIVER_PATH
    registry: str = ""
    token: str | None = None

    @property
    def shown(self) -> str:
        """The address for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{self.prefix}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, for all that its name says."""
        return self.host in _LOCAL_HOSTS

    @property
    def socket_url(self) -> str:
        """The URL of the drivers' socket. It holds the token: not to be shown."""
        scheme = "wss" if self.secure else "ws"
        query = f"?token={quote(self.token, safe='')}" if self.token else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.prefix}{self.path}{query}"

    def __repr__(self) -> str:
        return f"HubAddress({self.shown})"


def variables(environ: Mapping[str, str] = os.environ, folder: str = ".") -> dict[str, str]:
    """Give the environment, and below it what `.env` says in `folder` or the nearest one above.

    Raises:
        UsageError: there is such a file, and it cannot be read.
    """
    at = os.path.abspath(folder)
    while True:
        path = os.path.join(at, ".env")
        if os.path.isfile(path):
            return {**_dotenv(path), **environ}
        above = os.path.dirname(at)
        if above == at:
            return dict(environ)
        at = above


def _dotenv(path: str) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {reason}") from None
    return {key: value for key, value in found.items() if value is not None}


def read_hub(
    url: str | None = None, token: str | None = None, settings: Mapping[str, str] | None = None
) -> HubAddress:
    """Put the address of a hub together.

    Args:
        url: of the hub; None: `WEBSOCKET_URI`, or else the loop-back cluster on this machine.
        token: None: the one in the URL's query, or else `APPLICATION_TOKEN`.
        settings: the environment and `.env`; None reads them.

    Raises:
        UsageError: the URL cannot be read.
    """
    known = variables() if settings is None else settings
    named = url or known.get(URI_VARIABLE) or f"localhost:{LOOPBACK_PORT}"
    scheme, mark, _ = named.partition("://")
    if mark and scheme.lower() not in _SECURE:
        raise UsageError(
            f"a hub's URL begins with ws://, wss://, http:// or https://: not {scheme}://"
        )
    secure = _SECURE[scheme.lower()] if mark else False
    try:
        parts = urlsplit(named if mark else f"ws://{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise UsageError(
            "cannot read the hub's URL: it is written ws://HOST:PORT/client_socket/websocket"
            " or HOST:PORT"
        )
    if port is None:
        port = (443 if secure else 80) if mark else LOOPBACK_PORT
    path = parts.path.rstrip("/")
    prefix, own = (path, DRIVER_PATH)
    if path.endswith(DRIVER_PATH):
        prefix = path.removesuffix(DRIVER_PATH)
    elif path and scheme.lower() in {"ws", "wss"}:
        prefix, own = "", path
    secret = token or next(iter(parse_qs(parts.query).get("token", [])), None)
    address = HubAddress(
        host, port, secure, prefix, own, token=secret or known.get(TOKEN_VARIABLE) or None
    )
    registry = known.get(REGISTRY_VARIABLE) or address.shown
    if "://" not in registry:
        registry = f"{'https' if secure else 'http'}://{registry}"
    return msgspec.structs.replace(address, registry=registry.rstrip("/"))
