"""The native driver for programs with an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Generator, Iterable
from typing import Any, Final, Unpack

from maniple.driver.algorithms import Algorithm
from maniple.driver.desk import Desk, Options, Recipe
from maniple.driver.progress import Listener
from maniple.driver.reply import Reply, reply_of
from maniple.driver.stream import Errors, Manner, Stream, Work
from maniple.driver.ticket import Mailbox, Ticket, new_id

AT_ONCE: Final = 64
_LARGE: Final = 1 << 20
_CLOSE_SECONDS: Final = 5.0


class Handle:
    """A task that was submitted: await it for its value.

    Attributes:
        id: the task's id.
    """

    def __init__(self, work: asyncio.Task[Reply], task: str) -> None:
        self._work = work
        self.id = task

    def __await__(self) -> Generator[Any, None, Any]:
        reply = yield from self._work
        return reply.value

    async def reply(self) -> Reply:
        """Wait for the value with all that belongs to it.

        Raises:
            AlgorithmFailedError: the algorithm failed.
            ClusterError: the hub could not be reached for too long.
            StorageError: a result file cannot be written.
        """
        return await self._work

    def cancel(self) -> bool:
        """Take the task back from the hub; False where it has ended already."""
        return self._work.cancel()

    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._work.done()


class Cluster:
    """A hub, as a driver sees it; `maniple.connect` makes it.

    An algorithm is the name of a published one (`kmeans`, `kmeans@0.0.1`; without a version the
    latest, looked up once), the path of a package's zip, or `maniple.driver.local(...)`.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._mailbox: Mailbox | None = None

    async def run(self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]) -> Any:
        """Run an algorithm, and wait for its value. Cancelling this takes the task back.

        Args:
            algorithm: which one.
            params: the positional arguments of its `main`: anything that JSON can hold, arrays too.
            options: arguments, files, results and limits: see `maniple.driver.desk.Options`.

        Returns:
            What `main` returned.

        Raises:
            AlgorithmFailedError: the algorithm failed.
            AlgorithmError: there is no such algorithm.
            ClusterError: the hub could not be reached for too long.
            ParamError: a param cannot be written as JSON.
            StorageError: a result file cannot be written.
        """
        return (await self.call(algorithm, *params, **options)).value

    async def call(self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]) -> Reply:
        """Run an algorithm as `run` does; give its files and what it printed as well."""
        recipe, task = Recipe(algorithm, options), new_id()
        return await self._work(recipe, params, task, self._send(recipe, params, task))

    def submit(self, algorithm: Algorithm, *params: Any, **options: Unpack[Options]) -> Handle:
        """Send a task at once, and wait for it later: `await handle`.

        Must be called where an event loop runs. Mistakes in what is given are raised here; what
        goes wrong later, where the handle is awaited.
        """
        recipe, task = Recipe(algorithm, options), new_id()
        loop = asyncio.get_running_loop()
        ticket = self._send(recipe, params, task)
        waiting = loop.create_task(self._work(recipe, params, task, ticket))
        # a handle that was cancelled before it could run takes its task back all the same
        waiting.add_done_callback(lambda _: self._desk.link.cancel(task))
        return Handle(waiting, task)

    def map(
        self,
        algorithm: Algorithm,
        params: Iterable[Any] | AsyncIterable[Any],
        *,
        at_once: int = AT_ONCE,
        ordered: bool = True,
        errors: Errors = "raise",
        progress: Listener | bool = False,
        **options: Unpack[Options],
    ) -> Stream:
        """Run an algorithm over many params; the work starts at once.

        Leaving the loop, cancelling it, or a failure takes back what is unanswered.

        Args:
            algorithm: which one.
            params: one item for each task: a tuple holds the positional arguments of `main`;
                `maniple.driver.Inputs` files and arguments as well; anything else is the one
                argument. It is read as the work goes on, and may be endless.
            at_once: how many tasks are unanswered at a time, at most.
            ordered: give the values in the order of the items; otherwise pairs of item and value,
                as they come.
            errors: `raise` the first failure and end; or `return` it in place of the value.
            progress: True shows a line on standard error; a function is told a
                `maniple.driver.progress.Progress` each time that a task ends.
            options: of every call: see `maniple.driver.desk.Options`.

        Returns:
            An asynchronous iterator over the values.

        Raises:
            UsageError: an option is wrong.
        """
        manner = Manner(at_once, ordered, errors, progress)
        return Stream(Work(self._desk, Recipe(algorithm, options), manner, params), params)

    async def close(self) -> None:
        """End the connection; what is unanswered is taken back."""
        link = self._desk.link
        link.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._box().watch(link.ended), _CLOSE_SECONDS)

    def _box(self) -> Mailbox:
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
        return self._mailbox

    def _send(self, recipe: Recipe, params: tuple[Any, ...], task: str) -> Ticket | None:
        """Send a task, if that is possible without waiting for the registry."""
        resolved = self._desk.algorithms.at_hand(recipe.algorithm)
        if resolved is None:
            return None
        ticket = Ticket(recipe.order(resolved, params), task)
        self._desk.link.submit(ticket)
        return ticket

    async def _work(
        self, recipe: Recipe, params: tuple[Any, ...], task: str, ticket: Ticket | None = None
    ) -> Reply:
        link = self._desk.link
        if ticket is None:
            await asyncio.to_thread(self._desk.algorithms.resolve, recipe.algorithm)
            ticket = self._send(recipe, params, task)
        assert ticket is not None  # noqa: S101 - it is at hand now
        try:
            answer = await self._box().watch(ticket.ended)
        except asyncio.CancelledError:
            link.cancel(task)
            raise
        if sum(map(len, answer.files.values())) > _LARGE:
            return await asyncio.to_thread(reply_of, task, ticket.order, answer)
        return reply_of(task, ticket.order, answer)
