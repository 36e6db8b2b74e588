"""A connection to NATS in a thread of its own: many questions at once, and never deaf.

The client library can connect again by itself, but it sends then what had been meant for the old
connection, and gives up for good at some errors of the server. So each connection is a client of
its own here, and what was under way when one is lost fails with `LostError`.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from maniple.errors import QueueError, StorageError
from maniple.queues.nats_login import (
    CLOSE_SECONDS,
    TROUBLE,
    Client,
    Hear,
    Login,
    Msg,
    connect,
    end,
    line,
    refusal,
)

ANSWER_SECONDS: Final = 10.0
CANCELS: Final = 10
LONGEST_PAUSE_SECONDS: Final = 1.0
WINDOW: Final = 1024
NO_RESPONDERS: Final = "503"
_Answer = TypeVar("_Answer")


class LostError(Exception):
    """The connection is gone, or was for a moment."""


class Question(NamedTuple):
    """A message that is answered."""

    subject: str
    data: bytes = b""
    headers: dict[str, str] | None = None


class _Batch:
    """Questions under way; `enough` is set when no more than `goal` answers are missing."""

    __slots__ = ("answers", "enough", "error", "goal", "left")

    def __init__(self, size: int) -> None:
        self.answers: list[Msg | None] = [None] * size
        self.left = size
        self.goal = 0
        self.enough = asyncio.Event()
        self.error: BaseException | None = None

    def take(self, index: int, message: Msg) -> None:
        if self.answers[index] is None:
            self.answers[index] = message
            self.left -= 1
            if self.left <= self.goal:
                self.enough.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.enough.set()


class Link:
    """One process's line to the servers.

    Args:
        login: where and who.

    Attributes:
        server: the id of the server process we are connected to; another after each of its starts.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="maniple-nats", daemon=True)
        self._client: Client | None = None
        self._why: BaseException = LostError("not connected")
        self._inbox = f"_INBOX.{secrets.token_hex(11)}."
        self._heard: dict[str, Hear] = {f"{self._inbox}a.*.*": self._answered}
        self._batches: dict[str, _Batch] = {}
        self._last_batch = 0
        self._last_inbox = 0
        self._connected = asyncio.Event()
        self._gone = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._losers: list[Callable[[], None]] = []
        self.server = ""

    # Called from outside of the loop

    def open(self, seconds: float) -> None:
        """Connect; try for so many seconds where nobody answers.

        Raises:
            QueueError: we are not let in.
            StorageError: nobody answers.
        """
        # signals are for the main thread: what waits there must wake up
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            self.run(self._connect_first(seconds))
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Do something in the loop and wait for it."""
        if not self._thread.is_alive():
            work.close()
            raise StorageError(f"the queue {self._login.shown} is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the connection and the thread. May be called again."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop)
            self._thread.join()
        if not self._loop.is_closed():
            self._loop.close()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _shut(self) -> None:
        await _cancel(self._tasks)
        client, self._client = self._client, None
        if client is not None:
            await end(client)
        self._losing()
        current = asyncio.current_task()
        await _cancel({task for task in asyncio.all_tasks(self._loop) if task is not current})
        self._loop.stop()

    # Connecting

    async def _connect_first(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                await self._connect()
                break
            except TROUBLE as error:
                fatal = refusal(error, self._login.shown)
                if fatal is not None:
                    raise fatal from None
                if time.monotonic() >= until:
                    raise StorageError(
                        f"no NATS server answers at {self._login.shown}: {line(error)}"
                    ) from None
                await asyncio.sleep(0.2)
        self.start(self._stay())

    async def _connect(self) -> None:
        """Try each host once."""
        trouble: BaseException = LostError("no host")
        for host, port in self._login.hosts:
            try:
                await self._connect_to(host, port)
            except TROUBLE as error:
                trouble = error
                if refusal(error, self._login.shown) is not None:
                    break
            else:
                return
        raise trouble

    async def _connect_to(self, host: str, port: int) -> None:
        client = await connect(
            self._login, host, port, heard=self._heard, note=self._note, closed=self._lost
        )
        self._client = client
        self.server = client._server_info.get("server_id", "")  # noqa: SLF001 - nowhere else
        self._gone.clear()
        self._connected.set()

    async def _note(self, error: Exception) -> None:
        self._why = error
        if "permissions violation" in str(error).lower():
            self._fail(QueueError(f"{self._login.shown} does not permit it: {line(error)}"))

    async def _stay(self) -> None:
        """Connect again whenever the connection is lost."""
        pause = 0.0
        while True:
            await self._gone.wait()
            try:
                await asyncio.sleep(pause * (0.6 + 0.4 * secrets.randbelow(100) / 100))
                await self._connect()
                pause = 0.0
            except TROUBLE as error:
                self._why = error
                pause = min(max(0.05, pause * 2), LONGEST_PAUSE_SECONDS)

    def _lost(self, client: Client) -> None:
        if client is self._client:
            self._client = None
            self._connected.clear()
            self._losing()
            self._gone.set()

    def _losing(self) -> None:
        self._fail(LostError(line(self._why)))
        for loser in list(self._losers):
            loser()

    def _fail(self, error: BaseException) -> None:
        batches, self._batches = list(self._batches.values()), {}
        for batch in batches:
            batch.fail(error)

    async def drop(self, why: str) -> None:
        """Give the connection up: it does not answer."""
        client = self._client
        if client is not None:
            self._why = LostError(why)
            self._lost(client)
            await end(client)

    async def connected(self) -> None:
        """Wait a moment for the connection.

        Raises:
            LostError: it is not back yet.
        """
        self._look()
        try:
            async with asyncio.timeout(LONGEST_PAUSE_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            raise LostError(line(self._why)) from None

    def _look(self) -> None:
        """Notice a connection that has closed itself; it takes a while until that is told."""
        if self._client is not None and not self._client.is_connected:
            self._lost(self._client)

    # Called in the loop

    @property
    def client(self) -> Client:
        """The client of now.

        Raises:
            LostError: there is none.
        """
        self._look()
        if self._client is None:
            raise LostError(line(self._why))
        return self._client

    @property
    def payload(self) -> int:
        """The size of the largest message that the server takes, in bytes."""
        return self.client.max_payload

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something in the background until it ends or the link is closed."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def listen(self, hear: Hear, lost: Callable[[], None]) -> str:
        """Have messages to a new inbox heard, over every connection; return its prefix."""
        self._last_inbox += 1
        prefix = f"{self._inbox}{self._last_inbox}."
        client = self.client
        self._heard[prefix + "*"] = hear
        self._losers.append(lost)
        try:
            await self._publishing(
                client.subscribe(prefix + "*", cb=hear, pending_msgs_limit=0, pending_bytes_limit=0)
            )
        except BaseException:
            self.unlisten(prefix, lost)
            raise
        return prefix

    def unlisten(self, prefix: str, lost: Callable[[], None]) -> None:
        """Forget an inbox; the server forgets it with the connection."""
        self._heard.pop(prefix + "*", None)
        with suppress(ValueError):
            self._losers.remove(lost)

    async def tell(self, subject: str, data: bytes, reply: str) -> None:
        """Send one message whose answers go to an inbox.

        Raises:
            LostError: there is no connection.
        """
        await self._publishing(self.client.publish(subject, data, reply=reply))

    async def _publishing(self, sending: Awaitable[Any]) -> None:
        try:
            await sending
        except TROUBLE as error:
            raise LostError(line(error)) from None

    async def ask(
        self, questions: Sequence[Question], seconds: float = ANSWER_SECONDS
    ) -> list[Msg]:
        """Ask many things at once; the answers stand in the order of the questions.

        Args:
            questions: what is asked; the server hears it in this order.
            seconds: after so long without any answer the connection counts as lost.

        Raises:
            LostError: the connection was lost before all was answered.
            QueueError: the server does not permit it.
        """
        client = self.client
        self._last_batch += 1
        number = str(self._last_batch)
        batch = self._batches[number] = _Batch(len(questions))
        prefix = f"{self._inbox}a.{number}."
        publish = client.publish
        try:
            for index, (subject, data, headers) in enumerate(questions):
                await publish(subject, data, f"{prefix}{index}", headers)
                missing = len(questions) - index - 1
                if batch.left - missing >= WINDOW:
                    await self._until(batch, missing + WINDOW // 2, seconds)
            await self._until(batch, 0, seconds)
        except TROUBLE as error:
            raise LostError(line(error)) from None
        finally:
            self._batches.pop(number, None)
        return batch.answers  # type: ignore[return-value] # none is missing

    async def _until(self, batch: _Batch, goal: int, seconds: float) -> None:
        """Wait until no more than `goal` answers are missing, of all questions of the batch."""
        batch.goal = goal
        while batch.left > goal:
            if batch.error is not None:
                raise batch.error
            batch.enough.clear()
            left = batch.left
            try:
                async with asyncio.timeout(seconds):
                    await batch.enough.wait()
            except TimeoutError:
                if batch.left == left:
                    await self.drop(f"no answer for {seconds:g} s")
                    raise LostError(f"no answer for {seconds:g} s") from None

    async def _answered(self, message: Msg) -> None:
        number, _, index = message.subject[len(self._inbox) + 2 :].partition(".")
        batch = self._batches.get(number)
        if batch is not None:
            batch.take(int(index), message)


def status(message: Msg) -> str | None:
    """Give the status that a message of the server itself bears, `404` say."""
    return None if message.headers is None else message.headers.get("Status")


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    left = set(tasks)
    for _ in range(CANCELS):
        if not left:
            return
        for task in left:
            task.cancel()
        # the library swallows a cancellation here and there: say it again
        _, left = await asyncio.wait(left, timeout=CLOSE_SECONDS / CANCELS)
