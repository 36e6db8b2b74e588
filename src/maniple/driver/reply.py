"""What comes of a task: its value, its files, what it printed, or why it failed."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import msgspec

from maniple.algorithm.call import Answer
from maniple.driver.inputs import Order
from maniple.errors import Exit, ManipleError, StorageError
from maniple.task import decode_param

TAIL_LINES: Final = 20
TAIL_CHARACTERS: Final = 4000

log: Final = logging.getLogger("maniple.driver")


class Reply(msgspec.Struct, frozen=True):
    """How a task ended well.

    Attributes:
        task: its id.
        value: what the algorithm's `main` returned.
        files: the result files that were found: path there to content.
        missing: the result files that were not: paths there.
        stdout, stderr: what it printed.
        start, end: when it ran, in seconds since the epoch.
    """

    task: str
    value: Any
    files: dict[str, bytes]
    missing: list[str]
    stdout: str
    stderr: str
    start: float
    end: float


class AlgorithmFailedError(ManipleError):
    """An algorithm failed: an exit code, a trap, an exception, a limit.

    Attributes:
        task: the task's id.
        algorithm: its name.
        cause: a few words that group alike failures: `exit 3`, `time limit`, `trap`.
        error: one sentence that says what happened.
        stderr: what it printed on standard error.
        answer: all that the worker said.
    """

    exit_code = Exit.SOME_FAILED

    def __init__(self, task: str, algorithm: str, answer: Answer) -> None:
        self.task = task
        self.algorithm = algorithm
        self.cause = answer.cause or "failed"
        self.error = answer.error or self.cause
        self.stderr = text_of(answer.stderr)
        self.answer = answer
        super().__init__(_sentence(algorithm, task, self.error, self.stderr))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task, self.algorithm, self.answer)


def reply_of(task: str, order: Order, answer: Answer) -> Reply:
    """Read an answer, and put its files where they were asked for.

    Result files land also where the algorithm failed: they may tell why.

    Raises:
        AlgorithmFailedError: the algorithm failed.
        StorageError: a result file cannot be written.
    """
    for there, here in order.landings.items():
        if here is not None and there in answer.files:
            land(here, answer.files[there], task)
    if not answer.ok:
        raise AlgorithmFailedError(task, order.call.code.name or "the algorithm", answer)
    for there in answer.missing:
        log.warning("the algorithm left no file %s (task %s)", there, task)
    return Reply(
        task=task,
        value=decode_param(answer.value),
        files=answer.files,
        missing=answer.missing,
        stdout=text_of(answer.stdout),
        stderr=text_of(answer.stderr),
        start=answer.start,
        end=answer.end,
    )


def land(path: str, data: bytes, task: str) -> None:
    """Write a result file whole or not at all; folders are made.

    Raises:
        StorageError: it cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(path))
    new = os.path.join(folder, f".{name}.{task[:8]}.{os.getpid()}.new")
    try:
        os.makedirs(folder, exist_ok=True)
        try:
            with open(new, "wb") as file:
                file.write(data)
            os.replace(new, path)
        except BaseException:
            if os.path.exists(new):
                os.unlink(new)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write the result file {path} of task {task}: {error.strerror}"
        ) from None


def text_of(data: bytes) -> str:
    """Read what a program printed, whatever it is."""
    return data.decode("utf-8", "replace")


def _sentence(algorithm: str, task: str, error: str, stderr: str) -> str:
    first = f"{algorithm} failed (task {task}): {error}"
    lines = [line.rstrip() for line in stderr.strip()[-TAIL_CHARACTERS:].splitlines()]
    lines = [line for line in lines if line][-TAIL_LINES:]
    if not lines or (len(lines) == 1 and lines[0].strip() in error):
        return first
    if len(lines) == 1:
        return f"{first}; it printed: {lines[0]}"
    return "\n".join([f"{first}; it printed:", *(f"  {line}" for line in lines)])
