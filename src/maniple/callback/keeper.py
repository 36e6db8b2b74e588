"""Keeps leases alive while a user's code runs in our own process, for seconds or for days."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from maniple.errors import ManipleError
from maniple.queue import Lease, Queue, QueueStats

_log = logging.getLogger("maniple")


class Keeper:
    """A queue whose held leases a thread renews every third of their time.

    One lock serialises all calls to the queue. The thread starts with the first lease.

    Args:
        queue: must not be used by anybody else meanwhile.
        ttl: seconds that a lease lasts.
    """

    def __init__(self, queue: Queue, ttl: float) -> None:
        self.queue = queue
        self.ttl = ttl
        self._lock = threading.RLock()
        self._held: list[Lease] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._complained = ""

    def lease(self, limit: int, wait: float) -> list[Lease]:
        """Take up to `limit` tasks and hold them."""
        with self._lock:
            leases = self.queue.lease(limit, self.ttl, wait)
            self._held += leases
        if leases and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="maniple-keeper", daemon=True)
            self._thread.start()
        return leases

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Acknowledge; return those that were ours no more. They are held until it succeeded."""
        with self._lock:
            lost = self.queue.ack(leases)
            self._drop(leases)
        return lost

    def nack(self, leases: Sequence[Lease]) -> None:
        """Give back, as not attempted."""
        with self._lock:
            self.queue.nack(leases, attempted=False)
            self._drop(leases)

    def stats(self) -> QueueStats:
        """Count the tasks."""
        with self._lock:
            return self.queue.stats()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call one more method of the queue, alone."""
        with self._lock:
            return function(*args)

    def close(self, patience: float = -1) -> None:
        """Give back what is held, end the thread and close the queue.

        Args:
            patience: seconds to wait for a call that is under way; -1: until it ends. When it
                does not end, everything is left as it is.
        """
        if not self._lock.acquire(timeout=patience):
            return
        try:
            self._over.set()
            if self._held:
                self.nack(list(self._held))
            self.queue.close()
        finally:
            self._lock.release()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=self.ttl)

    def _drop(self, leases: Sequence[Lease]) -> None:
        gone = {id(lease) for lease in leases}
        self._held = [lease for lease in self._held if id(lease) not in gone]

    def _run(self) -> None:
        while not self._over.wait(self.ttl / 3):
            with self._lock:
                if self._over.is_set():
                    return
                if self._held:
                    self._extend()

    def _extend(self) -> None:
        try:
            lost = self.queue.extend(list(self._held), self.ttl)
        except ManipleError as error:
            # the next try is soon, and the lease lasts for two more of them
            if str(error) != self._complained:
                self._complained = str(error)
                _log.warning("leases could not be renewed: %s", error)
            return
        self._complained = ""
        for lease in lost:
            _log.warning("the lease of task %s lapsed: others may run it too", lease.task.id)
        self._drop(lost)
