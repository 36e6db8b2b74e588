"""`maniple.map`: a function over many params, in processes, with results as they come."""

from __future__ import annotations

import os
import pickle
import select
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, Literal, TypeVar

from maniple.errors import ManipleError, UsageError
from maniple.runner import Cancel, Context, Outcome
from maniple.runners.function import FunctionRunner
from maniple.task import Task

Param = TypeVar("Param")
Result = TypeVar("Result")
MOST_AHEAD: Final = 64
AHEAD_SECONDS: Final = 0.005
LONGEST_NAP_MS: Final = 20.0


class TaskFailedError(ManipleError):
    """A param's process died (crash, exit, kill), ran out of time, or it asked to exit."""


class RemoteTraceback(Exception):  # noqa: N818 - it is a text, shown as a cause
    """The traceback of an exception in another process; shown as the cause of that exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text.rstrip()}"


class Results(Iterator[Result], Generic[Result]):
    """The results of `map`, one for each param; closing it ends what still runs."""

    def __init__(self, pool: _Pool, *, ordered: bool, errors: str) -> None:
        self._pool = pool
        self._ordered = ordered
        self._errors = errors
        self._next = 0
        self._early: dict[int, Outcome] = {}
        self._ready: deque[Outcome] = deque()
        # also when the interpreter exits, while there still is what it takes
        self._end = weakref.finalize(self, pool.close)

    def __iter__(self) -> Results[Result]:
        return self

    def __next__(self) -> Result:
        try:
            outcome = self._outcome()
        except BaseException:
            self.close()
            raise
        if outcome is None:
            self.close()
            raise StopIteration
        self._pool.read()
        error = _error(outcome)
        if error is None:
            value: Result = outcome.value
            return value
        if self._errors == "return":
            return error  # type: ignore[return-value]  # that is what was asked for
        self.close()
        raise error

    def _outcome(self) -> Outcome | None:
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._ordered and self._next in self._early:
                self._next += 1
                return self._early.pop(self._next - 1)
            ended = self._pool.collect()
            if ended is None:
                return None
            for index, outcome in ended:
                if self._ordered:
                    self._early[index] = outcome
                else:
                    self._ready.append(outcome)

    def close(self) -> None:
        """End the processes; there are no more results."""
        self._end()
        self._early.clear()
        self._ready.clear()

    def __enter__(self) -> Results[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Pool:
    """N function runners, kept busy from one stream of params."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        params: Iterable[Any],
        jobs: int,
        timeout: float | None,
        retries: int,
        window: int,
    ) -> None:
        self._owner = os.getpid()
        self._params = enumerate(params)
        self._runners = [FunctionRunner(function, decode=pickle.loads) for _ in range(jobs)]
        self._context = Context(cancel=Cancel(), time_limit=timeout)
        self._indices: dict[int, int] = {}
        self._retries = retries
        self._window = window
        self._unread = 0
        self._mean = 1.0
        self._exhausted = False
        self._closed = False
        self._again: deque[tuple[int, Task]] = deque()
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        ahead = max(1, min(MOST_AHEAD, int(AHEAD_SECONDS / max(self._mean, 1e-7))))
        # round by round, so that a few params are spread over all processes
        for depth in range(1, ahead + 2):
            for runner in self._runners:
                if runner.pending < depth and not self._submit(runner):
                    return

    def _submit(self, runner: FunctionRunner) -> bool:
        if self._again:
            index, task = self._again.popleft()
        elif self._exhausted or self._unread >= self._window:
            return False
        else:
            try:
                index, param = next(self._params)
            except StopIteration:
                self._exhausted = True
                return False
            try:
                task = Task("", pickle.dumps(param, 5), 1, index)
            except Exception as error:
                raise UsageError(f"param number {index + 1} cannot be pickled: {error}") from error
            self._unread += 1
        self._indices[id(task)] = index
        runner.submit([task])
        return True

    def collect(self) -> list[tuple[int, Outcome]] | None:
        """Wait for results; None when all have been collected."""
        nap = 1.0
        while True:
            if self._closed:
                return None
            self._fill()
            busy = [runner for runner in self._runners if runner.pending]
            if not busy:
                return None
            ended = [pair for runner in busy for pair in runner.collect(self._context, 0.0)]
            found = [pair for task, outcome in ended if (pair := self._ended(task, outcome))]
            if found:
                return found
            if not ended:
                poll = select.poll()
                for runner in busy:
                    poll.register(runner.fileno(), select.POLLIN)
                poll.poll(nap)
                nap = min(nap * 2, LONGEST_NAP_MS)

    def _ended(self, task: Task, outcome: Outcome) -> tuple[int, Outcome] | None:
        index = self._indices.pop(id(task))
        self._mean = self._mean * 0.8 + max(0.0, outcome.end - outcome.start) * 0.2
        if not outcome.ok and task.attempt <= self._retries:
            again = Task(task.id, task.data, task.attempt + 1, task.number)
            self._again.append((index, again))
            return None
        return index, outcome

    def read(self) -> None:
        """Note that the caller has taken a result: there is room for another."""
        self._unread -= 1

    def close(self) -> None:
        """End the processes, if they are ours."""
        # a fork of the caller's has a copy of us, and no say over our children
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        for runner in self._runners:
            runner.close()
        self._context.cancel.close()


def _error(outcome: Outcome) -> BaseException | None:
    if outcome.ok:
        return None
    raised = outcome.value
    if not isinstance(raised, BaseException):
        return TaskFailedError(outcome.error or "")
    error = raised
    # these would end the caller's program or loop as if all were well
    if isinstance(raised, StopIteration) or not isinstance(raised, Exception):
        error = TaskFailedError(f"the function raised {raised!r}")
    error.__cause__ = RemoteTraceback(outcome.error or "")
    return error


def map(  # noqa: A001 - it is what the built-in does, in parallel
    function: Callable[[Param], Result],
    params: Iterable[Param],
    *,
    jobs: int | None = None,
    ordered: bool = True,
    timeout: float | None = None,
    retries: int = 0,
    errors: Literal["raise", "return"] = "raise",
    window: int = 10_000,
) -> Results[Result]:
    """Call `function(param)` for each param, in `jobs` processes.

    The function need not be picklable (the processes are forks); params and results must be. The
    work starts at once. What a crash, an exit or a time limit ends is one param, not the others.

    Args:
        function: takes one param.
        params: any iterable, endless ones too: it is read as the work goes on.
        jobs: processes; default: as many as there are processors.
        ordered: give results in the order of the params; otherwise as they come.
        timeout: seconds that one call may take.
        retries: how many more attempts a failed call gets.
        errors: `raise` the first exception and end; or `return` it in place of the result.
        window: how many results may be ahead of those that have been read.

    Returns:
        An iterator over the results.

    Raises:
        UsageError: a param cannot be pickled, or `jobs` is below 1.
        TaskFailedError: while iterating: a call's process died or ran out of time, or the function
            raised what would end the caller (`SystemExit`, `KeyboardInterrupt`, `StopIteration`).

    Example:
        >>> list(map(abs, [-1, 2, -3], jobs=2))
        [1, 2, 3]
    """
    processes = os.cpu_count() or 1 if jobs is None else jobs
    if processes < 1:
        raise UsageError(f"jobs must be at least 1, not {processes}")
    if errors not in {"raise", "return"}:
        raise UsageError(f"errors is 'raise' or 'return', not {errors!r}")
    pool = _Pool(function, params, processes, timeout, retries, max(1, window))
    return Results(pool, ordered=ordered, errors=errors)
