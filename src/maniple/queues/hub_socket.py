"""One WebSocket connection to a hub, driven from outside: nothing here waits but the handshake.

The library's part without input and output is used (`websockets.client.ClientProtocol`), so that a
message costs one wake-up of one thread on its way to the minion.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from maniple.cluster.messages import LARGEST_FRAME, SUBPROTOCOL
from maniple.errors import ClusterError, UsageError
from maniple.plugins import missing_extra
from maniple.queues.hub_place import Place

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.http11 import Response
    from websockets.protocol import Event

HANDSHAKE_SECONDS: Final = 10.0
CHUNK: Final = 1 << 18
_SHOWN: Final = 200
_UNAUTHORIZED: Final = frozenset({401, 403})
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429
_GOODBYE: Final = 1000
_NOT_READY: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# the library would write addresses, and with them the token, to a log that shows everything
_SILENT: Final = logging.getLogger("maniple.hub.socket")
_SILENT.setLevel(logging.CRITICAL)


class LostError(Exception):
    """The connection is gone, or could not be made; it may be tried again."""


class Socket:
    """An open connection.

    Args:
        raw: connected, with TLS where needed.
        protocol: the handshake is done.
        early: what came with the handshake's answer.
    """

    def __init__(
        self, raw: socket.socket, protocol: ClientProtocol, early: Sequence[Event] = ()
    ) -> None:
        self._raw = raw
        self._protocol = protocol
        self._lock = threading.Lock()
        self._out: deque[memoryview] = deque()
        self._parts: list[bytes | bytearray | memoryview] = []
        self._early = self._messages(early)
        raw.setblocking(False)

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._raw.fileno()

    @property
    def _open(self) -> bool:
        return self._protocol.state.name == "OPEN"

    @property
    def sending(self) -> bool:
        """Something waits until the other side takes more."""
        return bool(self._out)

    def send(self, messages: Iterable[bytes]) -> bool:
        """Send binary messages, without waiting; safe from any thread.

        Returns:
            Whether all of it has gone; otherwise call `flush` when the socket is writable. What a
            closed connection does not take is lost: whoever cares says it again on the next.
        """
        with self._lock:
            if not self._open:
                return True
            for message in messages:
                self._protocol.send_binary(message)
            self._flush()
            return not self._out

    def ping(self) -> None:
        """Ask for a sign of life."""
        with self._lock:
            if self._open:
                self._protocol.send_ping(b"")
                self._flush()

    def flush(self) -> int:
        """Send on what waits; return how many bytes have gone."""
        with self._lock:
            return self._flush()

    def _flush(self) -> int:
        out, gone = self._out, 0
        out += (memoryview(piece) for piece in self._protocol.data_to_send() if piece)
        try:
            while out:
                sent = self._raw.send(out[0][:CHUNK])
                gone += sent
                if sent == len(out[0]):
                    out.popleft()
                else:
                    out[0] = out[0][sent:]
        except _NOT_READY:
            pass
        except OSError:
            # the one who receives will notice
            out.clear()
        return gone

    def receive(self) -> list[bytes]:
        """Take the messages that have come, without waiting.

        Raises:
            LostError: the connection is over.
        """
        messages, self._early = self._early, []
        with self._lock:
            try:
                while True:
                    data = self._raw.recv(CHUNK)
                    if not data:
                        raise LostError("the hub has closed the connection")
                    self._protocol.receive_data(data)
                    if len(data) < CHUNK and not isinstance(self._raw, ssl.SSLSocket):
                        break
            except _NOT_READY:
                pass
            except OSError as error:
                raise LostError(error.strerror or str(error)) from None
            messages += self._messages(self._protocol.events_received())
            self._flush()
            if not (self._open or messages):
                raise LostError(_reason(self._protocol))
        return messages

    def _messages(self, events: Iterable[Event]) -> list[bytes]:
        from websockets.frames import DATA_OPCODES, Frame

        found: list[bytes] = []
        for event in events:
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                self._parts.append(event.data)
                if event.fin:
                    found.append(b"".join(self._parts))
                    self._parts.clear()
        return found

    @property
    def waiting(self) -> bool:
        """Something has been received before anybody asked."""
        return bool(self._early)

    def close(self, *, goodbye: bool) -> None:
        """Close, and do not wait for anything.

        Args:
            goodbye: say first that we do not come back.
        """
        with self._lock:
            if goodbye and self._open:
                self._protocol.send_close(_GOODBYE)
                self._flush()
            self._raw.close()


def _reason(protocol: ClientProtocol) -> str:
    close = protocol.close_rcvd
    if protocol.parser_exc is not None:
        return f"the hub does not speak the protocol: {protocol.parser_exc}"
    text = close.reason if close is not None else ""
    return f"the hub has closed the connection{f': {text}' if text else ''}"


def connect(place: Place) -> Socket:
    """Connect to a hub.

    Raises:
        LostError: nobody answers, or not now.
        ClusterError: the hub refuses us, or what answers is no hub.
        UsageError: a file for TLS cannot be used.
        MissingExtraError: websockets is not installed.
    """
    try:
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri
    except ImportError:
        raise missing_extra("websockets", "a hub") from None
    context = _tls(place) if place.secure else None
    raw: socket.socket | None = None
    try:
        raw = socket.create_connection((place.host, place.port), HANDSHAKE_SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            raw = context.wrap_socket(raw, server_hostname=place.host)
        protocol = ClientProtocol(
            parse_uri(place.uri),
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            max_size=LARGEST_FRAME,
            logger=_SILENT,
        )
        early = _shake_hands(raw, protocol, place)
    except BaseException as error:
        if raw is not None:
            raw.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise ClusterError(
                f"the certificate of {place.shown} is not good: {error.verify_message}"
            ) from None
        if isinstance(error, OSError):
            raise LostError(error.strerror or str(error)) from None
        raise
    return Socket(raw, protocol, early)


def _tls(place: Place) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=place.ca)
        if place.cert is not None:
            context.load_cert_chain(place.cert, place.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"a file for TLS to {place.shown} cannot be used: {error}") from None
    return context


def _shake_hands(raw: socket.socket, protocol: ClientProtocol, place: Place) -> list[Event]:
    from websockets.http11 import Response

    protocol.send_request(protocol.connect())
    for piece in protocol.data_to_send():
        raw.sendall(piece)
    while True:
        data = raw.recv(CHUNK)
        if not data:
            raise LostError("the hub has closed the connection")
        protocol.receive_data(data)
        events = protocol.events_received()
        if events:
            assert isinstance(events[0], Response)  # noqa: S101 - it comes before any frame
            _check(events[0], protocol, place)
            return events[1:]
        if protocol.handshake_exc is not None:
            raise ClusterError(f"there is no hub at {place.shown}: what answers there is no HTTP")


def _check(answer: Response, protocol: ClientProtocol, place: Place) -> None:
    status = answer.status_code
    if protocol.handshake_exc is None:
        if protocol.subprotocol == SUBPROTOCOL:
            return
        raise ClusterError(f"{place.shown} is a hub that does not speak {SUBPROTOCOL}")
    if status >= _SERVER_ERROR or status == _TOO_MANY:
        raise LostError(f"HTTP status {status}")
    if status in _UNAUTHORIZED:
        text = bytes(answer.body or b"").decode("utf-8", "replace").strip()
        said = " ".join(text.split())[:_SHOWN]
        hint = "give a good one with ?token=, or in MANIPLE_TOKEN"
        what = "its token" if place.token else "a worker without a token"
        raise ClusterError(f"{place.shown} refuses {what}{f' ({said})' if said else ''}: {hint}")
    raise ClusterError(
        f"there is no hub at {place.shown} (HTTP status {status}): look at host, port and path"
    )
