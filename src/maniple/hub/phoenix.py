"""What programs of the earlier platform say and hear: Phoenix channels, version 1, as JSON text.

A task is a call with all it needs: the module and its loader in base64, in every task.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import shlex
from typing import Any, Final

import msgspec

from maniple.algorithm.call import NULL, Answer, Call, Code, whole

REPLY: Final = "phx_reply"
JOIN: Final = "phx_join"
LEAVE: Final = "phx_leave"
LOBBY: Final = "room:client?"
ROOM: Final = "room:client:"
HEARTBEAT_TOPIC: Final = "phoenix"
_LEVEL: Final = 1  # the fastest: what saves a byte more costs the hub's time


class FrameError(Exception):
    """A frame is not as it should be; the text says how."""


class Frame(msgspec.Struct):
    """One frame, either way."""

    topic: str
    event: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    ref: msgspec.Raw = msgspec.Raw(NULL)


class TaskBody(msgspec.Struct):
    """What is to be run. All but `wasm` may be null."""

    wasm: str | None = None
    loader: str | None = None
    data_link: str | None = None
    params: msgspec.Raw = msgspec.Raw(NULL)
    arguments: str | list[Any] | None = None
    preload_files: dict[str, str] | None = None
    result_files: dict[str, Any] | list[str] | None = None


class TaskPayload(msgspec.Struct):
    """The payload of a `task` frame."""

    ref: str
    body: msgspec.Raw = msgspec.Raw(b"{}")


_decode_frame = msgspec.json.Decoder(Frame).decode
_decode_payload = msgspec.json.Decoder(TaskPayload).decode
_decode_body = msgspec.json.Decoder(TaskBody).decode
_encode = msgspec.json.Encoder().encode


def read_frame(text: str | bytes) -> Frame:
    """Read a frame.

    Raises:
        FrameError: it is none.
    """
    try:
        return _decode_frame(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from None


def read_task(payload: bytes | msgspec.Raw) -> TaskPayload:
    """Read the payload of a task: its ref; the body is read by `read_body`.

    Raises:
        FrameError: it has none.
    """
    try:
        return _decode_payload(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(f"not a task: {error}") from None


def read_body(body: bytes | msgspec.Raw) -> TaskBody:
    """Read what a task runs.

    Raises:
        FrameError: something in it is of the wrong type.
    """
    try:
        return _decode_body(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(f"the task's body: {error}") from None


def read_call(body: TaskBody, code: Code) -> Call:
    """Make the call of a task whose parts are known.

    Raises:
        FrameError: its params, arguments or files are not as they should be.
    """
    files = {
        path: read_base64(text, f"preload_files[{path!r}]")
        for path, text in (body.preload_files or {}).items()
    }
    return Call(
        code,
        params=_params(bytes(body.params)),
        arguments=_arguments(body.arguments),
        files=files,
        results=[str(path) for path in body.result_files or ()],
    )


def _params(raw: bytes) -> bytes:
    raw = raw.strip()
    if raw == NULL:
        return b"[]"
    if not raw.startswith(b"["):
        raise FrameError("params must be a list: the positional arguments of main")
    return raw


def _arguments(given: str | list[Any] | None) -> list[str]:
    if isinstance(given, str):
        try:
            return shlex.split(given)
        except ValueError as error:
            raise FrameError(f"arguments {given[:80]!r}: {error}") from None
    return [str(word) for word in given or ()]


def read_base64(text: str, what: str) -> bytes:
    """Decode base64.

    Raises:
        FrameError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FrameError(f"{what} is not in base64: {error}") from None


def reply(frame: Frame, response: Any, *, ok: bool = True) -> str:
    """Word the answer to a frame."""
    payload = {"status": "ok" if ok else "error", "response": response}
    return _frame(frame.topic, REPLY, payload, frame.ref)


def result(topic: str, task: str, answer: Answer) -> str:
    """Word the `result` frame of a task; a failed one says its sentence on its standard error."""
    answer = whole(answer)
    answer = whole(answer)
    body: dict[str, Any] = {"data": msgspec.Raw(answer.value or NULL)}
    stderr = answer.stderr
    if not answer.ok:
        sentence = answer.error or answer.cause or "the task failed"
        body = {"data": None, "error": sentence}
        gap = b"" if not stderr or stderr.endswith(b"\n") else b"\n"
        stderr += gap + sentence.encode("utf-8", "replace") + b"\n"
    for path, content in answer.files.items():
        if path not in body:
            body[path] = _base64(content)
    packed = gzip.compress(_encode(body), _LEVEL, mtime=0)
    payload = {
        "ref": task,
        "body": _base64(packed),
        "stdout": _base64(answer.stdout) if answer.stdout else None,
        "stderr": _base64(stderr) if stderr else None,
    }
    return _frame(topic, "result", payload, task)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _frame(topic: str, event: str, payload: Any, ref: Any) -> str:
    text = {"topic": topic, "event": event, "payload": payload, "ref": ref}
    return _encode(text).decode()
