"""The native driver for programs without an event loop: scripts and notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import CancelledError
from typing import Any, Self, Unpack

from maniple.driver.algorithms import Algorithm
from maniple.driver.cluster import AT_ONCE
from maniple.driver.desk import Desk, Options, Recipe
from maniple.driver.progress import Listener
from maniple.driver.reply import Reply, reply_of
from maniple.driver.stream import BlockingStream, Errors, Manner, TaskCancelledError, Work
from maniple.driver.ticket import Ticket


class BlockingHandle:
    """A task that was submitted.

    Attributes:
        id: the task's id.
    """

    def __init__(self, desk: Desk, ticket: Ticket) -> None:
        self._desk = desk
        self._ticket = ticket
        self._reply: Reply | None = None
        self.id = ticket.task

    def reply(self, timeout: float | None = None) -> Reply:
        """Wait for the value with all that belongs to it.

        Args:
            timeout: seconds to wait; the task goes on when they are over.

        Raises:
            TimeoutError: it has not ended by then.
            AlgorithmFailedError: the algorithm failed.
            ClusterError: the hub could not be reached for too long.
            StorageError: a result file cannot be written.
            TaskCancelledError: it was cancelled.
        """
        if self._reply is None:
            try:
                answer = self._ticket.ended.result(timeout)
            except CancelledError:
                raise TaskCancelledError(f"task {self.id} was cancelled") from None
            self._reply = reply_of(self.id, self._ticket.order, answer)
        return self._reply

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value, as `reply` does."""
        return self.reply(timeout).value

    def cancel(self) -> None:
        """Take the task back from the hub, unless it has ended already."""
        self._desk.link.cancel(self.id)

    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._ticket.ended.done()


class BlockingCluster:
    """A hub, as a driver sees it; `maniple.connect` makes it.

    An algorithm is the name of a published one (`kmeans`, `kmeans@0.0.1`; without a version the
    latest, looked up once), the path of a package's zip, or `maniple.driver.local(...)`.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]) -> Any:
        """Run an algorithm, and wait for its value. Interrupting this takes the task back.

        Arguments and errors are those of `Cluster.run`.
        """
        return self.call(algorithm, *params, **options).value

    def call(self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]) -> Reply:
        """Run an algorithm as `run` does; give its files and what it printed as well."""
        handle = self.submit(algorithm, *params, **options)
        try:
            return handle.reply()
        except BaseException:
            handle.cancel()
            raise

    def submit(
        self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]
    ) -> BlockingHandle:
        """Send a task, and wait for it later: `handle.result()`."""
        recipe = Recipe(algorithm, options)
        desk = self._desk
        ticket = Ticket(recipe.order(desk.algorithms.resolve(algorithm), params))
        desk.link.submit(ticket)
        return BlockingHandle(desk, ticket)

    def map(
        self,
        algorithm: Algorithm,
        params: Iterable[Any],
        *,
        at_once: int = AT_ONCE,
        ordered: bool = True,
        errors: Errors = "raise",
        progress: Listener | bool = False,
        **options: Unpack[Options],
    ) -> BlockingStream:
        """Run an algorithm over many params; the work starts at once.

        Arguments and errors are those of `Cluster.map`. The params are read while the results are.

        Returns:
            An iterator over the values; closing it, or losing it, takes back what is unanswered.
        """
        manner = Manner(at_once, ordered, errors, progress)
        return BlockingStream(Work(self._desk, Recipe(algorithm, options), manner, params), params)

    def close(self) -> None:
        """End the connection; what is unanswered is taken back."""
        self._desk.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
