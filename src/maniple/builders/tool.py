"""Finding and running compilers: what they print is shown as they print it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from maniple import proctree
from maniple.builders.contract import CompilerError
from maniple.errors import AlgorithmError

EPOCH: Final = "315532800"
"""1980-01-01, the first day that a zip can hold: `SOURCE_DATE_EPOCH` of every build."""

_CHUNK: Final = 1 << 16
_GRACE_SECONDS: Final = 1.0


def to_stderr(output: bytes) -> None:
    """Show a piece of a compiler's output as it is."""
    binary = getattr(sys.stderr, "buffer", None)
    if binary is None:
        sys.stderr.write(output.decode("utf-8", "replace"))
    else:
        sys.stderr.flush()
        binary.write(output)
    sys.stderr.flush()


class Toolbox:
    """Runs compilers.

    Args:
        show: takes what they print, in pieces, both streams in the order they were written.
        say: takes a line about what is done.
        environment: of the compilers; ours when None.
    """

    def __init__(
        self,
        show: Callable[[bytes], None] = to_stderr,
        *,
        say: Callable[[str], object] = print,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.environment: Mapping[str, str] = {
            **(os.environ if environment is None else environment),
            "SOURCE_DATE_EPOCH": EPOCH,
        }
        self._show = show
        self._say = say

    def say(self, line: str) -> None:
        """Tell the user what is being done."""
        self._say(line)

    def find(self, program: str, *, install: str, override: str | None = None) -> str:
        """Find a program; return its path (see the contract)."""
        named = self.environment.get(override, "") if override else ""
        found = shutil.which(named or program, path=self.environment.get("PATH"))
        if found is None:
            if named:
                raise AlgorithmError(f"${override} names {named}, which is no program")
            other = f", or name it in ${override}" if override else ""
            raise AlgorithmError(f"{program} is not installed: {install}{other}")
        return found

    def run(
        self,
        words: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a compiler to its end (see the contract)."""
        process = self._start(words, folder, environment, subprocess.STDOUT)
        status: int | None = None
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            while output := os.read(process.stdout.fileno(), _CHUNK):
                self._show(output)
            status = process.wait()
        finally:
            _end(process, ended=status is not None)
        if status:
            raise CompilerError(
                f"{_name(words)} ended with {_status(status)}; what it said is above"
            )

    def ask(
        self,
        words: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> str | None:
        """Return what a program prints on standard output; None when it failed."""
        process = self._start(words, folder, environment, subprocess.DEVNULL)
        ended = False
        try:
            output, _ = process.communicate()
            ended = True
        finally:
            _end(process, ended=ended)
        return output.decode("utf-8", "replace") if process.returncode == 0 else None

    def _start(
        self,
        words: Sequence[str],
        folder: str,
        environment: Mapping[str, str] | None,
        stderr: int,
    ) -> subprocess.Popen[bytes]:
        try:
            return _Process(
                words,
                cwd=folder,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                process_group=0,
            )
        except OSError as error:
            raise AlgorithmError(f"cannot start {words[0]}: {error.strerror or error}") from None


class _Process(subprocess.Popen[bytes]):
    """A program that runs on for nobody when Ctrl-C comes while it is started."""

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        try:
            super().__init__(words, **options)
        except KeyboardInterrupt:
            if getattr(self, "pid", None):
                _end(self, ended=False)
            raise


def _end(process: subprocess.Popen[bytes], *, ended: bool) -> None:
    """Leave nothing running, however we got here."""
    if not ended:
        status = proctree.end_tree(process.pid, grace=_GRACE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()


def _name(words: Sequence[str]) -> str:
    """Name a command for people: `python -m ziglang c++` is `ziglang c++`."""
    program = os.path.basename(words[0])
    rest = list(words[1:])
    if rest[:1] == ["-m"]:
        program, rest = rest[1], rest[2:]
    verb = rest[0] if rest and rest[0][:1].isalpha() and "." not in rest[0] else ""
    return f"{program} {verb}".rstrip()


def _status(status: int) -> str:
    if status < 0:
        import signal

        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"
