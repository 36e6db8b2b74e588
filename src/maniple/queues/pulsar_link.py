"""One connection to a Pulsar broker: bytes out, frames in, and who waits for which answer."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from typing import Any, Final

from maniple.queues import pulsar_wire as wire

ANSWER_SECONDS: Final = 30.0
_CHUNK: Final = 1 << 18


class LostError(Exception):
    """A connection is gone, or the broker cannot serve just now: try again."""


class RefusedError(Exception):
    """The broker said no, and will say so again.

    Attributes:
        code: of the error.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


def fault(code: int, message: str) -> Exception:
    """Make the exception of a broker's error."""
    line = " ".join(message.split())
    return LostError(line) if code in wire.TRANSIENT else RefusedError(code, line)


class Login:
    """How to get in. It is never shown.

    Args:
        method: `token`, `basic`, `tls` or nothing.
        data: what proves who we are.
    """

    __slots__ = ("data", "method")

    def __init__(self, method: str, data: bytes) -> None:
        self.method = method
        self.data = data


class Handle:
    """A consumer or a producer of one topic, on one connection; once dead, it stays so."""

    def __init__(self, link: Link, topic: str, number: int) -> None:
        self.link = link
        self.topic = topic
        self.number = number
        self.alive = True

    def died(self) -> None:
        """Note that the broker knows us no more; called with the lock held."""
        self.alive = False


class Answer:
    """What a request waits for; `handle` is what it was about, if anything."""

    __slots__ = ("body", "error", "handle", "link")

    def __init__(self, link: Link, handle: Handle | None = None) -> None:
        self.link = link
        self.handle = handle
        self.body: dict[int, Any] | None = None
        self.error: Exception | None = None

    @property
    def ready(self) -> bool:
        """Tell whether the answer, or bad news, is there."""
        return self.body is not None or self.error is not None


class Link:
    """One connection to one broker."""

    def __init__(
        self, place: tuple[str, int], sock: socket.socket, changed: threading.Condition
    ) -> None:
        self.place = place
        self.sock = sock
        self.most = 5 << 20
        self.alive = True
        self.heard = time.monotonic()
        self.pinged = self.heard
        self.waiting: dict[int, Answer] = {}
        self.consumers: dict[int, Any] = {}
        self.producers: dict[int, Any] = {}
        self._changed = changed
        self._buffer = bytearray()
        # one TLS connection must not be read and written at the same time
        self._io = threading.Lock()
        self._turn = threading.Lock()

    def send(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            LostError: the connection is gone.
        """
        view = memoryview(data)
        until = time.monotonic() + ANSWER_SECONDS
        with self._turn:
            while view:
                try:
                    with self._io:
                        sent = self.sock.send(view)
                    view = view[sent:]
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._writable(until)
                except (OSError, ValueError) as error:
                    raise LostError(str(error) or "the connection was closed") from None

    def offer(self, data: bytes) -> bool:
        """Write a short command unless that would mean to wait; tell whether it was written."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            with self._io:
                sent = self.sock.send(data)
        except (OSError, ValueError):
            # full (BlockingIOError and what TLS makes of it are of this kind), or gone
            return False
        finally:
            self._turn.release()
        if sent < len(data):
            self.send(data[sent:])
        return True

    def _writable(self, until: float) -> None:
        if not self.alive or time.monotonic() > until:
            raise LostError("the broker takes nothing more")
        with contextlib.suppress(OSError, ValueError), selectors.PollSelector() as poll:
            poll.register(self.sock, selectors.EVENT_WRITE)
            poll.select(0.5)

    def receive(self) -> list[bytes] | None:
        """Read what is there: whole frames, or None when the connection is gone."""
        try:
            with self._io:
                data = self.sock.recv(_CHUNK)
                while data and isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                    # what the TLS layer holds already wakes no selector
                    self._buffer += data
                    data = self.sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return []
        except (OSError, ValueError):
            return None
        if not data:
            return None
        self.heard = time.monotonic()
        self._buffer += data
        return list(wire.frames(self._buffer))

    def bury(self, handle: Handle) -> None:
        """Note that the broker knows a consumer or producer no more; with the lock held."""
        self.consumers.pop(handle.number, None)
        self.producers.pop(handle.number, None)
        handle.died()
        for request, answer in list(self.waiting.items()):
            if answer.handle is handle:
                answer.error = LostError("the broker has closed the topic")
                del self.waiting[request]

    def close(self, reason: str) -> None:
        """End it and all that depends on it; called with the client's lock held."""
        self.alive = False
        for handle in (*self.consumers.values(), *self.producers.values()):
            handle.died()
        self.consumers.clear()
        self.producers.clear()
        for answer in self.waiting.values():
            answer.error = LostError(reason)
        self.waiting.clear()
        self._changed.notify_all()

    def drop(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()
