"""A network that fails on command: a proxy between a client and a server on the loopback."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Carries bytes to `target`; can cut the connections, refuse new ones, and lose the answers.

    Attributes:
        port: where to connect instead.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._servers: set[socket.socket] = set()
        self._refusing = False
        self._muted = False
        self.carried = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._over = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> int:
        """Drop all connections, as a cable that is pulled and put back; return how many."""
        with self._lock:
            return self._drop_all()

    def refuse(self) -> None:
        """Drop all connections, and new ones at once."""
        with self._lock:
            self._refusing = True
            self._drop_all()

    def accept(self) -> None:
        """Let new connections in again."""
        self._refusing = False

    def mute(self) -> None:
        """Lose the server's answers from now on; what clients send still arrives."""
        self._muted = True

    def unmute(self) -> None:
        """Cut the connections whose answers were lost, and carry everything again."""
        with self._lock:
            self._drop_all()
            # at once: who connects again at once is answered
            self._muted = False

    def close(self) -> None:
        """Cut everything and stop."""
        self._over = True
        self._wake_write.send(b"x")
        self._thread.join()
        self.cut()
        self._selector.close()
        for end in (self._listener, self._wake_read, self._wake_write):
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_all(self) -> int:
        pairs = list(self._pairs)
        for end in pairs:
            self._drop(end)
        return len(pairs) // 2

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for each in (end, other):
            self._servers.discard(each)
            with suppress(KeyError, ValueError):
                self._selector.unregister(each)
            # a reset, as from a router that has forgotten the connection
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            each.close()

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                end = key.fileobj
                if end is self._listener:
                    self._connect()
                elif end is not self._wake_read and isinstance(end, socket.socket):
                    self._carry(end)

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        if self._refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            if self._refusing:
                client.close()
                server.close()
                return
            self._pairs[client], self._pairs[server] = server, client
            self._servers.add(server)
            for end in (client, server):
                self._selector.register(end, selectors.EVENT_READ)

    def _carry(self, end: socket.socket) -> None:
        with self._lock:
            other = self._pairs.get(end)
            if other is None:
                return
            try:
                data = end.recv(CHUNK)
                if data and not (self._muted and end in self._servers):
                    other.sendall(data)
            except OSError:
                data = b""
            self.carried += len(data)
            if not data:
                self._drop(end)
