"""How a task is a message of Kafka, and how a failure is."""

from __future__ import annotations

import json
from typing import Any, Final

from maniple.errors import ParamError
from maniple.queue import Failure, Record, State
from maniple.queues.kafka_ops import Place
from maniple.task import ID_BYTES, Task

MARK: Final = b"maniple/"
KEY_LENGTH: Final = len(MARK) + 2 * ID_BYTES
MOST_TEXT: Final = 1 << 20
PARTITIONS: Final = 1 << 16
_CUT: Final = "[...] "


class UndecodableError(Exception):
    """A message of another program is no param; `task` stands for it among the failed ones."""

    def __init__(self, task: Task, why: str) -> None:
        super().__init__(why)
        self.task = task


def key_of(task_id: str) -> bytes:
    """Give the key of a task's message: it marks ours."""
    return MARK + task_id.encode()


def id_of(key: bytes | str | None) -> str | None:
    """Give the id of a task that was put by Maniple; None for other programs' messages."""
    if not isinstance(key, bytes) or len(key) != KEY_LENGTH or not key.startswith(MARK):
        return None
    return key[len(MARK) :].decode("ascii", "replace")


def read_task(message: Any, *, decode: bool, attempt: int = 1, numbered: bool = True) -> Task:
    """Read a message as a task.

    Args:
        message: of the topic of tasks.
        decode: read the messages of other programs as JSON; they are text otherwise.
        attempt: number of its run.
        numbered: give its number; there is one where there is one partition.

    Raises:
        UndecodableError: another program put something that is no text, or no JSON.
    """
    offset = message.offset()
    number = offset + 1 if numbered else 0
    value = message.value()
    task_id = id_of(message.key())
    if task_id is not None and value is not None:
        return Task(task_id, value, attempt, number)
    # two messages are two tasks, equal or not; a message stays where it is
    salt = offset * PARTITIONS + message.partition()
    try:
        if value is None:
            raise ValueError("it has no value")  # noqa: TRY301 - one answer for all that fails
        text = value.decode()
        found = Task.of(json.loads(text) if decode else text, salt)
    except (ValueError, RecursionError, ParamError) as error:
        shown = (value or b"").decode("utf-8", "backslashreplace")
        task = Task.of(shown, salt)
        raise UndecodableError(
            Task(task.id, task.data, attempt, number), f"this message is no param: {error}"
        ) from None
    return Task(found.id, found.data, attempt, number)


def letter(task: Task, failure: Failure, partition: int, offset: int) -> dict[str, Any]:
    """Write a failed task as a message for the topic of failed ones."""
    return {
        "key": key_of(task.id),
        "value": task.data,
        "headers": [
            ("cause", _bytes(failure.cause)),
            ("error", _bytes(failure.error)),
            ("output", _bytes(failure.output)),
            ("at", b"%r" % failure.at),
            ("attempt", b"%d" % task.attempt),
            ("partition", b"%d" % partition),
            ("offset", b"%d" % offset),
        ],
    }


def read_letter(message: Any, *, numbered: bool) -> Record:
    """Read what `letter` wrote."""
    said = dict(message.headers() or ())

    def text(name: str) -> str:
        return (said.get(name) or b"").decode("utf-8", "surrogatepass")

    failure = Failure(text("cause"), text("error"), text("output"), float(said.get("at") or b"0"))
    number = int(said.get("offset") or b"0") + 1 if numbered else 0
    attempt = int(said.get("attempt") or b"1")
    task = Task(id_of(message.key()) or "", message.value() or b"null", attempt, number)
    return Record(task, State.FAILED, failure)


def _bytes(text: str) -> bytes:
    """Encode text, whatever is in it; of a long one the end counts."""
    if len(text) > MOST_TEXT:
        text = _CUT + text[-MOST_TEXT:]
    return text.encode("utf-8", "surrogatepass")


def is_lapsed(place: Place) -> bool:
    """Tell whether a task was set aside because its minions died; there is no letter then."""
    return not isinstance(place, int)
