"""A task as a message of RabbitMQ, and back; also the messages of other programs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any, Final, NamedTuple

from maniple.queue import Failure
from maniple.queues.rabbitmq_channel import Delivery, spec
from maniple.task import ID_BYTES, Task

TYPE: Final = "maniple"
ATTEMPT: Final = "maniple-attempt"
LAPSES: Final = "maniple-lapses"
SERIAL: Final = "maniple-serial"
ORDER: Final = "maniple-order"
_PERSISTENT: Final = 2
_JSON: Final = "application/json"
_ID_LENGTH: Final = 2 * ID_BYTES
_SHOWN: Final = 10_000
_CAUSE_LENGTH: Final = 500


class Taken(NamedTuple):
    """A task as it came, and how often it has come back because its holder was gone.

    Attributes:
        failure: why it cannot be a task, or None.
    """

    task: Task
    lapses: int
    failure: Failure | None = None


def _encoded(**properties: Any) -> bytes:
    return b"".join(
        spec.BasicProperties(
            content_type=_JSON, delivery_mode=_PERSISTENT, type=TYPE, **properties
        ).encode()
    )


# a new task's properties differ in the id only
_BEFORE, _AFTER = _encoded(message_id="0" * _ID_LENGTH).split(b"0" * _ID_LENGTH)

RECEIPT: Final = b"".join(spec.BasicProperties(type=TYPE).encode())
"""The properties of a message that need not outlive the server."""


def properties(task: Task, lapses: int = 0, more: dict[str, Any] | None = None) -> bytes:
    """Encode the properties of a task's message."""
    headers = dict(more) if more else {}
    if task.attempt != 1:
        headers[ATTEMPT] = task.attempt
    if lapses:
        headers[LAPSES] = lapses
    if not headers and len(task.id) == _ID_LENGTH and task.id.isascii():
        return b"".join((_BEFORE, task.id.encode(), _AFTER))
    return _encoded(message_id=task.id, headers=headers)


def mark(milliseconds: int) -> bytes:
    """Encode the properties of a mark that vanishes after a while."""
    return _encoded(expiration=str(milliseconds))


def failure_headers(failure: Failure, frame: int) -> dict[str, Any]:
    """Write a failure as headers; what does not fit into one frame loses its beginning."""
    return {
        ORDER: str(time.time_ns()),
        "maniple-cause": _clean(failure.cause, _CAUSE_LENGTH),
        "maniple-error": _clean(failure.error, frame // 4),
        "maniple-output": _clean(failure.output, frame // 2),
        "maniple-at": repr(failure.at),
    }


def order(delivery: Delivery) -> int:
    """Tell when a task failed: reading failures gives them back, in an order of the server's."""
    text = str((delivery.properties.headers or {}).get(ORDER, ""))
    return int(text) if text.isdecimal() else 0


def read_failure(delivery: Delivery) -> tuple[Task, Failure]:
    """Read a message of the failed ones. One that somebody else put there is a failure as well."""
    headers = delivery.properties.headers or {}
    task = read(delivery, "", json_text=False).task
    try:
        at = float(headers.get("maniple-at", 0))
    except (TypeError, ValueError):
        at = 0.0
    return task, Failure(
        str(headers.get("maniple-cause", "unknown")),
        str(headers.get("maniple-error", "")),
        str(headers.get("maniple-output", "")),
        at,
    )


def read(delivery: Delivery, hold_prefix: str, *, json_text: bool) -> Taken:
    """Read a message.

    Args:
        delivery: as it came.
        hold_prefix: how the queues begin through which a task comes back from a dead holder.
        json_text: the messages of other programs are JSON; otherwise their text is the param.
    """
    props, body = delivery.properties, delivery.body
    headers = props.headers or {}
    lapses = 0
    if headers:
        lapses = _number(headers, LAPSES) + _number(headers, "x-delivery-count")
        for death in headers.get("x-death") or ():
            if hold_prefix and str(death.get("queue", "")).startswith(hold_prefix):
                lapses += int(death.get("count", 1))
    task_id = props.message_id
    if props.type == TYPE and task_id and len(task_id) == _ID_LENGTH:
        return Taken(Task(task_id, body, _number(headers, ATTEMPT) or 1), lapses)
    return _foreign(props.message_id, body, lapses, json_text=json_text)


def _foreign(message_id: str | None, body: bytes, lapses: int, *, json_text: bool) -> Taken:
    # equal messages are two tasks; one without an id gets another at each delivery
    seed = message_id.encode("utf-8", "replace") if message_id else os.urandom(ID_BYTES)
    salt = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest())
    try:
        text = body.decode()
        param = json.loads(text) if json_text else text
        return Taken(Task.of(param, salt), lapses)
    except ValueError as error:
        kind = "JSON" if json_text else "text in UTF-8"
        failure = Failure("undecodable", f"the message is no {kind}: {error}")
    except Exception as error:
        failure = Failure("undecodable", f"the message cannot be a param: {error}")
    return Taken(Task.of(body[:_SHOWN].decode("utf-8", "backslashreplace"), salt), lapses, failure)


def _number(headers: dict[str, Any], name: str) -> int:
    value = headers.get(name, 0)
    return value if isinstance(value, int) else 0


def _clean(text: str, length: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    return (
        text if len(data) <= length and text.isascii() else data[-length:].decode(errors="ignore")
    )
