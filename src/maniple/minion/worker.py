"""Workers: minions that run the algorithms of a hub's drivers, until they are stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from maniple.algorithm.call import Limits
from maniple.errors import Exit, UsageError
from maniple.minion.book import Policy
from maniple.minion.crew import Crew
from maniple.minion.minion import Minion
from maniple.minion.progress import say
from maniple.minion.tally import Tally
from maniple.queues.hub import HubQueue
from maniple.queues.hub_place import read_place
from maniple.reporter import Reporter
from maniple.runner import Cancel, Context
from maniple.runners.algorithm import AlgorithmRunner

LOOK_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 3.0
_SIGNALLED: Final = 128


def worker_minion(
    url: str,
    slot: int = 1,
    tally: Tally | None = None,
    *,
    limits: Limits | None = None,
    report: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Run one worker in this process, until a signal ends it.

    Args:
        url: of the hub: `hub:HOST:PORT`, `ws://HOST:PORT` and the like.
        slot: which minion of its crew this is, from 1.
        tally: numbers shared with the crew.
        limits: what a call may use at most, whatever it asks for.
        report: a folder for event files, or None.
        tell: is told when the hub cannot be reached, and when it can again.

    Returns:
        The exit code for its process.

    Raises:
        UsageError: the URL is malformed.
        ClusterError: the hub refuses us.
        StorageError: the cache, or the folder for events, cannot be written.
        KeyboardInterrupt: after Ctrl-C, when all is given back.
        SystemExit: after SIGTERM, likewise.
    """
    reporters: list[Reporter] = []
    if report is not None:
        from maniple.reporters.jsonl import JsonlReporter

        reporters.append(JsonlReporter(report))
    queue = HubQueue(rest_of(url), name=f"{socket.gethostname()}/{slot}", tell=tell)
    runner = AlgorithmRunner(
        queue.call_of, queue.parts_of, limits=limits, deliver=queue.answered, values=False
    )
    queue.abort = runner.abort
    minion = Minion(
        queue,
        runner,
        reporters,
        policy=Policy(ttl=LEASE_SECONDS),
        context=Context(cancel=Cancel(), slot=slot),
        tally=tally,
    )
    try:
        minion.run()
    finally:
        queue.close()
    return Exit.OK


def rest_of(url: str) -> str:
    """Take the `hub:` off a hub's URL, where it is there."""
    return url.removeprefix("hub:")


def run_workers(
    url: str,
    jobs: int,
    *,
    limits: Limits | None = None,
    report: str | None = None,
    quiet: bool = False,
) -> int:
    """Run a crew of workers until a signal ends it, or the hub refuses them.

    Args:
        url: of the hub.
        jobs: how many workers.
        limits: what a call may use at most.
        report: a folder for event files, or None.
        quiet: do not say when the hub cannot be reached.

    Returns:
        The exit code: that of the signal, or `Exit.BROKEN`.

    Raises:
        UsageError: the URL is malformed, or `jobs` is below 1.
    """
    if jobs < 1:
        raise UsageError(f"workers must be at least 1, not {jobs}")
    read_place(rest_of(url))
    tally = Tally(jobs)

    def minion(slot: int) -> int:
        # the others would say the same
        tell = say if slot == 1 and not quiet else None
        return worker_minion(url, slot, tally, limits=limits, report=report, tell=tell)

    crew = Crew(jobs, minion, tally)
    crew.start()
    try:
        while crew.running:
            crew.wait(LOOK_SECONDS)
    finally:
        crew.end()
    if crew.broken:
        return Exit.BROKEN
    return _SIGNALLED + crew.stopped_by if crew.stopped_by else Exit.OK
