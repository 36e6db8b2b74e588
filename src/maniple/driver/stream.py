"""`cluster.map`: an algorithm over a stream of params, so many at once, results as they come."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from maniple.algorithm.call import Answer
from maniple.driver.desk import Desk, Recipe
from maniple.driver.progress import Listener, Reporter
from maniple.driver.reply import Reply, reply_of
from maniple.driver.ticket import Mailbox, Ticket
from maniple.driver.window import Window
from maniple.errors import ManipleError, UsageError

if TYPE_CHECKING:
    from maniple.driver.algorithms import Resolved

AHEAD: Final = 16
"""How many results may wait to be read, for each task that runs."""

Errors = Literal["raise", "return"]


class Manner(NamedTuple):
    """How a stream is worked through; the arguments of `map`."""

    at_once: int
    ordered: bool
    errors: Errors
    progress: Listener | bool


class Ended(NamedTuple):
    """How one item ended: with an answer, or with why there is none."""

    item: Any
    ticket: Ticket | None
    outcome: Answer | BaseException

    def reply(self) -> Reply | BaseException:
        """Read the answer, and put its files in place."""
        if self.ticket is None or isinstance(self.outcome, BaseException):
            assert isinstance(self.outcome, BaseException)  # noqa: S101 - no task, no answer
            return self.outcome
        try:
            return reply_of(self.ticket.task, self.ticket.order, self.outcome)
        except ManipleError as error:
            return error


class Work:
    """The tasks of one stream: starts them, keeps them within bounds, takes them back.

    Args:
        desk: of the cluster.
        recipe: makes the tasks.
        manner: how to go about it.
        params: the stream, for its length only.
    """

    def __init__(self, desk: Desk, recipe: Recipe, manner: Manner, params: object) -> None:
        if manner.at_once < 1:
            raise UsageError(f"at_once must be at least 1, not {manner.at_once}")
        if manner.errors not in {"raise", "return"}:
            raise UsageError(f"errors is 'raise' or 'return', not {manner.errors!r}")
        self.desk = desk
        self.recipe = recipe
        self.manner = manner
        self.window: Window[Ended] = Window(
            manner.at_once, AHEAD * manner.at_once, ordered=manner.ordered
        )
        total = None
        with contextlib.suppress(TypeError):
            total = len(params)  # type: ignore[arg-type]  # that is the question
        self._reporter = Reporter(manner.progress, total)
        self._running: dict[int, tuple[Any, Ticket]] = {}
        self._count = 0
        self._closed = False
        self._broken: BaseException | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to give."""
        return self._closed or self.window.over

    def start(self, resolved: Resolved, item: Any) -> tuple[int, Ticket] | None:
        """Send the task of an item; None where it could not be made, which is how it ended."""
        index = self.window.start()
        self._count += 1
        try:
            ticket = Ticket(self.recipe.order(resolved, item))
        except ManipleError as error:
            self._end(index, Ended(item, None, error))
            return None
        self._running[index] = item, ticket
        return index, ticket

    def exhaust(self) -> None:
        """There are no more items."""
        self.window.exhausted = True
        if not self._closed:
            with self._listening():
                self._reporter.counted(self._count, running=self.window.running)

    def ended(self, index: int, ended: Future[Answer] | asyncio.Future[Answer]) -> None:
        """Take the end of a task."""
        found = self._running.pop(index, None)
        if found is None:
            return
        error: BaseException | None = CancelledError()
        if not ended.cancelled():
            error = ended.exception()
        if isinstance(error, CancelledError):
            error = TaskCancelledError(f"task {found[1].task} was cancelled")
        self._end(index, Ended(*found, ended.result() if error is None else error))

    def give(self) -> Any:
        """Give the next result; `NOTHING` while there is none.

        Raises:
            ManipleError: it failed, and that is to be raised.
        """
        if self._broken is not None:
            raise self._broken
        taken = None if self._closed else self.window.take()
        if taken is None:
            return NOTHING
        ended = taken[1]
        reply = ended.reply()
        if isinstance(reply, BaseException):
            if self.manner.errors == "raise" or not isinstance(reply, ManipleError):
                raise reply
            value: Any = reply
        else:
            value = reply.value
        return value if self.manner.ordered else (ended.item, value)

    def close(self) -> None:
        """Take back what is unanswered."""
        self._closed = self.window.exhausted = True
        running, self._running = self._running, {}
        for _, ticket in running.values():
            self.desk.link.cancel(ticket.task)
        self._reporter.close()

    def _end(self, index: int, ended: Ended) -> None:
        self.window.end(index, ended)
        ok = isinstance(ended.outcome, Answer) and ended.outcome.ok
        with self._listening():
            self._reporter.ended(ok=ok, running=self.window.running)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Keep what the user's function raises for whoever reads the results."""
        try:
            yield
        except Exception as error:
            self._broken = error


class TaskCancelledError(ManipleError):
    """The task was cancelled."""


NOTHING: Final = object()


class Stream(AsyncIterator[Any]):
    """The results of `Cluster.map`; leaving the loop takes back what is unanswered."""

    def __init__(self, work: Work, params: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._pump = _Pump(work, params)
        self._work = work
        self._end = weakref.finalize(self, self._pump.close)
        self._end.atexit = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        pump = self._pump
        try:
            while (given := self._work.give()) is NOTHING:
                if self._work.over:
                    raise pump.broken or StopAsyncIteration  # noqa: TRY301 - so it ends as all do
                pump.changed.clear()
                await pump.changed.wait()
        except BaseException:
            self._end()
            raise
        pump.room.set()
        return given

    async def aclose(self) -> None:
        """Take back what is unanswered; there are no more results."""
        self._end()


class _Pump:
    """Feeds the items of a stream into its work, in the background of an event loop.

    Attributes:
        changed: set when there may be something to give.
        room: set when another task may be able to start.
        broken: why the params came to an end, if they failed.
    """

    def __init__(self, work: Work, params: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._mailbox = Mailbox(self._loop)
        self._work = work
        self.changed = asyncio.Event()
        self.room = asyncio.Event()
        self.broken: BaseException | None = None
        self._task = self._loop.create_task(self._run(params))

    def close(self) -> None:
        """Stop, and take back what is unanswered."""
        self._work.close()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _run(self, params: Iterable[Any] | AsyncIterable[Any]) -> None:
        work = self._work
        try:
            algorithms = work.desk.algorithms
            resolved = algorithms.at_hand(work.recipe.algorithm)
            if resolved is None:
                resolved = await asyncio.to_thread(algorithms.resolve, work.recipe.algorithm)
            items = _each(params)
            while True:
                while not work.window.room:
                    self.room.clear()
                    await self.room.wait()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                self._start(resolved, item)
        except Exception as error:
            self.broken = error
        finally:
            work.exhaust()
            self.changed.set()

    def _start(self, resolved: Resolved, item: Any) -> None:
        started = self._work.start(resolved, item)
        if started is None:
            self.changed.set()
            return
        index, ticket = started
        waiting = self._mailbox.watch(ticket.ended)
        waiting.add_done_callback(functools.partial(self._ended, index))
        self._work.desk.link.submit(ticket)

    def _ended(self, index: int, waiting: asyncio.Future[Answer]) -> None:
        self._work.ended(index, waiting)
        self.changed.set()
        self.room.set()


async def _each(params: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(params, AsyncIterable):
        async for item in params:
            yield item
    else:
        for item in params:
            yield item


class BlockingStream(Iterator[Any]):
    """The results of `BlockingCluster.map`; closing it takes back what is unanswered.

    The params are read in the thread that reads the results.
    """

    def __init__(self, work: Work, params: Iterable[Any]) -> None:
        import queue

        self._work = work
        self._items = iter(params)
        self._arrived: queue.SimpleQueue[tuple[int, Future[Answer]]] = queue.SimpleQueue()
        self._broken: BaseException | None = None
        self._resolved = work.desk.algorithms.resolve(work.recipe.algorithm)
        self._end = weakref.finalize(self, work.close)
        self._end.atexit = False
        self._fill()

    def __iter__(self) -> BlockingStream:
        return self

    def __next__(self) -> Any:
        work = self._work
        try:
            while (given := work.give()) is NOTHING:
                if work.over:
                    raise self._broken or StopIteration  # noqa: TRY301 - so it ends as all do
                work.ended(*self._arrived.get())
                while not self._arrived.empty():
                    work.ended(*self._arrived.get())
                self._fill()
        except BaseException:
            self._end()
            raise
        self._fill()
        return given

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take back what is unanswered; there are no more results."""
        self._end()

    def _fill(self) -> None:
        work, arrived = self._work, self._arrived
        while work.window.room:
            try:
                item = next(self._items)
            except StopIteration:
                work.exhaust()
                return
            except Exception as error:
                work.exhaust()
                self._broken = error
                return
            started = work.start(self._resolved, item)
            if started is not None:
                index, ticket = started
                ticket.ended.add_done_callback(
                    lambda ended, index=index: arrived.put((index, ended))  # type: ignore[misc]
                )
                work.desk.link.submit(ticket)
