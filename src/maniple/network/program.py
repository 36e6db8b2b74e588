"""Any program as a job: its pipes are files that it opens, or open file descriptors."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from typing import BinaryIO, Final

from maniple import proctree
from maniple.errors import UsageError
from maniple.network.job import Job
from maniple.network.pipe import Pipe

GRACE_SECONDS: Final = 2.0


class ProgramError(Exception):
    """A program could not be started, or ended with a status other than 0."""


class Program(Job):
    """Runs a program whose command line gets a flag and a path (or a descriptor) for each pipe.

    What travels is what the pipe's encoding writes into a file: a line each for `json` and `lines`,
    blocks of one size for `Fixed`, pickles. The program need not answer each block with one.
    It ends when its inputs have ended and it has closed its outputs, or exits.

    Args:
        command: words, or text that is split as a shell does; no shell runs it.
        inputs: each is announced by `input_flag`.
        outputs: each is announced by `output_flag`.
        name: the program's name by default.
        input_flag: the word before an input, or nothing for the path alone.
        output_flag: likewise.
        descriptors: give numbers of open file descriptors instead of paths.
        folder: where the program runs, or None.

    Raises:
        UsageError: there is no command.
    """

    def __init__(
        self,
        command: str | Sequence[str],
        inputs: Sequence[Pipe | str] = (),
        outputs: Sequence[Pipe | str] = (),
        *,
        name: str | None = None,
        input_flag: str = "-i",
        output_flag: str = "-o",
        descriptors: bool = False,
        folder: str | None = None,
    ) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else list(command)
        if not self.command:
            raise UsageError("a program needs a command")
        super().__init__(inputs, outputs, name=name or os.path.basename(self.command[0]))
        self.input_flag = input_flag
        self.output_flag = output_flag
        self.descriptors = descriptors
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *inputs: object) -> None:
        """Programs are not called block by block."""
        raise NotImplementedError(f"job {self.name} is a program: it runs by itself")

    def start(self) -> tuple[list[BinaryIO], list[BinaryIO]]:
        """Start the program; return the files to write inputs to and to read outputs from.

        Raises:
            ProgramError: it cannot be started.
        """
        words = list(self.command)
        theirs: list[int] = []
        feeds: list[BinaryIO] = []
        results: list[BinaryIO] = []
        for pipes, flag, ours in (
            (self.inputs, self.input_flag, feeds),
            (self.outputs, self.output_flag, results),
        ):
            for _ in pipes:
                read, write = os.pipe()
                mine, other = (write, read) if ours is feeds else (read, write)
                ours.append(os.fdopen(mine, "wb" if ours is feeds else "rb"))
                theirs.append(other)
                words += [flag] if flag else []
                # a name for the pipe that leaves no file behind
                words.append(str(other) if self.descriptors else f"/dev/fd/{other}")
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                pass_fds=theirs,
                cwd=self.folder,
                preexec_fn=lambda: proctree.die_with_parent(signal.SIGKILL, parent),  # noqa: PLW1509
            )
        except OSError as error:
            raise ProgramError(f"cannot start {words[0]}: {error.strerror}") from None
        finally:
            for fd in theirs:
                os.close(fd)
        return feeds, results

    @property
    def ended(self) -> bool:
        """The program runs no more."""
        return self._process is not None and self._process.poll() is not None

    def wait(self) -> None:
        """Wait for the program's end.

        Raises:
            ProgramError: its status is not 0.
        """
        assert self._process is not None  # noqa: S101 - it was started
        code = self._process.wait()
        if code < 0:
            raise ProgramError(f"{self.command[0]} was killed by {signal.Signals(-code).name}")
        if code:
            raise ProgramError(f"{self.command[0]} ended with exit status {code}")

    def end(self) -> None:
        """End the program now."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
