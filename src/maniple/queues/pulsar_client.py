"""A client of Pulsar: connections that a thread reads, lookups, requests and their answers.

The official client for Python neither confirms acknowledgements nor lets a consumer say how many
messages it takes, and its threads do not survive a fork; so we speak the protocol ourselves.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from maniple.queues import pulsar_wire as wire
from maniple.queues.pulsar_link import (
    ANSWER_SECONDS,
    Answer,
    Handle,
    Link,
    Login,
    LostError,
    RefusedError,
    fault,
)
from maniple.queues.pulsar_wire import Code, Command

CONNECT_SECONDS: Final = 4.0
PING_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 50.0
REDIRECTS: Final = 20
AGAIN_SECONDS: Final = 0.1


class Client:
    """Connections to the brokers of one cluster, and the thread that reads them.

    Args:
        hosts: where to ask first.
        login: how to get in.
        tls: the context of TLS, or None.
        listener: name of the listener that lookups ask for, or nothing.
        direct: stay with `hosts` whatever the lookups say.
        timer: called by the thread with the lock held; it tells when (in monotonic seconds) it
            wants to be called again.

    Attributes:
        changed: the lock of all that is shared with the thread; notified when something came.
    """

    def __init__(
        self,
        hosts: list[tuple[str, int]],
        login: Login,
        *,
        tls: ssl.SSLContext | None,
        listener: str,
        direct: bool,
        timer: Callable[[float], float],
    ) -> None:
        self._hosts = hosts
        self._login = login
        self._tls = tls
        self._listener = listener
        self._direct = direct
        self._timer = timer
        self._links: dict[tuple[str, int], Link] = {}
        self._last_number = 0
        self._over = False
        self.changed = threading.Condition(threading.RLock())
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._dropped: list[Link] = []
        self._thread = threading.Thread(target=self._run, name="maniple-pulsar", daemon=True)
        self._thread.start()
        _clients.add(self)

    def number(self) -> int:
        """Give a number that nothing else of this client has."""
        with self.changed:
            self._last_number += 1
            return self._last_number

    # Requests

    def ask(
        self,
        link: Link,
        kind: Command,
        body: Callable[[int], bytes],
        handle: Handle | None = None,
    ) -> Answer:
        """Send a request, about a consumer perhaps; `body` is given its number."""
        answer = Answer(link, handle)
        request = self.number()
        with self.changed:
            if not link.alive or (handle is not None and not handle.alive):
                raise LostError("the connection was lost")
            link.waiting[request] = answer
        self.send(link, wire.command(kind, body(request)))
        return answer

    def send(self, link: Link, data: bytes) -> None:
        """Write to a broker; the lock must not be held, or what it says could not be read."""
        try:
            link.send(data)
        except LostError as error:
            with self.changed:
                self.lose(link, str(error))
            raise

    def answer(self, answer: Answer, seconds: float = ANSWER_SECONDS) -> dict[int, Any]:
        """Wait for an answer.

        Raises:
            LostError: there is none.
            RefusedError: the broker said no.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: answer.ready, seconds):
                self.lose(answer.link, f"the broker did not answer for {seconds:g} s")
            if answer.error is not None:
                raise answer.error
            return answer.body or {}

    def call(self, link: Link, kind: Command, body: Callable[[int], bytes]) -> dict[int, Any]:
        """Send a request and wait for its answer."""
        return self.answer(self.ask(link, kind, body))

    # Connections

    def link(self, place: tuple[str, int] | None = None) -> Link:
        """Give a connection to one broker, or to any."""
        reason = "no broker"
        for each in self._hosts if place is None else [place]:
            with self.changed:
                link = self._links.get(each)
            if link is not None and link.alive:
                return link
            try:
                return self._connect(each)
            except ssl.SSLCertVerificationError as error:
                # it will not be another one in a moment
                raise RefusedError(0, f"{each[0]}:{each[1]}: {error.verify_message}") from None
            except OSError as error:
                reason = f"{each[0]}:{each[1]}: {error}"
        raise LostError(reason)

    def _connect(self, place: tuple[str, int]) -> Link:
        sock = socket.create_connection(place, timeout=CONNECT_SECONDS)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=place[0])
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        link = Link(place, sock, self.changed)
        hello = wire.text(1, "maniple") + wire.number(4, wire.PROTOCOL_VERSION)
        if self._login.method:
            hello += wire.blob(3, self._login.data) + wire.text(5, self._login.method)
        with self.changed:
            if self._over:
                sock.close()
                raise LostError("the queue is closed")
            greeting = link.waiting[0] = Answer(link)
            self._selector.register(sock, selectors.EVENT_READ, link)
            self._links[place] = link
        self.send(link, wire.command(Command.CONNECT, hello))
        body = self.answer(greeting, CONNECT_SECONDS * 2)
        if body.get(2, 0) < wire.ACK_RECEIPTS_SINCE:
            raise RefusedError(0, "this broker confirms no acknowledgements: Pulsar 2.8 has them")
        link.most = body.get(3, link.most)
        return link

    def partitions(self, topic: str, *, create: bool) -> list[str]:
        """List a topic's partitions, or itself."""
        body = self.call(
            self.link(),
            Command.PARTITIONS,
            lambda request: (
                wire.text(1, topic) + wire.number(2, request) + wire.number(6, int(create))
            ),
        )
        count = body.get(1, 0)
        return [f"{topic}-partition-{n}" for n in range(count)] if count else [topic]

    def owner(self, topic: str) -> Link:
        """Give a connection to the broker that serves a topic (or partition) now."""
        link = self.link()
        sure = 0
        for _ in range(REDIRECTS):

            def body(request: int, sure: int = sure) -> bytes:
                named = wire.text(7, self._listener) if self._listener else b""
                return wire.text(1, topic) + wire.number(2, request) + wire.number(3, sure) + named

            found = self.call(link, Command.LOOKUP, body)
            kind, sure = found.get(3, 0), found.get(5, 0)
            if self._direct or found.get(8):
                return link
            url = urlsplit((found.get(2 if self._tls else 1) or b"").decode())
            if url.hostname is None:
                raise RefusedError(0, f"the broker of {topic} offers no such listener")
            link = self.link((url.hostname, url.port or link.place[1]))
            if kind == 1:
                return link
        raise LostError(f"no broker serves {topic}: each sends us to another")

    def lose(self, link: Link, reason: str) -> None:
        """Give a connection up; the thread closes its socket. Called with the lock held."""
        if link.alive:
            link.close(reason)
            if self._links.get(link.place) is link:
                del self._links[link.place]
            self._dropped.append(link)
            self.wake()

    # The thread

    def wake(self) -> None:
        """Have the thread look at its timer."""
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")

    def _run(self) -> None:
        due = 0.0
        while not self._over:
            try:
                due = self._step(due)
            except Exception as error:
                # who waits for us must hear of it, and may try again with new connections
                with self.changed:
                    for link in list(self._links.values()):
                        self.lose(link, f"the connection failed: {error!r}")
                time.sleep(AGAIN_SECONDS)

    def _step(self, due: float) -> float:
        """Do what is due and read what came; tell when something is due again."""
        now = time.monotonic()
        if now >= due:
            with self.changed:
                due = min(self._timer(now), self._pulse(now))
        events = self._selector.select(max(0.001, min(due - now, PING_SECONDS)))
        for key, _ in events:
            # what came may want attention at another time than was said before
            due = 0.0
            if key.data is None:
                with contextlib.suppress(OSError):
                    self._wake_read.recv(4096)
            elif key.data.alive:
                self._take(key.data)
        with self.changed:
            dropped, self._dropped = self._dropped, []
        for link in dropped:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(link.sock)
            link.drop()
        return due

    def _pulse(self, now: float) -> float:
        """Ask the silent whether they live."""
        for link in list(self._links.values()):
            silent = now - link.heard
            if silent > SILENT_SECONDS:
                self.lose(link, f"the broker was silent for {SILENT_SECONDS:g} s")
            elif silent > PING_SECONDS and now - link.pinged > PING_SECONDS:
                link.pinged = now
                link.offer(wire.command(Command.PING))
        return now + PING_SECONDS / 2

    def _take(self, link: Link) -> None:
        frames = link.receive()
        with self.changed:
            if frames is None:
                self.lose(link, "the connection was lost")
                return
            for frame in frames:
                try:
                    self._dispatch(link, frame)
                except (IndexError, KeyError, ValueError) as error:
                    self.lose(link, f"the broker's answer cannot be read: {error!r}")
                    return
            self.changed.notify_all()

    def _dispatch(self, link: Link, frame: bytes) -> None:
        kind, data, end = wire.unframe(frame)
        if kind == Command.MESSAGE:
            spot, bits = b"", []
            consumer = None
            for field, value in wire.fields(data):
                if field == 1:
                    consumer = link.consumers.get(value)
                elif field == 2:  # noqa: PLR2004 - the message's id
                    spot = value
                elif field == 4:  # noqa: PLR2004 - what of a container is left
                    bits.append(value)
            if consumer is not None:
                message = wire.Message(frame, end, spot)
                if bits:
                    message.acknowledged_but(bits)
                consumer.came(message)
            return
        body = dict(wire.fields(data))
        if kind == Command.SEND_RECEIPT:
            if (producer := link.producers.get(body[1])) is not None:
                producer.stored(body[2])
        elif kind == Command.SEND_ERROR:
            if (producer := link.producers.get(body[1])) is not None:
                producer.refused(fault(body[3], body[4].decode()))
        elif kind == Command.PING:
            # where there is no room for it, somebody is writing: that is a sign of life as well
            link.offer(wire.command(Command.PONG))
        elif kind in {Command.CLOSE_CONSUMER, Command.CLOSE_PRODUCER}:
            handles = link.consumers if kind == Command.CLOSE_CONSUMER else link.producers
            if (handle := handles.get(body[1])) is not None:
                link.bury(handle)
        elif kind == Command.CONNECTED:
            link.waiting.pop(0).body = body
        elif kind in wire.REQUEST_FIELD:
            self._answered(link, Command(kind), body)

    def _answered(self, link: Link, kind: Command, body: dict[int, Any]) -> None:
        request = body.get(wire.REQUEST_FIELD[kind], 0)
        if request >> 63:
            # an error that answers no request (a login that was refused) has the number -1
            request = 0
        answer = link.waiting.pop(request, None)
        if answer is None:
            return
        code, message = wire.ERROR_FIELDS.get(kind, (0, 0))
        if kind == Command.ERROR or code in body or message in body:
            answer.error = fault(body.get(code, 0), (body.get(message) or b"").decode())
            if body.get(code) == Code.CONSUMER_NOT_FOUND and answer.handle is not None:
                link.bury(answer.handle)
        else:
            answer.body = body

    def close(self) -> None:
        """End the thread and all connections."""
        with self.changed:
            if self._over:
                return
            self._over = True
            self.wake()
        self._thread.join()
        with self.changed:
            for link in list(self._links.values()):
                link.close("the queue was closed")
        for link in (*self._links.values(), *self._dropped):
            link.drop()
        self._links.clear()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def forget(self) -> None:
        """Close the copies of our sockets that a forked child has, and say nothing to anybody."""
        self._over = True
        for end in (self._wake_read, self._wake_write, *(li.sock for li in self._links.values())):
            with contextlib.suppress(OSError):
                os.close(end.detach())


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _forget_all() -> None:
    # a child that outlives us would keep our connections open, and us alive in the broker's eyes
    for client in list(_clients):
        client.forget()
    _clients.clear()


os.register_at_fork(after_in_child=_forget_all)
