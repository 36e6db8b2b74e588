"""Whom the hub lets in: no web page of somebody else's may drive a cluster from a user's browser.

A browser names the page's origin in WebSocket handshakes and in requests that change something
(RFC 6454); it must be the hub's own address. A page can also point a name of its own at this
machine ("DNS rebinding"), so a hub that listens on a loop-back address answers to names of that
only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

_LOCAL: Final = "localhost"
_MOST_SHOWN: Final = 100


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens there."""
    if host == _LOCAL:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """Judges requests by their headers.

    Args:
        host: the address that the hub listens on.
    """

    def __init__(self, host: str) -> None:
        self._local = is_loopback(host)

    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Say in a sentence why a request is not let in; None: it is."""
        host = origin = ""
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        asked = _split(f"//{host}").hostname or ""
        if self._local and not is_loopback(asked):
            return (
                f"this hub answers to localhost only, not to {asked[:_MOST_SHOWN]!r};"
                " start it with --bind to be reached from elsewhere"
            )
        if origin and _split(origin).netloc.lower() != host.lower():
            return f"pages of {origin[:_MOST_SHOWN]} may not use this hub"
        return None


def _split(url: str) -> SplitResult:
    """Take a URL apart; one that cannot be is nobody's."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
