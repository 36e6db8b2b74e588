"""Tasks as messages of Pulsar, and messages of other programs as tasks."""

from __future__ import annotations

import json
import time
from typing import Final, NamedTuple

import msgspec

from maniple.errors import ParamError
from maniple.queue import Failure
from maniple.queues.pulsar_topics import Letter
from maniple.queues.pulsar_wire import Message
from maniple.task import Task

ID: Final = "maniple-id"
ATTEMPT: Final = "maniple-attempt"
FOR: Final = "maniple-for"
FAILURE: Final = "maniple-failure"
_SPARE: Final = 4096
_LONGEST: Final = 1 << 18
_encode = msgspec.json.Encoder().encode
_failure = msgspec.json.Decoder(Failure).decode


class Unreadable(NamedTuple):
    """A message that is no task: what of it can be kept, and why."""

    task: Task
    failure: Failure


def letter_of(task: Task) -> Letter:
    """Write a new task; every subscription gets it."""
    return Letter(task.data, {ID: task.id})


def copy_of(task: Task, subscription: str, attempt: int, delay: float = 0.0) -> Letter:
    """Write a task again for one subscription only, to be delivered after `delay` seconds."""
    at = int((time.time() + delay) * 1000) if delay > 0 else 0
    return Letter(task.data, {ID: task.id, ATTEMPT: str(attempt), FOR: subscription}, at)


def failed_of(task: Task, failure: Failure, subscription: str, most: int) -> Letter:
    """Write a task that is set aside; long texts are cut to what the broker takes."""
    room = min(_LONGEST, max(0, most - len(task.data) - _SPARE) // 2)
    texts = [_cut(text, room) for text in (failure.error, failure.output)]
    kept = Failure(_cut(failure.cause, 1000), texts[0], texts[1], failure.at)
    properties = {
        ID: task.id,
        ATTEMPT: str(task.attempt),
        FOR: subscription,
        FAILURE: _encode(kept).decode(),
    }
    return Letter(task.data, properties)


def _cut(text: str, room: int) -> str:
    """Keep the end: a traceback and an output say the most there."""
    # what is no text is written as text; JSON may need six bytes for one of these
    clean = text.encode("utf-8", "backslashreplace").decode()
    while (size := len(_encode(clean))) > room:
        clean = clean[-int(len(clean) * room / size * 0.9) :] if room else ""
    return clean


def read_task(
    message: Message, index: int, properties: dict[str, str], payload: bytes, *, as_json: bool
) -> Task | Unreadable:
    """Read one message, ours or another program's.

    Args:
        message: that it is, or is in.
        index: in its container, or 0.
        properties: of the message.
        payload: its content.
        as_json: other programs' messages are JSON documents, not text.
    """
    if message.trouble:
        return _unreadable(message, index, payload, message.trouble)
    known = properties.get(ID)
    if known:
        attempt = properties.get(ATTEMPT, "1")
        return Task(known, payload, int(attempt) if attempt.isdecimal() else 1)
    try:
        text = payload.decode()
        return Task.of(json.loads(text) if as_json else text, _salt(message, index))
    except (ValueError, RecursionError, ParamError) as error:
        kind = "JSON" if as_json else "text in UTF-8"
        return _unreadable(message, index, payload, f"it is no {kind}: {error}")


def _salt(message: Message, index: int) -> int:
    """Tell equal messages apart, the same way whenever one is delivered."""
    return (message.ledger << 96) | (message.entry << 32) | index


def _unreadable(message: Message, index: int, payload: bytes, reason: str) -> Unreadable:
    task = Task.of(payload.decode("utf-8", "surrogateescape"), _salt(message, index))
    place = f"{message.ledger}:{message.entry}"
    return Unreadable(
        task, Failure("undecodable", f"message {place} cannot be read: {reason}", "", time.time())
    )


def read_failed(properties: dict[str, str], task: Task) -> Failure:
    """Read why a task was set aside; what others have put there has no reason."""
    try:
        return _failure(properties.get(FAILURE, "").encode())
    except msgspec.DecodeError:
        return Failure("unknown", f"task {task.id} was set aside by another program")


def stranger(properties: dict[str, str], subscription: str) -> bool:
    """Tell whether a message is another subscription's copy."""
    return properties.get(FOR, subscription) != subscription
