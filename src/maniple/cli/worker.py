"""`maniple worker`: run the tasks of a hub on this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from maniple.cli.options import Duration
from maniple.errors import UsageError


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=1000),
    help="How many minions. Default: the processors there are.",
)
@click.option(
    "--timeout", "--time-limit", type=Duration(), metavar="TIME", help="Longest a task may take."
)
@click.option("--memory", metavar="SIZE", help="Most memory of a task: 512m, 2g. Default: 1g.")
@click.option("--disk", metavar="SIZE", help="Most bytes of a task's files. Default: 1g.")
@click.option("--report", metavar="DIR", help="Event files, for maniple status.")
@click.option("--quiet", is_flag=True, help="Do not say when the hub cannot be reached.")
def worker(url: str | None, **options: Any) -> int:
    """Run tasks of a hub, in sandboxes, until Ctrl-C.

    URL is the hub's: ws://HOST:PORT, wss://HOST, HOST:PORT; by default $WEBSOCKET_URI, or the
    loop-back cluster of this machine. The token is read from $MANIPLE_TOKEN, where the hub wants
    one.
    """
    from maniple.algorithm.call import Limits
    from maniple.minion.worker import run_workers
    from maniple.queues.hub_place import LOOPBACK_PORT
    from maniple.runners.container_box import parse_memory

    usual = Limits()
    limits = Limits(
        seconds=options["timeout"] or usual.seconds,
        memory=usual.memory if options["memory"] is None else parse_memory(options["memory"]),
        disk=usual.disk if options["disk"] is None else _disk(options["disk"]),
    )
    return run_workers(
        url or os.environ.get("WEBSOCKET_URI") or f"localhost:{LOOPBACK_PORT}",
        options["jobs"] or os.cpu_count() or 1,
        limits=limits,
        report=options["report"],
        quiet=options["quiet"],
    )


def _disk(text: str) -> int:
    from maniple.runners.container_box import parse_memory

    try:
        return parse_memory(text)
    except UsageError:
        raise UsageError(f"--disk {text!r} is no size: write 512m or 2g") from None
