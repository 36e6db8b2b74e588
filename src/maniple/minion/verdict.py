"""How a run went: the lines at its end, and its exit code."""

from __future__ import annotations

import sys
from typing import Final

from maniple.errors import Exit, ManipleError
from maniple.minion.crew import Crew
from maniple.minion.progress import duration, say
from maniple.minion.tally import Count
from maniple.queue import Queue, State
from maniple.urls import redact

SHOWN_FAILURES: Final = 5
_SIGNALLED: Final = 128


def conclude(crew: Crew, queue: Queue, took: float, *, url: str | None, quiet: bool) -> int:
    """Say how a crew did; choose the exit code.

    Args:
        crew: has ended.
        queue: that it worked on.
        took: seconds.
        url: of the queue, or None where it goes with the run.
        quiet: say only what went wrong with the crew itself.
    """
    counted = crew.tally.total()
    try:
        stats = queue.stats()
    except ManipleError:
        if crew.broken:
            return Exit.BROKEN
        raise
    code: int = Exit.OK
    if crew.broken:
        code = Exit.BROKEN
    elif crew.stopped_by:
        code = _SIGNALLED + crew.stopped_by
    elif counted.failed or stats.failed or crew.tally.halted:
        code = Exit.SOME_FAILED
    if quiet or (crew.broken and counted == Count()):
        # what went wrong has been said, and nothing else happened
        return code
    parts = [f"{counted.done} {_tasks(counted.done)} done in {duration(took)}"]
    if counted.done:
        parts[0] += f" ({counted.done / took:.0f}/s)" if took > 0 else ""
    if crew.lost:
        parts.append(f"{crew.lost} {'minion' if crew.lost == 1 else 'minions'} killed, replaced")
    stopped = crew.stopped_by or crew.broken
    if stopped or crew.tally.halted:
        left = (stats.waiting or 0) + (stats.delayed or 0) + (stats.leased or 0)
        known = None not in {stats.waiting, stats.delayed, stats.leased}
        parts.append(f"stopped with {left} {_tasks(left)} left" if known else "stopped")
    say("; ".join(parts))
    failed = counted.failed if stats.failed is None else stats.failed
    if failed:
        _tell_failures(queue, failed, url)
    if stopped and url is not None:
        say("run the same command again to go on")
    return code


def _tell_failures(queue: Queue, failed: int, url: str | None) -> None:
    say(f"{failed} {_tasks(failed)} failed:")
    for shown, record in enumerate(queue.records(State.FAILED)):
        if shown == SHOWN_FAILURES:
            print(f"  and {failed - shown} more", file=sys.stderr)
            break
        error = record.failure.error.strip() if record.failure else ""
        text = record.task.data.decode("utf-8", "replace")
        line = error.rpartition("\n")[2]
        print(f"  {_cut(text)}: {_cut(line)}", file=sys.stderr)
    if url is None:
        say("with -q sqlite:FILE failed tasks and their output are kept, and can be retried")
    else:
        from shlex import quote

        name = quote(redact(url))
        say(f"see them: maniple queue failed -q {name}; again: maniple queue retry -q {name}")


def _tasks(number: int) -> str:
    return "task" if number == 1 else "tasks"


def _cut(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
