"""A task that was handed over: what to wait for, from any thread or event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from maniple.algorithm.call import Answer
from maniple.driver.inputs import Order

_Found = TypeVar("_Found")


def new_id() -> str:
    """Choose the id of a task: 32 hexadecimal digits, at random."""
    return os.urandom(16).hex()


class Ticket:
    """One task on its way.

    Attributes:
        task: its id.
        order: what was asked for.
        ended: resolves to the answer, or to why there will be none. Only the link's thread does
            that: cancelling it here does nothing.
        attempt: how often a worker has begun with it.
    """

    __slots__ = ("attempt", "ended", "order", "task")

    def __init__(self, order: Order, task: str | None = None) -> None:
        self.task = task or new_id()
        self.order = order
        self.ended: Future[Answer] = Future()
        self.ended.set_running_or_notify_cancel()
        self.attempt = 0


class Mailbox:
    """Brings what ends in another thread into an event loop, many at a time.

    Waking a loop costs a system call; under load one of them brings many answers.

    Args:
        loop: where they are waited for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._arrived: deque[tuple[asyncio.Future[object], Future[object]]] = deque()
        self._woken = False
        self._lock = threading.Lock()

    def watch(self, ended: Future[_Found]) -> asyncio.Future[_Found]:
        """Give a future of this loop that ends as the other one does."""
        waiting: asyncio.Future[_Found] = self.loop.create_future()
        ended.add_done_callback(lambda _: self._post(waiting, ended))  # type: ignore[arg-type]
        return waiting

    def _post(self, waiting: asyncio.Future[object], ended: Future[object]) -> None:
        with self._lock:
            self._arrived.append((waiting, ended))
            if self._woken:
                return
            self._woken = True
        try:
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # the loop is closed: nobody waits there any more
            return

    def _deliver(self) -> None:
        with self._lock:
            self._woken = False
            arrived, self._arrived = self._arrived, deque()
        for waiting, ended in arrived:
            if waiting.done():
                continue
            error = ended.exception()
            if error is None:
                waiting.set_result(ended.result())
            elif isinstance(error, CancelledError):
                waiting.cancel()
            else:
                waiting.set_exception(error)
