"""`maniple loopback`: a hub and its workers on this machine."""

from __future__ import annotations

from typing import Any

import click

from maniple.cli.options import Duration


@click.command()
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=7070,
    show_default=True,
    help="Port of the hub; 0: any free one.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=1000),
    help="How many workers. Default: the processors there are.",
)
@click.option(
    "--timeout", "--time-limit", type=Duration(), metavar="TIME", help="Longest a task may take."
)
@click.option("--memory", metavar="SIZE", help="Most memory of a task: 512m, 2g. Default: 1g.")
@click.option(
    "--bind",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; whoever reaches it may use the cluster.",
)
@click.option("--quiet", is_flag=True, help="Show nothing while it runs.")
def loopback(**options: Any) -> int:
    """Run a cluster on this machine until Ctrl-C: a hub, and workers for its drivers' tasks.

    \b
    maniple loopback -p 7070          prints, when it is ready, the line for drivers:
    export WEBSOCKET_URI=ws://localhost:7070/client_socket/websocket

    Algorithms are those in ./build and the ones added with `maniple algorithm add`; packages can
    also be pushed to it.
    """  # noqa: D301 - \b is click's mark
    from maniple.algorithm.call import Limits
    from maniple.hub.loopback import serve
    from maniple.runners.container_box import parse_memory

    usual = Limits()
    memory = options["memory"]
    return serve(
        options["port"],
        options["jobs"],
        host=options["bind"],
        limits=Limits(
            seconds=options["timeout"] or usual.seconds,
            memory=usual.memory if memory is None else parse_memory(memory),
        ),
        quiet=options["quiet"],
    )
