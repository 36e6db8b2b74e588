"""`maniple run`: empty a queue, or run over a list of params right away."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

from maniple.cli.options import Duration, params_of, queue_url, space_options
from maniple.errors import UsageError

ENGINES: Final = ("auto", "docker", "podman", "apptainer", "singularity")
OUTPUTS: Final = ("group", "live", "none")


@click.command()
@click.argument("words", metavar="[PARAMS]... -- COMMAND...", nargs=-1)
@click.option(
    "-q", "--queue", "url", metavar="URL", help="Queue to empty. Default: $MANIPLE_QUEUE."
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=1000),
    help="How many minions. Default: the processors there are.",
)
@space_options
@click.option("--shell", is_flag=True, help="Run the words through sh; params are quoted.")
@click.option(
    "--timeout", "--time-limit", type=Duration(), metavar="TIME", help="Limit of one attempt."
)
@click.option(
    "--retries", type=click.IntRange(min=0), default=0, help="More attempts for a failed task."
)
@click.option(
    "--backoff",
    type=Duration(zero=True),
    default=1.0,
    metavar="TIME",
    help="Pause before the first retry; doubles with each. Default: 1s.",
)
@click.option(
    "--halt",
    default="never",
    metavar="WHEN",
    help="Start no more tasks after: first (failure), N (failures), N% (of the tasks), never.",
)
@click.option(
    "--lease",
    type=Duration(),
    default=30.0,
    metavar="TIME",
    help="A silent minion's task runs again after this. Default: 30s.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=256, help="Most tasks leased at a time."
)
@click.option("--no-wait", is_flag=True, help="Leave while others still hold tasks.")
@click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="group",
    help="Pass output on when a task has ended (group), at once (live), or not. Default: group.",
)
@click.option("--output-dir", metavar="DIR", help="Keep each task's output in files there.")
@click.option("--results", metavar="FILE", help="Append results, with params: .jsonl or .csv.")
@click.option(
    "--report",
    metavar="DIR",
    help="Event files, for maniple status. Default: minion-report, when a queue is named.",
)
@click.option("--no-report", is_flag=True, help="Write no event files.")
@click.option(
    "--algorithm",
    metavar="NAME[@VERSION]",
    help="Call this algorithm (or package .zip) for each task: COMMAND is main's arguments.",
)
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="WORD",
    help="A word of the algorithm's own command line.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="THERE=HERE",
    help="A file that the algorithm finds at THERE.",
)
@click.option(
    "--result",
    "result_files",
    multiple=True,
    metavar="THERE=HERE",
    help="A file that the algorithm leaves at THERE goes to HERE: out/{#}.txt.",
)
@click.option("--image", metavar="NAME", help="Run each task in a fresh container of this image.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    help="Who runs containers. Default: whoever answers (auto).",
)
@click.option("--pull", is_flag=True, help="Fetch the image first when it is not there.")
@click.option(
    "--network", metavar="NAME", help="Network of containers: none, host, or a name. Default: none."
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory of a container (default: all) or a call (1g): 512m, 2g.",
)
@click.option("--cpus", type=float, metavar="N", help="Processors of a container. Default: all.")
@click.option(
    "--pids", type=int, metavar="N", help="Processes and threads in a container. Default: 1024."
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="SRC:DST[:rw]",
    help="Show a folder or file in containers; read-only without :rw.",
)
@click.option("--workdir", metavar="DIR", help="Where in the container the command starts.")
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable for containers. Nothing else of ours is seen there.",
)
@click.option("--user", metavar="UID[:GID]", help="Whom containers run as. Default: you.")
@click.option("--writable", is_flag=True, help="Let tasks write to the container's own files.")
@click.option("--dry-run", is_flag=True, help="Print the commands, run nothing.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
@click.pass_obj
def run(obj: dict[str, Any], /, words: tuple[str, ...], url: str | None, **options: Any) -> int:
    """Run a command for each param: of a queue (-q), of PARAMS, or of standard input.

    \b
    {x} {}           a field of the param; the whole param (else appended as words)
    {#} {%}          number of the task; slot of the minion
    {/} {//} {.}     base name, folder, without ending; {@} the param as JSON
    {{x}}            literally {x}

    \b
    seq 10 | maniple run -- ./a.out
    maniple run x=1..10 y=a,b -j 4 -- ./a.out {x} {y}
    maniple run -q sqlite:q.db --retries 2 --timeout 1h -- ./a.out {x}
    maniple run points.jsonl --algorithm kmeans@0.0.1 -- {points} 2
    """  # noqa: D301 - \b is click's mark
    from maniple.minion.campaign import Campaign, Plan
    from maniple.minion.halt import Halt
    from maniple.sweep.template import Template

    command = obj.get("command")
    template: Any = _recipe(command, options)
    if template is None:
        if not command:
            raise UsageError("which command? write it after --: maniple run x=1..10 -- ./a.out {x}")
        if not command[0]:
            raise UsageError("the command's first word is empty: write the program there")
        template = Template(command)
    named = queue_url(url)
    params = None
    if words:
        params = params_of(
            words,
            zipped=options["zipped"],
            samples=options["samples"],
            seed=options["seed"],
            text=options["text"],
        )
    report = options["report"] or os.environ.get("MANIPLE_REPORT")
    if report is None and named is not None:
        report = "minion-report"
    plan = Plan(
        template=template,
        url=named,
        params=params,
        jobs=options["jobs"] or os.cpu_count() or 1,
        shell=options["shell"],
        time_limit=options["timeout"],
        retries=options["retries"],
        backoff=options["backoff"],
        halt=Halt.parse(options["halt"]),
        lease=options["lease"],
        batch=options["batch"],
        wait=not options["no_wait"],
        output=options["output"],
        output_dir=options["output_dir"],
        results=options["results"],
        report=None if options["no_report"] else report,
        quiet=options["quiet"],
        box=_box(options),
    )
    campaign = Campaign(plan)
    if options["dry_run"]:
        return campaign.show()
    if params is None and named is None and sys.stdin is not None and sys.stdin.isatty():
        print("maniple: reading params from the terminal, one a line; Ctrl-D ends", file=sys.stderr)
    return int(campaign.run())


def _recipe(command: list[str] | None, options: dict[str, Any]) -> Any:
    """Make the calls of the options; None when no algorithm is named.

    Raises:
        UsageError: an option of algorithms without one, or one that does not go with it.
        AlgorithmError: there is no such algorithm.
    """
    algorithm = options["algorithm"]
    if algorithm is None:
        for name, option in (
            ("arguments", "--arg"),
            ("files", "--file"),
            ("result_files", "--result"),
        ):
            if options[name]:
                raise UsageError(f"{option} is for algorithms: name one with --algorithm, too")
        return None
    if options["image"] is not None:
        raise UsageError("--image and --algorithm do not go together: an algorithm has a sandbox")
    if options["shell"]:
        raise UsageError("--shell is for commands: the words after -- are arguments of main")
    if options["output"] == "live":
        raise UsageError("--output live is for commands: an algorithm's comes when it has ended")
    from maniple.algorithm.call import Limits
    from maniple.runners.algorithm_recipe import Order, Recipe

    memory = Limits().memory
    if options["memory"] is not None:
        from maniple.runners.container_box import parse_memory

        memory = parse_memory(options["memory"])
    return Recipe(
        Order(
            algorithm,
            command,
            options["arguments"],
            options["files"],
            options["result_files"],
            Limits(seconds=None, memory=memory),
        )
    )


def _box(options: dict[str, Any]) -> Any:
    """Make the container's description of the options; None when no image is named.

    Raises:
        UsageError: an option of containers without an image, or one that is wrong.
    """
    image = options["image"]
    if image is None:
        for name in ("network", "memory", "cpus", "pids", "workdir", "user"):
            if name == "memory" and options["algorithm"] is not None:
                continue
            if options[name] is not None:
                raise UsageError(f"--{name} is for containers: name an --image, too")
        for name, option in (
            ("mounts", "--mount"),
            ("variables", "--env"),
            ("writable", "--writable"),
            ("pull", "--pull"),
        ):
            if options[name]:
                raise UsageError(f"{option} is for containers: name an --image, too")
        if options["engine"] != "auto":
            raise UsageError("--engine is for containers: name an --image, too")
        return None
    from maniple.runners.container_box import (
        Box,
        check,
        parse_environment,
        parse_memory,
        parse_mount,
    )

    box = Box(
        image,
        engine=options["engine"],
        network="none" if options["network"] is None else options["network"],
        memory=None if options["memory"] is None else parse_memory(options["memory"]),
        cpus=options["cpus"],
        pids=options["pids"],
        mounts=tuple(parse_mount(text) for text in options["mounts"]),
        workdir=options["workdir"],
        environment=parse_environment(options["variables"]),
        user=options["user"],
        writable=options["writable"],
        pull=options["pull"],
    )
    check(box)
    return box
