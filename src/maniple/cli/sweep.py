"""`maniple sweep`: fill a queue with params."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from maniple.cli.options import params_of, queue_url, space_options
from maniple.errors import UsageError

DEFAULT_QUEUE: Final = "sqlite:maniple.db"


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("words", metavar="[PARAMS]...", nargs=-1)
@click.option(
    "-q",
    "--queue",
    "url",
    metavar="URL",
    help="Queue: sqlite:FILE, dir:FOLDER or a broker's URL. Default: $MANIPLE_QUEUE, else "
    f"{DEFAULT_QUEUE}.",
)
@space_options
@click.option("--dry-run", is_flag=True, help="Print the params, fill nothing.")
@click.option("--quiet", is_flag=True, help="Say nothing.")
@click.pass_obj
def sweep(
    obj: dict[str, Any],
    /,
    words: tuple[str, ...],
    url: str | None,
    zipped: tuple[str, ...],
    samples: int | None,
    seed: int,
    text: bool,  # noqa: FBT001 - click passes options by name
    dry_run: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> None:
    """Fill a queue. The same param is the same task: what the queue knows is not added again.

    Queues on amqp, pulsar and gcps do not know what they had: they add it again.

    \b
    x=1..1000 y=a,b,c        a grid: all combinations
    x=0..10:2  x=0..1:0.25   ranges with steps
    x=lin:0..1:5             5 points from 0 to 1
    x=log:1e-3..1e3:7        7 points, evenly spaced on a log scale
    --zip x,y x=1,2 y=a,b    axes that go together
    lr=loguniform:1e-5..1e-1 n=randint:1..100 u=uniform:0..1 c=choice:a,b
      --samples 100 --seed 1 random draws
    params.csv params.jsonl params.yaml lines.txt
                             files, one param a row, value, entry or line
    -                        lines of standard input (also when there are no params)
    """  # noqa: D301 - \b is click's mark
    if obj.get("command") is not None:
        raise UsageError(
            "maniple sweep runs nothing: leave out -- and the command, and give it to maniple run"
        )
    if not words and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("which params? for example: maniple sweep x=1..10 y=a,b -q sqlite:q.db")
    params = _params(words, zipped, samples, seed, text=text)
    if dry_run:
        _print(params)
        return
    from maniple.task import Task
    from maniple.urls import open_queue, redact

    target = queue_url(url) or DEFAULT_QUEUE
    queue = open_queue(target)
    counted = 0

    def tasks() -> Iterator[Task]:
        nonlocal counted
        make = Task.of
        for param in params:
            counted += 1
            yield make(param)

    try:
        added = queue.put(tasks())
    finally:
        queue.close()
    if not quiet:
        known = counted - added
        also = f"; {known} {'was' if known == 1 else 'were'} there already" if known else ""
        print(f"{added} {'task' if added == 1 else 'tasks'} added to {redact(target)}{also}")


def _params(
    words: tuple[str, ...], zipped: tuple[str, ...], samples: int | None, seed: int, *, text: bool
) -> Iterator[Any]:
    if words and "-" not in words:
        return params_of(words, zipped=zipped, samples=samples, seed=seed, text=text)
    if len(words) > 1:
        raise UsageError("'-' (standard input) stands alone: its lines are the params")
    from maniple.sweep.sources import from_lines

    return from_lines(sys.stdin.buffer)


def _print(params: Iterator[Any]) -> None:
    from maniple.task import encode_param

    write = sys.stdout.buffer.write
    for param in params:
        write(encode_param(param) + b"\n")
