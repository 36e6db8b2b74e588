"""A minion: one process that leases tasks from a queue, gives them to a runner, reports events."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

import msgspec

from maniple.event import Event, Step
from maniple.minion.book import Book, Policy
from maniple.minion.serial import Serial
from maniple.minion.tally import Count, Tally
from maniple.queue import Journaled, Lease, Queue, Remote
from maniple.reporter import Reporter
from maniple.runner import Cancel, Context, Outcome, Runner, StreamRunner
from maniple.task import Task
from maniple.urls import findable

TICK_SECONDS: Final = 0.05
FIRST_IDLE_SECONDS: Final = 0.01
IDLE_SECONDS: Final = 0.1
UNSAFE_LINGER_SECONDS: Final = 0.002


class Sink(Protocol):
    """Takes results; unlike a reporter it may stop the work when it fails."""

    def write(self, task: Task, outcome: Outcome) -> None:
        """Take one result; it may be kept until `flush`."""
        ...

    def flush(self) -> None:
        """Write what was kept. A task counts as ended only after that."""
        ...


class Minion:
    """Empties a queue.

    Args:
        queue: where the tasks come from.
        runner: what a task runs.
        reporters: where events go.
        policy: leases, retries, batches.
        context: time limit, directory and slot for the runner.
        sink: where results go.
        tally: numbers and flags shared with a crew.
        wait: stay while tasks are leased to others or delayed; otherwise leave when there is
            nothing to lease.
        rng: randomness for the pauses before retries.

    Example:
        >>> Minion(open_queue("sqlite:q.db"), FunctionRunner(print)).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        queue: Queue,
        runner: Runner | StreamRunner,
        reporters: Reporter | Sequence[Reporter] | None = None,
        *,
        policy: Policy | None = None,
        context: Context | None = None,
        sink: Sink | None = None,
        tally: Tally | None = None,
        wait: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self._queue = queue
        self._stream = runner if isinstance(runner, StreamRunner) else Serial(runner)
        if reporters is None:
            reporters = []
        self._reporters = list(reporters) if isinstance(reporters, Sequence) else [reporters]
        self._policy = policy or Policy()
        self._own_cancel = Cancel() if context is None else None
        self._context = context or Context(cancel=self._own_cancel or Cancel())
        self._journal = queue if isinstance(queue, Journaled) else None
        if self._journal is None:
            # what is finished and not acknowledged would run again if we were killed: be quick
            linger = min(self._policy.linger, UNSAFE_LINGER_SECONDS)
            if isinstance(self._stream, Serial):
                linger = 0.0
                if getattr(runner, "calls_meanwhile", False):
                    self._context = msgspec.structs.replace(
                        self._context, meanwhile=self._settle_meanwhile
                    )
                    linger = UNSAFE_LINGER_SECONDS
            self._policy = msgspec.structs.replace(self._policy, linger=linger)
        self._sink = sink
        self._tally = tally or Tally(self._context.slot)
        self._wait = wait
        self._book = Book(self._policy, rng or random.Random())
        self._lock = threading.RLock()
        self._stream.lock = self._lock
        self._generation = 0
        self._moved = time.monotonic()
        self._empty_until = 0.0
        self._pause = FIRST_IDLE_SECONDS
        remote = queue if isinstance(queue, Remote) else None
        self._longest_pause = remote.idle if remote is not None else IDLE_SECONDS
        self._quiet = remote.quiet if remote is not None else 0.0
        self._renew_at = 0.0
        self._broken: BaseException | None = None
        self.uid = os.urandom(16).hex()
        self._stamp = _Stamp(self.uid, findable(queue.url))

    def run(self) -> Count:
        """Work until the queue is drained, or a signal or `stop` ends it.

        Returns:
            What this minion has done.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when all is given back.
            SystemExit: after SIGTERM, likewise (status 143).
            ManipleError: the queue or the results cannot be written; leases were given back
                where that was possible.
        """
        with _signals(self._context.cancel) as caught:
            keeper = _Keeper(self._tick, self._break)
            try:
                self._loop()
            finally:
                keeper.stop()
                self._leave()
        if self._broken is not None:
            raise self._broken
        if caught:
            if caught[0] == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + caught[0])
        return self._tally.of(self._context.slot)

    def stop(self) -> None:
        """Have `run` end: the running task is ended and given back."""
        self._context.cancel.request()

    def _loop(self) -> None:
        book, stream, context = self._book, self._stream, self._context
        while not context.cancel.requested and self._broken is None:
            if self._tally.halted:
                self._give_back_waiting()
            else:
                self._refill()
            if not book.held:
                self._settle()
                if self._tally.halted or self._finished():
                    return
                continue
            self._ended(stream.collect(context, TICK_SECONDS))
            if book.due(time.monotonic(), busy=bool(book.held)):
                self._settle()

    def _refill(self) -> None:
        book = self._book
        want = book.want()
        if not want:
            return
        idle = not book.held
        if not idle and time.monotonic() < self._empty_until:
            return
        if idle:
            # what is finished must not wait while we do
            self._settle()
        # only who has found nothing before waits: the end of a queue is seen at once
        wait = self._pause if idle and self._empty_until else 0.0
        with self._lock:
            leases = self._queue.lease(want, self._policy.ttl, wait)
            if not leases:
                self._empty_until = time.monotonic() + TICK_SECONDS
                if wait:
                    self._pause = min(self._pause * 2, self._longest_pause)
                return
            self._empty_until = 0.0
            self._pause = FIRST_IDLE_SECONDS
            tasks = book.leased(leases)
            self._moved = time.monotonic()
            if idle:
                self._renew_at = self._moved + self._policy.ttl / 3
            self._stream.submit(tasks)

    def _finished(self) -> bool:
        if self._tally.filling or not self._empty_until:
            return False
        if not self._wait:
            return True
        stats = self._queue.stats()
        if not stats.drained:
            return False
        # where nobody knows what others hold, it comes back within that time or was acknowledged
        return stats.leased is not None or time.monotonic() - self._moved >= self._quiet

    def _ended(self, ended: Sequence[tuple[Task, Outcome]]) -> None:
        """Take what has ended: results and events first, and only then is it noted as done."""
        if not ended:
            return
        done: list[Lease] = []
        with self._lock:
            self._moved = now = time.monotonic()
            if self._sink is not None:
                self._write(self._sink, ended)
            for task, outcome in ended:
                lease = self._book.ended(task, outcome, now)
                if outcome.interrupted:
                    continue
                if outcome.ok:
                    done.append(lease)
                if self._reporters:
                    self._generation += 1
                    self._report(self._stamp.event(self._generation, task, outcome))
            if self._journal is not None and done:
                self._flush()
                if not self._journal.jot(done):
                    self._settle()

    @staticmethod
    def _write(sink: Sink, ended: Sequence[tuple[Task, Outcome]]) -> None:
        # when this fails the book has heard of no end, and the tasks are given back
        for task, outcome in ended:
            if not outcome.interrupted:
                sink.write(task, outcome)
        sink.flush()

    def _flush(self) -> None:
        if self._reporters:
            self._tell(lambda reporter: reporter.flush())

    def _report(self, event: Event) -> None:
        self._tell(lambda reporter: reporter.report(event))

    def _tell(self, word: Callable[[Reporter], None]) -> None:
        for reporter in list(self._reporters):
            try:
                word(reporter)
            except (Exception, SystemExit) as error:
                self._reporters.remove(reporter)
                import logging

                logging.getLogger("maniple").warning(
                    "a reporter failed and is left out from now on: %s", error
                )

    def _settle(self) -> None:
        """Tell the queue what was decided; results and events are safe before that."""
        with self._lock:
            book = self._book
            decided = book.take()
            if not decided:
                return
            try:
                self._flush()
                queue = self._queue
                lost = queue.ack(decided.ack) if decided.ack else []
                for retry in decided.retry:
                    queue.nack([retry.lease], retry.delay)
                if decided.fail:
                    queue.fail(decided.fail)
                if decided.give_back:
                    queue.nack(decided.give_back, attempted=False)
            except BaseException:
                book.undo(decided)
                raise
            self._tally.add(
                self._context.slot,
                Count(
                    done=len(decided.ack) - len(lost),
                    failed=len(decided.fail),
                    retried=len(decided.retry),
                    returned=len(decided.give_back) + len(lost),
                ),
            )

    def _settle_meanwhile(self) -> None:
        try:
            self._settle()
        except Exception as error:
            # a runner takes exceptions for its task's; this one is ours
            self._break(error)

    def _tick(self) -> None:
        """Do what cannot wait for the end of a long task; called in the keeper's thread."""
        now = time.monotonic()
        with self._lock:
            if now - self._moved > self._policy.patience:
                self._give_back_waiting()
                if self._book.due(now, busy=True):
                    self._settle()
            if now >= self._renew_at:
                self._renew_at = now + self._policy.ttl / 3
                leases = self._book.leases()
                if leases and self._queue.extend(leases, self._policy.ttl):
                    # we slept through our leases: others have them now, or are about to
                    self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        """Let others have the tasks that have not started here."""
        with self._lock:
            if self._book.held > 1:
                self._book.withdrawn(self._stream.withdraw())
                if self._book.due(self._moved, busy=True):
                    self._settle()

    def _break(self, error: BaseException) -> None:
        """Have the loop end, and raise this error."""
        self._broken = error
        self._context.cancel.request()

    def _leave(self) -> None:
        """End what runs, give back what is held, tell what is known; close runner and reporters."""
        try:
            with self._lock:
                self._book.withdrawn(self._stream.withdraw())
                try:
                    self._ended(self._stream.stop())
                finally:
                    self._book.abandoned()
                    self._settle()
        finally:
            self._stream.close()
            self._tell(lambda reporter: reporter.close())
            if self._own_cancel is not None:
                self._own_cancel.close()


class _Stamp:
    """Makes events: what is the same in all of them is looked up once."""

    def __init__(self, uid: str, queue: str) -> None:
        self._uid = uid
        self._queue = queue
        self._node = os.uname().nodename
        self._job = os.environ.get("OAR_JOB_ID", "")
        self._pid = os.getpid()

    def event(self, generation: int, task: Task, outcome: Outcome) -> Event:
        start, end = outcome.start, outcome.end
        error = outcome.error
        if error is not None and not error.isascii():
            # a file name that is no text, say; an event must be
            error = error.encode("utf-8", "backslashreplace").decode()
        return Event(
            self._uid,
            generation,
            start,
            end,
            msgspec.Raw(task.data),
            error,
            [Step("process", start, end)],
            self._node,
            self._job,
            task.id,
            task.attempt,
            "" if outcome.ok else outcome.cause or "failed",
            self._pid,
            self._queue,
        )


class _Keeper:
    """A thread that ticks while the minion is at work on something long."""

    def __init__(self, tick: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        self._tick = tick
        self._failed = failed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maniple-keeper", daemon=True)
        # signals are for the main thread: what waits there must wake up
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            try:
                self._tick()
            except BaseException as error:
                self._failed(error)
                return

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def _signals(cancel: Cancel) -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into a cancel while the minion runs, where that is ours to do."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        cancel.request()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            # None: it was not Python that set it, and Python cannot set it again
            if handler is not None:
                signal.signal(number, handler)
