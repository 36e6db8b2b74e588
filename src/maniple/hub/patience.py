"""The WebSocket protocol of the web server, with patience for drivers of the earlier platform."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from maniple.cluster.messages import SUBPROTOCOL


class PatientProtocol(WebSocketsSansIOProtocol):
    """Does not take a silent driver of the earlier platform for dead.

    They answer pings from the event loop that computes, too, and never connect again. Our own peers
    answer from a thread, and come back.
    """

    def start_keepalive(self) -> None:
        """Begin with pings once the handshake is done."""
        response: Any = self.response
        if response.headers.get("Sec-WebSocket-Protocol") != SUBPROTOCOL:
            self.ping_timeout = None
        super().start_keepalive()
