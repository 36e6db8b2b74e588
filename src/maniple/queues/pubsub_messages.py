"""What a task is as a message, and a message as a task."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from maniple.errors import ParamError, QueueError
from maniple.queue import Failure, Record, State, lost_failure
from maniple.queues.pubsub_wire import Raw
from maniple.task import Task

ID: Final = "maniple-id"
ATTEMPT: Final = "maniple-attempt"
LAPSES: Final = "maniple-lapses"
DELAY: Final = "maniple-delay"
FOR: Final = "maniple-for"
FAILED: Final = "maniple-failed"
_OURS: Final = frozenset({ID, ATTEMPT, LAPSES, DELAY, FOR, FAILED})
BATCH: Final = 1000
BATCH_BYTES: Final = 1 << 20
MOST_BYTES: Final = 9_900_000
_MORE_BYTES: Final = 50_000
LONGEST_DEADLINE: Final = 600
_OVERHEAD_BYTES: Final = 200
_encode = msgspec.json.Encoder().encode


_read_failure = msgspec.json.Decoder(Failure).decode


class UnreadableError(Exception):
    """A message of another program that is no param.

    Attributes:
        task: stands for it: its param is the message's text.
        failure: why.
    """

    def __init__(self, task: Task, why: str) -> None:
        super().__init__(why)
        self.task = task
        self.failure = Failure("unreadable", why)


def message_of(task: Task, **attributes: object) -> Any:
    """Make the message of a task: its id and its param.

    Raises:
        QueueError: it is larger than messages may be.
    """
    if len(task.data) > MOST_BYTES:
        raise QueueError(
            f"a param of {len(task.data)} bytes is too large: a message of Pub/Sub has at most"
            f" {MOST_BYTES} bytes"
        )
    marks = {ID: task.id}
    if task.attempt > 1:
        marks[ATTEMPT] = str(task.attempt)
    marks.update((name, str(value)) for name, value in attributes.items())
    return Raw.Message(data=task.data, attributes=marks)


def copy_of(
    task: Task, *, attempt: int, lapses: int, delay: float, reader: str, extra: Mapping[str, str]
) -> Any:
    """Make the message of a task that is given back.

    Args:
        task: as it was leased.
        attempt: of its next run.
        lapses: so far.
        delay: seconds before that run.
        reader: the subscription that it is for; a topic may have others.
        extra: what another program wrote beside the data: a subscription may filter by it.
    """
    marks = {**extra, ID: task.id, FOR: reader}
    if attempt > 1:
        marks[ATTEMPT] = str(attempt)
    if lapses:
        marks[LAPSES] = str(lapses)
    if delay > 0:
        marks[DELAY] = f"{delay:.3f}"
    return Raw.Message(data=task.data, attributes=marks)


def failed_of(task: Task, failure: Failure) -> Any:
    """Make the message of a task that is set aside: a line of JSON for its param, one for why.

    What it printed is cut to what fits.
    """
    clean = Failure(_text(failure.cause), _text(failure.error), _text(failure.output), failure.at)
    why = _encode(clean)
    room = MOST_BYTES + _MORE_BYTES - len(task.data)
    if len(why) > room:
        # a character takes up to six bytes
        most = room // 16
        why = _encode(
            Failure(clean.cause[:most], clean.error[-most:], clean.output[-most:], clean.at)
        )
    marks = {ID: task.id, ATTEMPT: str(task.attempt), FAILED: "1"}
    return Raw.Message(data=b"%s\n%s" % (task.data, why), attributes=marks)


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def read_task(message: Any, decode: str) -> Task:
    """Read a message, of ours or of another program.

    Raises:
        UnreadableError: it is no param.
    """
    marks = message.attributes
    if ID in marks:
        return Task(marks[ID], message.data, _count(marks, ATTEMPT, 1))
    # the same message is the same task however often it comes
    digest = hashlib.blake2b(message.message_id.encode(), digest_size=8).digest()
    salt = int.from_bytes(digest)
    try:
        text = message.data.decode()
    except UnicodeDecodeError:
        text = message.data.decode("utf-8", "surrogateescape")
        raise UnreadableError(Task.of(text, salt), "this message is not UTF-8") from None
    if decode == "identity":
        return Task.of(text, salt)
    try:
        # read by ourselves: the order of keys is part of the text of a param
        return Task.of(json.loads(text), salt)
    except (ValueError, RecursionError, ParamError) as error:
        why = f"this message is not valid JSON ({error})"
        raise UnreadableError(Task.of(text, salt), why) from None


def _count(marks: Mapping[str, str], name: str, default: int) -> int:
    text = marks.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else default


def lapses_of(received: Any) -> tuple[int, int]:
    """Tell how many leases of a task have lapsed: before this message, and with it.

    The service counts deliveries, where the subscription has a dead-letter policy: all but the
    first are lapses, or gifts back, of which there are few before there is a new message, or ends
    of a delay: a message that is early is held for as long as deadlines go, and delivered again.
    """
    marks = received.message.attributes
    delay = delay_of(received.message)
    held = math.ceil(delay / LONGEST_DEADLINE) if delay > 0 else 0
    deliveries: int = received.delivery_attempt
    return _count(marks, LAPSES, 0), max(0, deliveries - 1 - held)


def delay_of(message: Any) -> float:
    """Tell for how many seconds after it was published a message is to wait."""
    marks = message.attributes
    if DELAY not in marks:
        return 0.0
    try:
        delay = float(marks[DELAY])
    except ValueError:
        return 0.0
    return delay if 0 < delay < math.inf else 0.0


def published_at(message: Any) -> float:
    """When the service took a message, in seconds since the epoch by its own clock."""
    seconds: float = message.publish_time.seconds + message.publish_time.nanos / 1e9
    return seconds


def extra_of(message: Any) -> dict[str, str]:
    """What another program wrote beside the data."""
    return {name: text for name, text in message.attributes.items() if name not in _OURS}


def read_failed(received: Any) -> Record:
    """Read what `failed_of` wrote, or what the service itself has set aside."""
    message = received.message
    marks = message.attributes
    if FAILED in marks:
        data, _, why = message.data.rpartition(b"\n")
        task = Task(marks[ID], data, _count(marks, ATTEMPT, 1))
        return Record(task, State.FAILED, _read_failure(why))
    try:
        task = read_task(message, "identity")
    except UnreadableError as unreadable:
        task = unreadable.task
    deliveries = _count(marks, "CloudPubSubDeadLetterSourceDeliveryCount", 0)
    return Record(task, State.FAILED, lost_failure(deliveries, published_at(message)))


def batches(messages: Iterable[Any]) -> Iterator[list[Any]]:
    """Cut messages into what one call takes."""
    batch: list[Any] = []
    size = 0
    for message in messages:
        more = len(message.data) + _OVERHEAD_BYTES
        if batch and (len(batch) >= BATCH or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += more
    if batch:
        yield batch
