"""What `maniple run` does: open or make the queue, feed it, run a crew on it, tell how it went."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from maniple.errors import Exit, ManipleError, NotSupportedError, StorageError, UsageError
from maniple.minion.book import Policy
from maniple.minion.crew import Crew
from maniple.minion.feed import AHEAD, Feed, LineFeed, TaskFeed
from maniple.minion.halt import Halt
from maniple.minion.minion import Minion
from maniple.minion.progress import Progress
from maniple.minion.tally import Tally
from maniple.minion.verdict import conclude
from maniple.queue import Queue, QueueStats, State
from maniple.runner import Cancel, Context, Runner
from maniple.runners.container_box import Box
from maniple.runners.output import Lock, directory_output, forward
from maniple.runners.process import Output, ProcessRunner
from maniple.sweep.template import Template
from maniple.task import Task
from maniple.urls import open_queue, split_url

if TYPE_CHECKING:
    from maniple.runners.algorithm_recipe import Recipe

LOOK_SECONDS: Final = 0.25


class Plan(NamedTuple):
    """What is to be run, and how. Times are in seconds.

    Attributes:
        template: the command, or the calls of an algorithm.
        url: of the queue, or None: one that lives as long as the run.
        params: to put on the queue first; None and no URL: the lines of standard input.
        box: the container that each task gets, or None: none.
    """

    template: Template | Recipe
    url: str | None
    params: Iterator[Any] | None
    jobs: int
    shell: bool = False
    time_limit: float | None = None
    retries: int = 0
    backoff: float = 1.0
    halt: Halt = Halt()
    lease: float = 30.0
    batch: int = 256
    wait: bool = True
    output: str = "group"
    output_dir: str | None = None
    results: str | None = None
    report: str | None = None
    quiet: bool = False
    box: Box | None = None


class Door:
    """The queue of a run, as its first process opens it: shut while minions are forked.

    A library that locks files for a process (SQLite) takes the locks that it had before a fork for
    the child's own, which has none of them: the queue file would be removed or torn under it.
    """

    def __init__(self, url: str, *, create: bool) -> None:
        self.url = url
        self._queue: Queue | None = open_queue(url, create=create)

    @property
    def queue(self) -> Queue:
        """The queue, open."""
        if self._queue is None:
            self._queue = open_queue(self.url, create=False)
        return self._queue

    def shut(self) -> None:
        """Close it until it is asked for again."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()


class Campaign:
    """One run of `maniple run`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scratch: str | None = None
        self._lines: Any = None
        self._ready: Any = None
        url = plan.url
        if url is not None and split_url(url)[0] == "memory":
            raise UsageError("memory: lives in one process; take sqlite:FILE, or leave -q out")
        self._source = url
        self._own = url is None or split_url(url)[0] == "file"
        if plan.params is not None and url is not None and self._own:
            raise UsageError(f"params cannot be added to {url}: name sqlite:FILE or dir:FOLDER")

    def show(self) -> int:
        """Print the commands that would run; take nothing."""
        plan = self._plan
        if plan.params is not None or self._own:
            self._print(enumerate(self._listed(), 1))
            return Exit.OK
        assert plan.url is not None  # noqa: S101 - otherwise the queue is our own
        queue = open_queue(plan.url, create=False)
        try:
            for state in (State.WAITING, State.DELAYED):
                self._print((r.task.number, r.task.param) for r in queue.records(state))
        finally:
            queue.close()
        return Exit.OK

    def _print(self, params: Iterable[tuple[int, Any]]) -> None:
        plan = self._plan
        for number, param in params:
            if plan.shell:
                line = self._snippet(param, number=number, slot=1)
            else:
                from shlex import join

                line = join(plan.template.words(param, number=number, slot=1))
            sys.stdout.buffer.write(os.fsencode(line) + b"\n")

    def _listed(self) -> Iterator[Any]:
        if self._plan.params is not None:
            yield from self._plan.params
            return
        from maniple.sweep.sources import from_lines

        rest = split_url(self._plan.url)[1] if self._plan.url else ""
        if rest in {"", "-"}:
            if sys.stdin is not None:
                yield from from_lines(sys.stdin.buffer)
            return
        try:
            with open(rest, "rb") as file:
                yield from from_lines(file)
        except OSError as error:
            raise UsageError(f"cannot read params from {rest}: {error.strerror}") from None

    def run(self) -> int:
        """Run it; return the exit code."""
        try:
            return self._run()
        finally:
            if self._scratch is not None:
                from shutil import rmtree

                rmtree(self._scratch, ignore_errors=True)

    def _run(self) -> int:
        plan = self._plan
        feed: Feed | None = None
        if self._own:
            from tempfile import mkdtemp

            self._scratch = mkdtemp(prefix="maniple-")
            url = f"sqlite:{self._scratch}/queue.db"
        else:
            assert plan.url is not None  # noqa: S101 - otherwise the queue is our own
            url = plan.url
        if self._own and plan.params is None:
            feed = self._line_feed()
        elif plan.params is not None:
            salt = count(1)
            make: Callable[[Any], Task] = (
                (lambda param: Task.of(param, next(salt))) if self._own else Task.of
            )
            feed = TaskFeed(self._checked(make))
        door = Door(url, create=feed is not None)
        try:
            # a queue that is missing leaves no new folder behind, a folder that cannot be written
            # leaves no new queue
            if feed is None:
                self._check_first(door.queue)
            self._check_places()
            if feed is not None and feed.fd is None:
                feed.step(door.queue)
            return self._work(door, feed)
        finally:
            with suppress(ManipleError):
                door.shut()

    def _checked(self, make: Callable[[Any], Task]) -> Iterator[Task]:
        """Make tasks, and check the first param against the command."""
        assert self._plan.params is not None  # noqa: S101 - only called when there are
        for number, param in enumerate(self._plan.params):
            if number == 0:
                self._check(param)
            yield make(param)

    def _check(self, param: Any) -> None:
        self._plan.template.check(param)
        if self._plan.shell:
            self._snippet(param, number=1, slot=1)

    def _check_first(self, queue: Queue) -> None:
        """A misspelt placeholder is one error now, not a failure of each task."""
        with suppress(NotSupportedError):
            for record in queue.records(State.WAITING):
                self._check(record.task.param)
                return

    def _check_places(self) -> None:
        plan = self._plan
        if plan.box is not None:
            from maniple.runners.container_ready import prepare

            self._ready = prepare(plan.box)
        if plan.results is not None:
            from maniple.sweep.results import ResultFile

            ResultFile(plan.results).close()
        for folder, hint in (
            (plan.report, "; name another with --report, or use --no-report"),
            (plan.output_dir, "; name another with --output-dir"),
        ):
            if folder is None:
                continue
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"cannot make the folder {folder}: {error.strerror}{hint}"
                ) from None
            if not os.access(folder, os.W_OK | os.X_OK):
                raise StorageError(f"cannot write to the folder {folder}: not permitted{hint}")

    def _line_feed(self) -> LineFeed:
        from maniple.queues.lines import LinesQueue

        rest = split_url(self._plan.url)[1] if self._plan.url else ""
        if rest in {"", "-"}:
            fd = sys.stdin.fileno() if sys.stdin is not None else os.open(os.devnull, os.O_RDONLY)
            return LineFeed(LinesQueue("-", source=fd), fd)
        lines = LinesQueue(rest)
        return LineFeed(lines, os.open(rest, os.O_RDONLY | os.O_CLOEXEC))

    def _work(self, door: Door, feed: Feed | None) -> int:
        plan = self._plan
        tally = Tally(plan.jobs)
        tally.filling = feed is not None and not feed.ended
        began = time.monotonic()
        with Lock() as lock:
            crew = Crew(
                plan.jobs,
                lambda slot: self._minion(door.url, slot, tally, lock.held),
                tally,
                self._scratch,
                before_fork=door.shut,
                clear=self._clear if self._ready is not None else None,
            )
            progress = None
            if not plan.quiet:
                progress = Progress(sys.stderr, lock.held, began)
            trouble: ManipleError | None = None
            try:
                crew.start()
                trouble = self._watch(crew, door, feed, progress)
            finally:
                if progress is not None:
                    progress.clear()
                crew.end()
        if trouble is not None:
            raise trouble
        shown = None if self._own else plan.url
        took = time.monotonic() - began
        return conclude(crew, door.queue, took, url=shown, quiet=plan.quiet)

    def _watch(
        self, crew: Crew, door: Door, feed: Feed | None, progress: Progress | None
    ) -> ManipleError | None:
        """Feed the queue and look at the numbers until all minions have left."""
        halt = self._plan.halt
        tally = crew.tally
        full = False
        ready = False
        while crew.running:
            try:
                if feed is not None and not feed.ended and not full and (feed.fd is None or ready):
                    feed.step(door.queue)
                    tally.filling = not feed.ended
                now = time.monotonic()
                feeding = tally.filling
                if halt != Halt() and not tally.halted:
                    total = door.queue.stats().total or 0
                    if halt.reached(tally.total().failed, total, more=feeding):
                        tally.halt()
                        feed = None
                        tally.filling = False
                if feeding:
                    full = (door.queue.stats().waiting or 0) > AHEAD
                if progress is not None and progress.due(now):
                    progress.show(self._told(door.queue.stats(), tally), now, more=feeding)
            except ManipleError as error:
                return error
            watching = feed is not None and not feed.ended and not full
            patience = 0.0 if watching and feed is not None and feed.fd is None else LOOK_SECONDS
            if halt != Halt():
                patience = min(patience, 0.05)
            ready = crew.wait(patience, feed.fd if watching and feed is not None else None)
        return None

    @staticmethod
    def _told(stats: QueueStats, tally: Tally) -> QueueStats:
        """Put what our own minions have done where the queue does not count it."""
        if stats.done is None:
            stats = msgspec.structs.replace(stats, done=tally.total().done)
        if stats.failed is None:
            stats = msgspec.structs.replace(stats, failed=tally.total().failed)
        return stats

    def _minion(
        self, url: str, slot: int, tally: Tally, lock: Callable[[], AbstractContextManager[Any]]
    ) -> int:
        """What the process of one minion does."""
        plan = self._plan
        queue = open_queue(url, create=False)
        sink = None
        if plan.results is not None:
            from maniple.sweep.results import ResultFile

            sink = ResultFile(plan.results)
        reporters = []
        if plan.report is not None:
            from maniple.reporters.jsonl import JsonlReporter

            reporters.append(JsonlReporter(plan.report))
        output: Output | None = None
        if plan.output_dir is not None:
            output = directory_output(plan.output_dir)
        elif plan.output == "group":
            output = forward(lock)
        runner = self._runner(output, slot)
        context = Context(
            cancel=Cancel(),
            time_limit=plan.time_limit,
            slot=slot,
            running=lambda group: tally.running(slot, group),
        )
        policy = Policy(
            ttl=plan.lease, retries=plan.retries, backoff=plan.backoff, batch=plan.batch
        )
        minion = Minion(
            queue,
            runner,
            reporters,
            policy=policy,
            context=context,
            sink=sink,
            tally=tally,
            wait=plan.wait,
        )
        try:
            minion.run()
        finally:
            if sink is not None:
                sink.close()
            queue.close()
        return Exit.OK

    def _runner(self, output: Output | None, slot: int) -> Runner:
        plan = self._plan
        if not isinstance(plan.template, Template):
            return plan.template.runner(slot, output)
        words = self._shell_words if plan.shell else plan.template.words
        live = plan.output == "live" and plan.output_dir is None
        if self._ready is None:
            return ProcessRunner(words, live=live, output=output)
        from maniple.runners.container import ContainerRunner

        return ContainerRunner(words, self._ready, live=live, output=output)

    def _clear(self, killed: bool) -> None:  # noqa: FBT001 - a crew's `clear` takes it
        self._ready.clear(killed=killed)

    def _shell_words(self, param: Any, *, number: int, slot: int) -> list[str]:
        return ["/bin/sh", "-c", self._snippet(param, number=number, slot=slot)]

    def _snippet(self, param: Any, *, number: int, slot: int) -> str:
        template = self._plan.template
        assert isinstance(template, Template)  # noqa: S101 - there is no shell for an algorithm
        return template.shell(param, number=number, slot=slot)
