"""The hub as one ASGI application: its sockets, and its HTTP interface."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from maniple.cluster.messages import DRIVER_PATH, SUBPROTOCOL, WORKER_PATH, Refused
from maniple.hub.api import Api
from maniple.hub.exchange import Exchange
from maniple.hub.gate import Gate
from maniple.hub.native import DriverPeer, WorkerPeer
from maniple.hub.registry import Registry
from maniple.hub.rooms import RoomsPeer
from maniple.hub.rules.orders import Send
from maniple.hub.socket import POLICY, Receive, Scope, Socket, Transmit

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
UPGRADE_REQUIRED: Final = 426
BAD_TOKEN: Final = "unauthorized: check the token"  # noqa: S105 - a sentence


class Hub:
    """Answers HTTP requests and WebSockets.

    Args:
        exchange: drivers and workers.
        registry: algorithms.
        gate: whom to let in.
    """

    def __init__(self, exchange: Exchange, registry: Registry, gate: Gate) -> None:
        self._exchange = exchange
        self._gate = gate
        self._http = Api(exchange, registry).app()

    async def __call__(self, scope: Scope, receive: Receive, transmit: Transmit) -> None:
        """Serve one connection (ASGI 3)."""
        refusal = self._gate.refusal(scope["headers"])
        if scope["type"] == "websocket":
            # a socket's messages do not pass through the web framework: they are many
            await self._socket(scope, receive, transmit, refusal)
        elif refusal is not None:
            await _refuse(transmit, "http", FORBIDDEN, refusal)
        else:
            await self._http(scope, receive, transmit)

    async def _socket(
        self, scope: Scope, receive: Receive, transmit: Transmit, refusal: str | None
    ) -> None:
        await receive()
        path = scope["path"].rstrip("/")
        native = SUBPROTOCOL in scope["subprotocols"]
        if refusal is not None:
            await _refuse(transmit, "websocket.http", FORBIDDEN, refusal)
        elif path not in {DRIVER_PATH, WORKER_PATH}:
            await _refuse(transmit, "websocket.http", NOT_FOUND, f"no socket is at {path[:200]}")
        elif path == WORKER_PATH and not native:
            reason = f"workers must speak {SUBPROTOCOL} (Sec-WebSocket-Protocol)"
            await _refuse(transmit, "websocket.http", UPGRADE_REQUIRED, reason)
        else:
            protocol = SUBPROTOCOL if native else None
            await transmit({"type": "websocket.accept", "subprotocol": protocol})
            await self._talk(scope, Socket(receive, transmit), native=native, path=path)

    async def _talk(self, scope: Scope, socket: Socket, *, native: bool, path: str) -> None:
        exchange = self._exchange
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        user = exchange.identity.user(token)
        if not native:
            own = frozenset(
                value.decode("latin-1") for name, value in scope["headers"] if name == b"host"
            )
            await RoomsPeer(exchange, socket, user, own).serve()
            return
        kind = DriverPeer if path == DRIVER_PATH else WorkerPeer
        peer = kind(exchange, socket, "" if user is None else user.uuid)
        if user is None:
            peer.post(Send(0, Refused(BAD_TOKEN)))
            socket.close(POLICY, "unauthorized")
            await socket.end()
        else:
            await peer.serve()


async def _refuse(transmit: Transmit, kind: str, status: int, reason: str) -> None:
    start, body = (f"{kind}.response.{part}" for part in ("start", "body"))
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await transmit({"type": start, "status": status, "headers": headers})
    await transmit({"type": body, "body": f"{reason}\n".encode()})
