"""The connection of a driver to its hub: a thread with an event loop, a socket and the book.

A thread of its own, so that a driver whose program computes for minutes is not taken for dead, and
so that it is one connection for programs with and without an event loop, and with several.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import random
import threading
import time
import weakref
from collections import deque
from concurrent.futures import CancelledError, Future
from typing import Final

from maniple.cluster.messages import Blob, FromDriver, Submit
from maniple.driver.address import HubAddress
from maniple.driver.book import Book, GiveUp, Instruction, Offer, Send, Settle, Started
from maniple.driver.inputs import Order
from maniple.driver.parts import Parts
from maniple.driver.pauses import Pauses
from maniple.driver.phoenix import UNAUTHORIZED, Phoenix
from maniple.driver.reply import log
from maniple.driver.socket import (
    ClosedError,
    NoHubError,
    RefusedError,
    Socket,
    WentWrong,
    dial,
)
from maniple.driver.speech import Frame, Native, Speech, SpeechError
from maniple.driver.ticket import Ticket, new_id
from maniple.errors import ClusterError, ManipleError

RECONNECT_SECONDS: Final = 300.0
GOT_LINGER_SECONDS: Final = 0.01
MOST_GOT: Final = 256
CLOSE_SECONDS: Final = 3.0

_open: weakref.WeakSet[Link] = weakref.WeakSet()


class Link:
    """One driver's connection; its methods may be called from any thread.

    Args:
        address: of the hub.
        reconnect: seconds for which a lost connection is tried again.
        rng: spreads the pauses between the tries.

    Attributes:
        parts: what the hub may ask for.
        opened: resolves to the user's name when the hub has greeted, or to why it has not.
        ended: resolves when the thread is over.
    """

    def __init__(
        self,
        address: HubAddress,
        *,
        reconnect: float = RECONNECT_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        self.address = address
        self.parts = Parts()
        self.opened: Future[str] = Future()
        self.ended: Future[None] = Future()
        for future in (self.opened, self.ended):
            future.set_running_or_notify_cancel()
        self._reconnect = reconnect
        self._rng = rng or random.Random()
        self._book = Book(new_id())
        self._tickets: dict[str, Ticket] = {}
        self._inbox: deque[tuple[str, Ticket | str]] = deque()
        self._lock = threading.Lock()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._dead: BaseException | None = None
        self._speech: Speech | None = None
        self._outgoing: deque[FromDriver | Offer | Frame] = deque()
        self._offered: set[str] = set()
        self._lingering = False

    @property
    def native(self) -> bool:
        """Whether the hub speaks our own protocol, as far as is known."""
        return not isinstance(self._speech, Phoenix)

    def start(self) -> None:
        """Begin to connect; `opened` tells how that went."""
        self._thread = threading.Thread(target=self._run, name="maniple-driver", daemon=True)
        self._thread.start()
        _open.add(self)

    def submit(self, ticket: Ticket) -> None:
        """Hand a task over; its answer comes to `ticket.ended`, on the link's thread."""
        self._post("submit", ticket)

    def cancel(self, task: str) -> None:
        """Give a task up; its ticket ends with CancelledError. One that has ended is left alone."""
        self._post("cancel", task)

    def validate(self, task: str, *, is_valid: bool) -> None:
        """Tell a hub of the earlier platform what the user thinks of a result."""
        self._post("valid" if is_valid else "invalid", task)

    def stop(self) -> None:
        """End the connection, and cancel what is still unanswered; `ended` tells when."""
        if self._thread is None:
            return
        self._post("stop", "")

    def close(self) -> None:
        """End the connection and wait for that, a few seconds at most."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS + 1)

    # ---- in any thread

    def _post(self, kind: str, what: Ticket | str) -> None:
        with self._lock:
            if self._dead is None:
                self._inbox.append((kind, what))
                if self._woken or self._loop is None:
                    return
                self._woken = True
                self._loop.call_soon_threadsafe(self._take_in)
                return
        if isinstance(what, Ticket):
            what.ended.set_exception(self._dead)

    # ---- in the link's thread

    def _run(self) -> None:
        error: BaseException = ClusterError("the connection to the hub was closed")
        try:
            asyncio.run(self._main())
        except ClusterError as problem:
            error = problem
        except BaseException as problem:
            error = ClusterError(f"the driver's connection broke: {problem!r}")
            error.__cause__ = problem
        finally:
            with self._lock:
                self._dead = error
                left = [what for _, what in self._inbox if isinstance(what, Ticket)]
                self._inbox.clear()
            wanted = self._loop is not None and self._stopping.is_set()
            for ticket in (*self._tickets.values(), *left):
                ticket.ended.set_exception(CancelledError() if wanted else error)
            self._tickets.clear()
            if not self.opened.done():
                self.opened.set_exception(error)
            self.ended.set_result(None)

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self._due, self._said = asyncio.Event(), asyncio.Event()
        self._stopping = asyncio.Event()
        with self._lock:
            self._loop = loop
            self._woken = True
        self._take_in()
        talking = asyncio.create_task(self._keep_connected())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({talking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not talking.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS / 2):
                    await self._say_goodbye()
            talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        if not talking.cancelled():
            talking.result()

    async def _say_goodbye(self) -> None:
        self._said.clear()
        self._carry_out(self._book.close())
        if self._book.up and self._due.is_set():
            await self._said.wait()

    def _take_in(self) -> None:
        with self._lock:
            self._woken = False
            inbox, self._inbox = self._inbox, deque()
        for kind, what in inbox:
            if isinstance(what, Ticket):
                self._tickets[what.task] = what
                self._carry_out(self._book.submit(what.task, what.order.call))
            elif kind == "cancel":
                self._cancel(str(what))
            elif kind == "stop":
                self._stopping.set()
            elif isinstance(self._speech, Phoenix) and self._book.up:
                frame = self._speech.validation(str(what), is_valid=kind == "valid")
                self._outgoing.append(frame)
                self._due.set()

    def _cancel(self, task: str) -> None:
        ticket = self._tickets.pop(task, None)
        if ticket is not None:
            self._carry_out(self._book.cancel(task))
            ticket.ended.set_exception(CancelledError())

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Send):
                self._outgoing.append(instruction.message)
                self._due.set()
            elif isinstance(instruction, Settle):
                ticket = self._tickets.pop(instruction.task, None)
                if ticket is not None:
                    ticket.ended.set_result(instruction.answer)
            elif isinstance(instruction, Started):
                ticket = self._tickets.get(instruction.task)
                if ticket is not None:
                    ticket.attempt = instruction.attempt
            elif isinstance(instruction, Offer):
                wanted = [d for d in instruction.digests if d not in self._offered]
                if wanted:
                    self._offered.update(wanted)
                    self._outgoing.append(Offer(wanted))
                    self._due.set()
            elif isinstance(instruction, GiveUp):
                raise self._refusal(instruction.reason)

    def _refusal(self, reason: str) -> RefusedError:
        if reason == UNAUTHORIZED:
            return RefusedError.token(self.address)
        return RefusedError(f"the hub at {self.address.shown} refuses this driver: {reason}")

    async def _keep_connected(self) -> None:
        pauses = Pauses(self._reconnect, self._rng)
        warned = False
        while True:
            try:
                socket = await dial(self.address)
                try:
                    await self._converse(socket)
                finally:
                    warned = warned and not self._book.up
                    if self._book.up:
                        pauses.connected()
                    self._book.lost()
                    await socket.hang_up(goodbye=self._stopping.is_set())
            except RefusedError:
                raise
            except (WentWrong, SpeechError) as error:
                reason = error
            if not self.opened.done():
                raise NoHubError.at(self.address, reason)
            pause = pauses.failed(time.monotonic())
            if pause is None:
                raise ClusterError(
                    f"no connection to the hub at {self.address.shown} for {self._reconnect:g} s:"
                    f" {reason}"
                )
            if not warned:
                warned = True
                log.warning(
                    "connection to the hub at %s lost (%s): trying again for %g s; no task is lost",
                    self.address.shown,
                    reason,
                    self._reconnect,
                )
            await asyncio.sleep(pause)

    async def _converse(self, socket: Socket) -> None:
        """Talk until the connection is lost, which raises."""
        speech: Speech = Native()
        if not socket.native:
            speech = Phoenix(self._book.session, self._order, self.parts.get)
        self._speech = speech
        # what was not said on the last connection is in the book still
        self._outgoing.clear()
        self._offered.clear()
        self._carry_out(self._book.connected())
        jobs = [
            asyncio.create_task(self._say_all(socket, speech)),
            asyncio.create_task(self._hear_all(socket, speech)),
            asyncio.create_task(socket.watch()),
        ]
        if speech.heartbeat is not None:
            jobs.append(asyncio.create_task(self._beat(socket, speech, speech.heartbeat)))
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            ends = await asyncio.gather(*jobs, return_exceptions=True)
        # a refusal says more than that the connection is closed after it
        for kind in (RefusedError, SpeechError, WentWrong, Exception):
            for end in ends:
                if isinstance(end, kind):
                    raise end
        raise ClosedError("it was closed")

    def _order(self, task: str) -> Order | None:
        ticket = self._tickets.get(task)
        return None if ticket is None else ticket.order

    async def _say_all(self, socket: Socket, speech: Speech) -> None:
        while True:
            await self._due.wait()
            self._said.clear()
            while self._outgoing:
                item = self._outgoing.popleft()
                if isinstance(item, Offer):
                    await self._send_parts(socket, speech, item.digests)
                elif isinstance(item, str | bytes):
                    await socket.send(item)
                else:
                    if isinstance(item, Submit) and not socket.native:
                        await self._fetch_parts(item)
                    for frame in speech.say(item):
                        await socket.send(frame)
            self._due.clear()
            self._said.set()

    async def _send_parts(self, socket: Socket, speech: Speech, digests: list[str]) -> None:
        for digest in digests:
            data = await self._part(digest)
            for frame in speech.say(Blob(digest, data)):
                await socket.send(frame)
            self._offered.discard(digest)

    async def _fetch_parts(self, message: Submit) -> None:
        for digest in message.call.code.digests:
            await self._part(digest)

    async def _part(self, digest: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self.parts.get, digest)
        except ManipleError as error:
            log.warning("%s", error)
            return None

    async def _hear_all(self, socket: Socket, speech: Speech) -> None:
        while True:
            messages, answers = speech.hear(await socket.recv())
            for frame in answers:
                await socket.send(frame)
            for message in messages:
                greeted = self._book.up
                self._carry_out(self._book.received(message))
                if self._book.up and not greeted and not self.opened.done():
                    self.opened.set_result(self._book.user)
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Tell of arrived answers a little later, with others."""
        if self._book.arrived >= MOST_GOT:
            self._acknowledge_now()
        elif self._book.arrived and not self._lingering:
            self._lingering = True
            asyncio.get_running_loop().call_later(GOT_LINGER_SECONDS, self._acknowledge_now)

    def _acknowledge_now(self) -> None:
        self._lingering = False
        self._carry_out(self._book.flush())

    async def _beat(self, socket: Socket, speech: Speech, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            frame = speech.beat()
            if frame is not None:
                await socket.send(frame)


@atexit.register
def _close_all() -> None:
    for link in list(_open):
        link.close()
