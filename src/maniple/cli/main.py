"""The command `maniple`: finds the verb, and turns errors into a line and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn

import click

from maniple.errors import Exit, ManipleError

VERBS: Final = {
    "run": ("maniple.cli.run:run", "Run a command for each param of a queue, or of a list."),
    "sweep": ("maniple.cli.sweep:sweep", "Fill a queue with params."),
    "status": ("maniple.cli.status:status", "Show what was done, what failed, how fast."),
    "network": ("maniple.cli.network:network", "Run a graph of jobs joined by pipes; draw it."),
    "loopback": ("maniple.cli.loopback:loopback", "Run a cluster on this machine: a hub, workers."),
    "worker": ("maniple.cli.worker:worker", "Run tasks of a hub on this machine, in sandboxes."),
    "algorithm": ("maniple.cli.algorithm:algorithm", "Make, build, test and try an algorithm."),
    "queue": ("maniple.cli.queue:queue", "List, retry, export, show or purge a queue's tasks."),
}

TAKES_COMMAND: Final = {"run", "sweep"}


class _Verbs(click.Group):
    """Loads a verb's module only when it runs, so that the command starts at once."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # whoever read our output has seen enough; click would call it an error
            _forget_output()
            return Exit.OK

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
)
@click.version_option(package_name="maniple", message="%(prog)s %(version)s")
def cli() -> None:
    """Run any program over many params, massively in parallel, and lose nothing.

    \b
    maniple run x=1..10 y=a,b -- ./a.out {x} {y}     right away
    maniple sweep x=1..1000 -q sqlite:q.db           or keep it: fill a queue,
    maniple run -q sqlite:q.db -j 8 -- ./a.out {x}   empty it, as often and from as many
    maniple status                                   terminals as you like

    Exit codes: 0 all well, 1 some tasks failed, 2 usage, 3 the queue or a file cannot be
    written, 130 interrupted, 143 terminated.
    """  # noqa: D301 - \b is click's mark for text to leave as it is


def main(arguments: list[str] | None = None) -> None:
    """Run the command; never returns."""
    _stand()
    words = sys.argv[1:] if arguments is None else arguments
    command: list[str] | None = None
    if "--" in words:
        # what follows is somebody else's command: not for us to take options from
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    if command is not None and words and words[0] in VERBS and words[0] not in TAKES_COMMAND:
        print(
            f"maniple: maniple {words[0]} runs nothing: leave out -- and what follows it",
            file=sys.stderr,
        )
        sys.exit(Exit.USAGE)
    run_to_exit(cli, words, name="maniple", obj={"command": command})


def run_to_exit(group: click.Group, words: list[str], *, name: str, obj: Any = None) -> NoReturn:
    """Run a group of verbs as the program `name`, and end the process with its exit code."""
    _stand()
    signal.signal(signal.SIGTERM, _terminate)
    code = _call(group, words, name, obj)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _forget_output()
        code = code or _refused(error, name)
    sys.stderr.flush()
    # taking the interpreter down module by module would be a quarter of a short run's time
    os._exit(code)


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Leave as after Ctrl-C: files that are ours alone are removed on the way out."""
    raise SystemExit(128 + number)


def _stand() -> None:
    """Put something in the place of standard streams that are closed.

    Otherwise the next file that is opened would be taken for one of them.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115 - stays open
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115 - stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that lacks a letter is no reason to stop
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _refused(error: OSError, name: str) -> int:
    where = f" ({error.filename})" if error.filename else ": the output, or a temporary file"
    print(f"{name}: cannot go on: {error.strerror or error}{where}", file=sys.stderr)
    return Exit.BROKEN


def _call(group: click.Group, words: list[str], name: str, obj: Any) -> int:
    try:
        result: Any = group.main(words, prog_name=name, standalone_mode=False, obj=obj)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else error.format_message())
        return Exit.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else name
        print(f"{name}: {error.format_message()} (see {path} --help)", file=sys.stderr)
        return Exit.USAGE
    except ManipleError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        _forget_output()
        return _refused(error, name)
    return result if isinstance(result, int) else Exit.OK
