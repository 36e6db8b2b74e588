"""The thread that holds a worker's connection to its hub, and makes it again when it is lost."""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from maniple.cluster.messages import HEARTBEAT_SECONDS
from maniple.errors import ManipleError
from maniple.persist import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, SPREAD
from maniple.queues.hub_place import Place
from maniple.queues.hub_socket import LostError, Socket, connect

SILENT_SECONDS: Final = 3 * HEARTBEAT_SECONDS
PROVEN_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 0.3


class Station(Protocol):
    """Who uses the wire; all calls come in its thread."""

    def opened(self) -> None:
        """Greet the hub: there is a new connection."""
        ...

    def heard(self, message: bytes) -> None:
        """Take a message.

        Raises:
            ManipleError: there is no sense in going on.
        """
        ...

    def tick(self, now: float) -> float:
        """Do what is due; tell when there is more to do."""
        ...

    def lost(self, why: str) -> None:
        """Note that there is no connection."""
        ...

    def broken(self, error: ManipleError) -> None:
        """Note that there will be none any more."""
        ...


class Wire:
    """A connection that comes back by itself.

    Args:
        place: of the hub.
        station: is told what happens.
        clock: seconds that only grow.
        rng: spreads the pauses between attempts, so that a fleet does not come back at once.
    """

    def __init__(
        self,
        place: Place,
        station: Station,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._place = place
        self._station = station
        self._clock = clock
        self._rng = rng or random.Random()
        self._socket: Socket | None = None
        self._over = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="maniple-hub", daemon=True)
        # signals are for the main thread: what waits there must wake up
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, messages: Iterable[bytes]) -> None:
        """Send messages now, or never where there is no connection; safe from any thread."""
        connection = self._socket
        if connection is not None and not connection.send(messages):
            self.wake()

    def wake(self) -> None:
        """Have the thread look for what is due."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._over = True
        self.wake()
        self._thread.join(LEAVE_SECONDS)
        if not self._thread.is_alive():
            # otherwise it is in the middle of a handshake, and ends with the process
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while not self._over:
                began = self._clock()
                try:
                    self._hold(connect(self._place))
                except LostError as lost:
                    self._station.lost(str(lost))
                if self._clock() - began > PROVEN_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                if not self._over:
                    self._nap(pause * (1 - SPREAD * self._rng.random()))
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        except ManipleError as error:
            self._station.broken(error)
        except Exception as error:
            self._station.broken(ManipleError(f"{self._place.shown}: {error!r}"))

    def _nap(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._over and (left := until - self._clock()) > 0:
            select.select([self._wake_read], [], [], left)
            self._drain()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _hold(self, connection: Socket) -> None:
        """Serve a connection until it is lost, or we are told to close it."""
        self._socket = connection
        try:
            self._station.opened()
            self._serve(connection)
        finally:
            self._socket = None
            connection.close(goodbye=self._over)

    def _serve(self, connection: Socket) -> None:
        station, clock = self._station, self._clock
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.register(connection, select.POLLIN)
        writing = False
        lived = asked = clock()
        readable = connection.waiting
        while not self._over:
            if readable:
                for message in connection.receive():
                    station.heard(message)
            now = clock()
            due = station.tick(now)
            if now - asked >= HEARTBEAT_SECONDS:
                asked = now
                connection.ping()
            if now - lived >= SILENT_SECONDS:
                raise LostError(f"the hub has been silent for {SILENT_SECONDS:g} s")
            if connection.sending is not writing:
                writing = not writing
                events = select.POLLIN | (select.POLLOUT if writing else 0)
                poll.modify(connection, events)
            wait = min(due, asked + HEARTBEAT_SECONDS) - now
            ready = dict(poll.poll(max(0.0, wait) * 1000))
            if self._wake_read in ready:
                self._drain()
            state = ready.get(connection.fileno(), 0)
            readable = bool(state & ~select.POLLOUT)
            # a big answer on its way keeps pongs from coming, and is as good a sign
            if readable or (state and connection.flush()):
                lived = clock()
