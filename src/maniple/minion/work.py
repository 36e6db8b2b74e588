"""`maniple.work`: N minions in processes of their own empty a queue with a Python function."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple import proctree
from maniple.errors import Exit, ManipleError, StorageError, UsageError
from maniple.minion.book import Policy
from maniple.minion.crew import Crew
from maniple.minion.minion import Minion
from maniple.minion.tally import Count, Tally
from maniple.runner import Cancel, Context
from maniple.runners.function import FunctionRunner
from maniple.urls import open_queue

LOOK_SECONDS: Final = 1.0


def work(
    function: Callable[[Any], Any],
    queue: str,
    *,
    jobs: int | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    results: str | None = None,
    report: str | None = None,
    wait: bool = True,
) -> Count:
    """Empty a queue with `function(param)`, in `jobs` minions; return what they have done.

    The minions live in a process group beside ours: our own children and signal handlers are left
    alone. Ctrl-C ends them in order, and gives back what they hold.

    Args:
        function: any callable; it need not be picklable.
        queue: URL of a queue that other processes can open: `sqlite:FILE`, `dir:FOLDER`.
        jobs: minions; default: as many as there are processors.
        policy: leases, retries, batches.
        timeout: seconds that one call may take.
        results: a .jsonl or .csv file to append results to, or None.
        report: a folder for event files (for `maniple status`), or None.
        wait: stay while others hold tasks.

    Raises:
        UsageError: the queue cannot be shared with other processes, or `jobs` is below 1.
        QueueError: there is no such queue, or it cannot be used.
        StorageError: the queue or the results could not be written; nothing is lost.

    Example:
        >>> work(train, "sqlite:q.db", jobs=4, policy=Policy(retries=2))  # doctest: +SKIP
    """
    minions = os.cpu_count() or 1 if jobs is None else jobs
    if minions < 1:
        raise UsageError(f"jobs must be at least 1, not {minions}")
    opened = open_queue(queue, create=False)
    shared = opened.guarantees.shared
    opened.close()
    if not shared:
        raise UsageError(f"{queue} lives in one process; take sqlite:FILE or dir:FOLDER")
    tally = Tally(minions)

    def minion(slot: int) -> int:
        sink = None
        if results is not None:
            from maniple.sweep.results import ResultFile

            sink = ResultFile(results)
        reporters = []
        if report is not None:
            from maniple.reporters.jsonl import JsonlReporter

            reporters.append(JsonlReporter(report))
        ours = open_queue(queue, create=False)
        try:
            Minion(
                ours,
                FunctionRunner(function),
                reporters,
                policy=policy,
                context=Context(cancel=Cancel(), time_limit=timeout, slot=slot),
                sink=sink,
                tally=tally,
                wait=wait,
            ).run()
        finally:
            if sink is not None:
                sink.close()
            ours.close()
        return Exit.OK

    _wait_for(_fork(minions, minion, tally))
    return tally.total()


def _fork(minions: int, minion: Callable[[int], int], tally: Tally) -> int:
    """Start the process that leads the crew: it adopts and ends orphans, which is not for us."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code: int = Exit.BROKEN
    try:
        proctree.die_with_parent(signal.SIGTERM, parent)
        crew = Crew(minions, minion, tally)
        crew.start()
        try:
            while crew.running:
                crew.wait(LOOK_SECONDS)
        finally:
            crew.end()
        code = Exit.BROKEN if crew.broken else 128 + crew.stopped_by if crew.stopped_by else Exit.OK
    except ManipleError as error:
        print(f"maniple: {error}", file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait_for(pid: int) -> None:
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        # Ctrl-C reached the crew as well, if there is a terminal; a second word does no harm
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if code == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in {Exit.OK, Exit.TERMINATED}:
        raise StorageError("the minions could not go on; they said why on standard error")
