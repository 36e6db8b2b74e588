"""`maniple queue`: look at a queue's tasks, put failed ones back, export, purge."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from maniple.cli.options import need_queue, queue_option
from maniple.errors import StorageError, UsageError
from maniple.queue import Queue, Record, State
from maniple.urls import open_queue, redact

STATES = tuple(state.value for state in State)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def queue() -> None:
    """Look at the tasks of a queue, put failed ones back, export, purge."""


@contextmanager
def _opened(url: str | None) -> Iterator[Queue]:
    opened = open_queue(need_queue(url), create=False)
    try:
        yield opened
    finally:
        opened.close()


def _writer(record: Record) -> dict[str, Any]:
    task, failure = record.task, record.failure
    row: dict[str, Any] = {
        "number": task.number,
        "id": task.id,
        "state": record.state.value,
        "attempt": task.attempt,
        "param": task.param,
    }
    if failure is not None:
        row.update(cause=failure.cause, error=failure.error, output=failure.output, at=failure.at)
    return row


@queue.command()
@queue_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, output included.")
def failed(url: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes options by name
    """List the failed tasks: number, attempts, cause, param, the error's last line."""
    with _opened(url) as opened:
        any_failed = False
        for record in opened.records(State.FAILED):
            any_failed = True
            if as_json:
                _print_json(record)
                continue
            failure = record.failure
            error = failure.error.strip().rpartition("\n")[2] if failure else ""
            cause = failure.cause if failure else ""
            param = record.task.data.decode("utf-8", "replace")
            tries = f"{record.task.attempt} attempt{'s' if record.task.attempt > 1 else ''}"
            click.echo(f"{record.task.number}\t{param}\t{tries}\t{cause}\t{error}")
        if not any_failed and not as_json:
            click.echo("no failed tasks", err=True)


def _print_json(record: Record) -> None:
    import msgspec

    try:
        data = msgspec.json.encode(_writer(record))
    except UnicodeEncodeError:
        import json

        data = json.dumps(_writer(record)).encode()
    sys.stdout.buffer.write(data + b"\n")


@queue.command()
@queue_option
@click.argument("key", metavar="TASK")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(url: str | None, key: str, as_json: bool) -> None:  # noqa: FBT001
    """Show all about one TASK, named by its number or its id (the first digits will do)."""
    with _opened(url) as opened:
        record = opened.find(key)
    if record is None:
        raise UsageError(f"no task {key!r} in {redact(need_queue(url))}")
    if as_json:
        _print_json(record)
        return
    row = _writer(record)
    for name in ("number", "id", "state", "attempt"):
        click.echo(f"{name:8} {row[name]}")
    click.echo(f"param    {record.task.data.decode('utf-8', 'replace')}")
    failure = record.failure
    if failure is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(failure.at))
        click.echo(f"failed   {when}: {failure.cause}")
        click.echo(failure.error.rstrip())
        if failure.output:
            click.echo("--- the end of its output")
            click.echo(failure.output.rstrip())


@queue.command()
@queue_option
@click.argument("keys", metavar="[TASK]...", nargs=-1)
def retry(url: str | None, keys: tuple[str, ...]) -> None:
    """Put failed tasks (all, or these: numbers or ids) back, to be run again as new."""
    with _opened(url) as opened:
        ids = [_failed_id(opened, key) for key in keys] if keys else None
        number = opened.retry(ids)
    click.echo(f"{number} {'task' if number == 1 else 'tasks'} put back")


def _failed_id(opened: Queue, key: str) -> str:
    record = opened.find(key)
    if record is None:
        raise UsageError(f"no task {key!r} in {redact(opened.url)}")
    if record.state is not State.FAILED:
        raise UsageError(
            f"task {key} is {record.state}, not failed: only failed tasks can be put back"
        )
    return record.task.id


@queue.command()
@queue_option
@click.option("--state", type=click.Choice(STATES), help="Only tasks in this state.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), help="Default: by the ending."
)
@click.option("-o", "--to", "path", metavar="FILE", help="Default: standard output.")
def export(url: str | None, state: str | None, form: str | None, path: str | None) -> None:
    """Write the tasks, with their states, as JSON Lines or CSV."""
    chosen = form or ("csv" if path is not None and path.endswith(".csv") else "jsonl")
    with _opened(url) as opened:
        records = opened.records(State(state) if state else None)
        if path is None:
            _export(records, chosen)
            return
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:
                _export(records, chosen, file)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from None


def _export(records: Iterator[Record], form: str, file: Any = None) -> None:
    import json

    target = file or sys.stdout
    write: Callable[[Record], Any]
    if form == "csv":
        rows = csv.writer(target, lineterminator="\n")
        rows.writerow(["number", "id", "state", "attempt", "param", "cause", "error"])

        def write(record: Record) -> None:
            failure = record.failure
            param = record.task.data.decode("utf-8", "replace")
            reason = (failure.cause, failure.error) if failure else ("", "")
            task = record.task
            rows.writerow([task.number, task.id, record.state, task.attempt, param, *reason])

    else:

        def write(record: Record) -> None:
            target.write(json.dumps(_writer(record), ensure_ascii=True) + "\n")

    for record in records:
        write(record)


@queue.command()
@queue_option
@click.option("--state", type=click.Choice([s for s in STATES if s != "leased"]))
@click.option("--all", "everything", is_flag=True, help="All tasks that nobody holds.")
def purge(url: str | None, state: str | None, everything: bool) -> None:  # noqa: FBT001
    """Forget tasks of one state, or --all. What is forgotten is new when it is filled in again."""
    if (state is None) != everything:
        raise UsageError("which tasks? --state failed, done, waiting or delayed; or --all")
    with _opened(url) as opened:
        number = opened.purge(State(state) if state else None)
    click.echo(f"{number} {'task' if number == 1 else 'tasks'} forgotten")
