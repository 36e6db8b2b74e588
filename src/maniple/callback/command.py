"""What the commands `minionize` and `minion-status` do. Light until there is something to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple.errors import Exit, ManipleError

USAGE: Final = "usage: minionize [--help] [--version] COMMAND [WORD ...]"

HELP: Final = f"""{USAGE}

Run COMMAND once for each param of an engine, until none is left. The param is
appended, as text, to the words of the command; the shell runs the whole.
Without a COMMAND, .minionize.yml in this directory names it.

  MINION_ENGINE=execo minionize echo hello      params of an execo sweep
  cat params | MINION_ENGINE=file minionize ./a.out      one run per line

Environment (a file .env is read first, and overrides nothing):
  MINION_ENGINE    execo (default), file, google, pulsar, or a queue's URL
                   as sqlite:q.db, dir:/shared/sweep
  MINION_REPORTER  null (default), stdout, json; see minion-status
  MINION_LEASE     seconds after which the param of a silent minion goes to
                   another one (default 30; leases are renewed while it works)
  MINION_RETRIES   how many more times a failed param is run (default 0)
  DRY              any value: print the commands, run nothing
  EXECO_PERSISTENCE_DIR (sweeps), FILE_PATH (standard input), FILE_DECODER
  (identity or json), REPORTER_JSON_DIRECTORY (minion-report);
  for brokers GOOGLE_*, PULSAR_*

Exit codes: 0 nothing is left (failed params are logged), 2 wrong usage or
settings, 3 the engine gave out, 130 Ctrl-C, 143 SIGTERM."""

STATUS_USAGE: Final = "usage: minion-status [--help] [--json] [--html FILE] [--watch SECONDS]"

STATUS_HELP: Final = f"""{STATUS_USAGE}

Show statistics of the events that minions leave with MINION_REPORTER=json,
while they run or afterwards. Events are read from REPORTER_JSON_DIRECTORY
(default: minion-report).

  MINION_REPORTER=json minion-status"""


def run(arguments: list[str]) -> int:
    """Do what `minionize` does; return its exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return Exit.OK
    if arguments[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"minionize (maniple {version('maniple')})")
        return Exit.OK
    if arguments[:1] == ["--"]:
        del arguments[0]
    elif arguments and arguments[0].startswith("-"):
        print(f"minionize: there is no option {arguments[0]}\n{USAGE}", file=sys.stderr)
        return Exit.USAGE
    if os.getpid() == 1:
        from maniple.callback.init import become_init

        become_init()
    return _guarded("minionize", lambda: _work(arguments))


def _work(words: list[str]) -> int:
    from maniple.callback.callbacks import WordsCallback
    from maniple.callback.entry import load_settings, minionizer

    # words are joined as text, and the shell reads them: the older tool's scripts rely on it
    command = " ".join(words) or load_settings().command
    if not command:
        print(USAGE, file=sys.stderr)
        return Exit.USAGE
    minionizer(WordsCallback(command)).run()
    return Exit.OK


def status(arguments: list[str], find: Callable[[], Any]) -> int:
    """Do what `minion-status` does; return its exit code.

    Args:
        arguments: options of `maniple status`.
        find: gives that command (of click's), when it is needed.
    """
    if arguments[:1] in (["-h"], ["--help"]):
        print(STATUS_HELP)
        return Exit.OK
    return _guarded("minion-status", lambda: _status(arguments, find))


def _status(arguments: list[str], find: Callable[[], Any]) -> int:
    from maniple.callback.entry import load_settings
    from maniple.errors import UsageError

    settings = load_settings()
    if settings.reporter != "json":
        raise UsageError(
            f"the reporter {settings.reporter} records nothing to read: set MINION_REPORTER=json"
            " for minionize, and for minion-status"
        )
    folder = settings.reporter_json_directory
    if not os.path.exists(folder):
        raise UsageError(
            f"there are no events at {folder} yet: run minionize with MINION_REPORTER=json here,"
            " or set REPORTER_JSON_DIRECTORY"
        )
    import click

    try:
        find().main([*arguments, "--", folder], prog_name="minion-status", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return Exit.OK


def _guarded(name: str, work: Callable[[], int]) -> int:
    """Turn what a user can mend into one line and an exit code."""
    import logging

    logging.basicConfig(format=f"{name}: %(message)s", level=logging.WARNING)
    try:
        code = work()
        sys.stdout.flush()
    except ManipleError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has enough; Python would complain once more at its exit
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code
