"""Tasks as messages: ours, copies of them, those of other programs, and those too large for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from maniple.errors import ParamError
from maniple.queue import Failure
from maniple.queues.nats_channel import Fetched
from maniple.queues.nats_link import Question
from maniple.queues.nats_login import Msg
from maniple.queues.nats_store import Names
from maniple.task import Task, decode_param

TASK_HEADER: Final = "Maniple-Task"
PIECES_HEADER: Final = "Maniple-Pieces"
DELAY_HEADER: Final = "Maniple-Delay"
FAILURE_HEADER: Final = "Maniple-Failure"
EXPECTED_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"
SLACK_BYTES: Final = 4096
LONGEST_TEXT: Final = 64 * 1024
_ID: Final = re.compile(r"[0-9a-f]{32}")
_ACK_PARTS: Final = 9
_NEW: Final = {EXPECTED_HEADER: "0"}


class Place:
    """Where a message stands: what the subject for its acknowledgement tells.

    Attributes:
        deliveries: how often it was delivered, this time included.
        sequence: its number in the stream.
        ahead: how many deliveries the consumer has made, this one included, less the sequence.
    """

    __slots__ = ("ahead", "deliveries", "sequence")

    def __init__(self, reply: str) -> None:
        # $JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.serial.time.pending[.token]
        parts = reply.split(".")
        start = 4 if len(parts) == _ACK_PARTS else 6
        self.deliveries = int(parts[start])
        self.sequence = int(parts[start + 1])
        self.ahead = int(parts[start + 2]) - self.sequence


class Item:
    """A task as a message holds it.

    Attributes:
        task: with no data yet if there are pieces.
        lapses: how often its minions fell silent, before this message was stored.
        pieces: how many messages hold its data; 0: this one does.
        trouble: why another program's message cannot be read, or None.
    """

    __slots__ = ("lapses", "pieces", "task", "trouble")

    def __init__(
        self, task: Task, lapses: int = 0, pieces: int = 0, trouble: str | None = None
    ) -> None:
        self.task = task
        self.lapses = lapses
        self.pieces = pieces
        self.trouble = trouble


class Codec:
    """Writes and reads tasks.

    Args:
        names: of the queue.
        as_json: params of other programs are JSON; otherwise text.
        payload: gives the size of the largest message, in bytes.
    """

    def __init__(self, names: Names, payload: Callable[[], int], *, as_json: bool) -> None:
        self._names = names
        self._as_json = as_json
        self._payload = payload

    def put(self, task: Task) -> tuple[Question, list[Question]]:
        """Write a new task, and the pieces that must be stored before it."""
        subject = self._names.task + task.id
        room = self.room
        data = task.data
        if len(data) <= room:
            return Question(subject, data, _NEW), []
        cuts = range(0, len(data), room)
        pieces = [
            Question(self.piece(task.id, n), data[at : at + room]) for n, at in enumerate(cuts)
        ]
        return Question(subject, b"", {**_NEW, PIECES_HEADER: str(len(pieces))}), pieces

    @property
    def room(self) -> int:
        """The most data that fits into one message, in bytes."""
        return self._payload() - SLACK_BYTES

    def piece(self, task_id: str, number: int | str) -> str:
        """Name the subject of one piece of a task's data, or of all for `*`."""
        return self._names.subject("data", f"{task_id}.{number}")

    def copy(self, kind: str, item: Item, mark: str, delay: float = 0.0) -> Question:
        """Write the copy of a task that was given back; of equal marks the server keeps one."""
        headers = self._headers(item, mark)
        if delay > 0:
            headers[DELAY_HEADER] = f"{delay:.6f}"
        data = b"" if item.pieces else item.task.data
        return Question(self._names.subject(kind, item.task.id), data, headers)

    def failed(self, item: Item, failure: Failure, mark: str) -> Question:
        """Write a failure; the output and the error are cut to what fits."""
        room = self.room
        data = b"" if item.pieces else item.task.data
        # bytes that are no text must not keep a failure from being noted; JSON may triple text
        longest = max(200, min(LONGEST_TEXT, (room - len(data)) // 12))
        shown = msgspec.structs.replace(
            failure,
            cause=_clean(failure.cause)[:200],
            error=_clean(failure.error)[:longest],
            output=_clean(failure.output)[-longest:],
        )
        text = msgspec.json.encode(shown)
        if len(text) + len(data) > room:
            text = msgspec.json.encode(msgspec.structs.replace(shown, error="", output=""))
        subject = self._names.subject("failed", item.task.id)
        headers = {**self._headers(item, mark), FAILURE_HEADER: str(len(text))}
        return Question(subject, text + data, headers)

    @staticmethod
    def _headers(item: Item, mark: str) -> dict[str, str]:
        task = item.task
        headers = {
            TASK_HEADER: f"{task.number} {task.attempt} {item.lapses}",
            MESSAGE_ID_HEADER: mark,
        }
        if item.pieces:
            headers[PIECES_HEADER] = str(item.pieces)
        return headers

    def read(self, message: Msg, sequence: int) -> Item:
        """Read a task from any stream's message; the sequence is the number of a first one."""
        headers = message.headers or {}
        # what was read directly has come to our inbox
        subject = headers.get("Nats-Subject", message.subject)
        task_id = subject.rpartition(".")[2]
        if _ID.fullmatch(task_id):
            # nothing that another program writes there may stop a minion
            with suppress(ValueError):
                pieces = int(headers.get(PIECES_HEADER, 0))
                if TASK_HEADER in headers:
                    number, attempt, lapses = (int(word) for word in headers[TASK_HEADER].split())
                    data = message.data[int(headers.get(FAILURE_HEADER, 0)) :]
                    return Item(Task(task_id, data, attempt, number), lapses, pieces)
                if EXPECTED_HEADER in headers:
                    return Item(Task(task_id, message.data, 1, sequence), 0, pieces)
        return self._foreign(message, sequence)

    def _foreign(self, message: Msg, sequence: int) -> Item:
        trouble = None
        param: Any
        try:
            param = decode_param(message.data) if self._as_json else message.data.decode()
            task = Task.of(param, sequence)
        except (ValueError, ParamError, RecursionError) as error:
            trouble = "; ".join(str(error).split("\n"))
            task = Task.of(message.data.decode("utf-8", "backslashreplace"), sequence)
        return Item(Task(task.id, task.data, 1, sequence), trouble=trouble)

    @staticmethod
    def failure(message: Msg) -> Failure:
        """Read the reason from a message of a failure."""
        length = int((message.headers or {}).get(FAILURE_HEADER, 0))
        return msgspec.json.decode(message.data[:length], type=Failure)


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def sequence_of(fetched: Fetched) -> int:
    """Give the sequence of a message that was pulled."""
    return Place(fetched.message.reply).sequence


def direct_sequence(message: Msg) -> int:
    """Give the sequence of a message that was read directly."""
    return int((message.headers or {})["Nats-Sequence"])


def spans(numbers: Sequence[int]) -> bytes:
    """Pack numbers: first and last of each run."""
    packed: list[int] = []
    for number in sorted(numbers):
        if packed and number == packed[-1] + 1:
            packed[-1] = number
        else:
            packed += (number, number)
    return msgspec.json.encode(packed)


def unspan(data: bytes) -> list[range]:
    """Unpack what `spans` has packed."""
    packed: list[int] = msgspec.json.decode(data, type=list[int])
    return [range(a, b + 1) for a, b in zip(packed[::2], packed[1::2], strict=True)]
