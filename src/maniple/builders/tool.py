"""Finding and running compilers: what they print is shown as they print it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from maniple import proctree
from maniple.builders.contract import CompilerError
from maniple.errors import AlgorithmError
from maniple.interrupts import HeldBack

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
        with self._running(words, folder, environment, subprocess.STDOUT) as (process, output):
            while piece := os.read(output, _CHUNK):
                self._show(piece)
        status = process.returncode
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
        pieces = []
        with self._running(words, folder, environment, subprocess.DEVNULL) as (process, output):
            while piece := os.read(output, _CHUNK):
                pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "replace") if process.returncode == 0 else None

    @contextmanager
    def _running(
        self,
        words: Sequence[str],
        folder: str,
        environment: Mapping[str, str] | None,
        stderr: int,
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Run a program for this block, which reads its output; leave nothing running after it."""
        with HeldBack() as signals:
            process = self._start(words, folder, environment, stderr)
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            try:
                with signals.heard():
                    yield process, process.stdout.fileno()
                    # wait, and leave it to be waited for: there is no pid to be lost
                    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                process.wait()
            finally:
                if process.returncode is None:
                    status = proctree.end_tree(process.pid, grace=_GRACE_SECONDS)
                    process.returncode = os.waitstatus_to_exitcode(status)
                process.stdout.close()

    def _start(
        self,
        words: Sequence[str],
        folder: str,
        environment: Mapping[str, str] | None,
        stderr: int,
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
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
