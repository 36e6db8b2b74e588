"""Callbacks: what the drop-in package does with each param."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from maniple import proctree
from maniple.callback.below import GRACE_SECONDS, mark
from maniple.callback.engines import Engine


class Callback:
    """What is done with one param: `setup`, `process`, `teardown`, in this order, once.

    An exception of `setup` or `process` is caught, logged and handed to `teardown`. Callbacks own
    the acknowledgement: a `teardown` that neither acknowledges nor gives back need not care, for
    the param is acknowledged after it.
    """

    def setup(self, param: Any, engine: Engine) -> None:
        """Prepare."""

    def process(self, param: Any, engine: Engine) -> None:
        """Do the work."""

    def teardown(
        self,
        param: Any,
        engine: Engine,
        exception: BaseException | None,  # noqa: ARG002 - for those who override it
    ) -> None:
        """Clean up and acknowledge, failed or not; `exception` is None when all went well."""
        engine.ack(param)

    def describe(self, param: Any) -> str:
        """Tell in a line what would be done, for a dry run."""
        return repr(param)


class FuncCallback(Callback):
    """Calls a function with each param, in this process."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def process(self, param: Any, engine: Engine) -> None:  # noqa: ARG002 - a callback's signature
        """Call it; what it returns is not kept."""
        self.function(param)

    def describe(self, param: Any) -> str:
        """Write the call."""
        return f"{getattr(self.function, '__name__', self.function)}({param!r})"


class ProcessCallback(Callback):
    """Runs a command for each param, through the shell; subclass it with `to_cmd`.

    The command's output is ours. Its standard input is empty, for ours may hold the params.
    """

    def to_cmd(self, param: Any) -> str:
        """Write the command for a param, as text for `sh -c`."""
        raise NotImplementedError(f"{type(self).__name__} has no method to_cmd")

    def process(self, param: Any, engine: Engine) -> None:  # noqa: ARG002 - a callback's signature
        """Run it to its end.

        Raises:
            subprocess.CalledProcessError: the exit status is not 0 (negative: a signal).
            TypeError: `to_cmd` gave no text.
            OSError, ValueError: it cannot be started: too long, or a NUL in it.
        """
        command = self.to_cmd(param)
        if not isinstance(command, str):
            raise TypeError(f"to_cmd must give text, not {type(command).__name__}")
        code = _run(command)
        if code:
            import subprocess

            raise subprocess.CalledProcessError(code, command)

    def describe(self, param: Any) -> str:
        """Write the command."""
        return str(self.to_cmd(param))


class WordsCallback(ProcessCallback):
    """Appends the text of each param to the words of a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def to_cmd(self, param: Any) -> str:
        """Write command and param, as text."""
        return f"{self.command} {param}"


def _run(command: str) -> int:
    """Run a command in a process group of its own; return its exit status, negative: a signal."""
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", command],
        mark(),
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigmask=(),
        # Python ignores these two; a program expects them as they were
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    ended = False
    try:
        status = os.waitpid(pid, 0)[1]
        ended = True
    finally:
        if not ended:
            with suppress(ChildProcessError):
                proctree.end_tree(pid, grace=GRACE_SECONDS)
    return os.waitstatus_to_exitcode(status)
