"""The drivers' socket of the earlier platform: JSON of Phoenix channels, version 1.

The frames are those of the table "Driver socket" in docs/algorithms.md. There, a task carries its
parts each time, cannot be cancelled, and its answer does not say whether it failed.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

from maniple.algorithm.call import Answer
from maniple.cluster.messages import (
    DriverHello,
    FromDriver,
    Refused,
    Result,
    Submit,
    ToDriver,
    Welcome,
)
from maniple.driver.inputs import Order
from maniple.driver.speech import Frame, SpeechError

HEARTBEAT_SECONDS: Final = 3.0
LOBBY: Final = "room:client?"
UNAUTHORIZED: Final = "unauthorized"
_BROKEN: Final = (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error)


class Phoenix:
    """Speaks with a hub of the earlier platform.

    Args:
        channel: names this driver's channel.
        order: gives the rest of a task by its id.
        part: gives the bytes of a part by their digest; it may raise.
    """

    heartbeat: float | None = HEARTBEAT_SECONDS

    def __init__(
        self,
        channel: str,
        order: Callable[[str], Order | None],
        part: Callable[[str], bytes | None],
    ) -> None:
        self._channel = channel
        self._order = order
        self._part = part
        self._user = ""
        self._topic = ""
        self._step = "lobby"
        self._unknown: list[str] = []
        self._texts: dict[str, str] = {}

    def say(self, message: FromDriver) -> list[Frame]:
        """Word a message: the greeting and tasks; this hub has no word for others."""
        if isinstance(message, DriverHello):
            # this hub knows nothing of what was asked on another connection
            self._unknown = message.tasks
            return [_frame(LOBBY, "phx_join", {}, "uuid")]
        if isinstance(message, Submit):
            return [_frame(self._topic, "task", self._task(message), None)]
        return []

    def validation(self, task: str, *, is_valid: bool) -> Frame:
        """Word what the user thinks of a result."""
        payload = {"is_valid": is_valid, "task_id": task, "client_id": self._user}
        return _frame(self._topic, "set_validation", payload, None)

    def beat(self) -> Frame | None:
        """Give a heartbeat, once the channel is joined."""
        return _frame("phoenix", "heartbeat", {}, 0) if self._step == "up" else None

    def hear(self, frame: Frame) -> tuple[list[ToDriver], list[Frame]]:
        """Understand a frame: a step of the join, or a result."""
        try:
            said = json.loads(frame)
            event, ref, payload = said.get("event"), said.get("ref"), said.get("payload")
            if event == "result":
                return [self._result(payload)], []
            if self._step == "leaving":
                self._step = "joining"
                return [], [_frame(self._topic, "phx_join", {}, "join")]
            if self._step == "lobby" and ref == "uuid":
                if payload.get("status") == "error":
                    return [Refused(UNAUTHORIZED)], []
                self._user = str(payload["response"]["uuid"])
                self._topic = f"room:client:{self._user}:{self._channel}"
                self._step = "leaving"
                return [], [_frame(LOBBY, "phx_leave", {}, None)]
            if self._step == "joining" and ref == "join":
                if payload.get("status") != "ok":
                    reason = payload.get("response", {}).get("reason", UNAUTHORIZED)
                    return [Refused(str(reason))], []
                self._step = "up"
                return [Welcome(self._user, self._unknown)], [self.beat() or ""]
            if event in {"phx_error", "phx_close"} and said.get("topic") == self._topic:
                raise SpeechError("the hub has closed the channel")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SpeechError(f"cannot be understood: {error}") from None
        return [], []

    def _task(self, message: Submit) -> dict[str, Any]:
        call = message.call
        order = self._order(message.task) or Order(call)
        files = {there: _text(data) for there, data in call.files.items()}
        link = order.data_link
        if link is None and call.code.data is not None:
            # only a URL could carry the starting file system: its files go along instead
            files = {**_unzipped(self._part(call.code.data)), **files}
        body = {
            "run_type": "wasm",
            "params": json.loads(call.params),
            "arguments": call.arguments or None,
            "preload_files": files or None,
            "result_files": {there: order.landings.get(there) or there for there in call.results}
            or None,
            "wasm": self._encoded(call.code.wasm),
            "loader": None if call.code.loader is None else self._encoded(call.code.loader),
            "data_link": link,
        }
        return {
            "body": body,
            "type": "work" if order.public else "trusted_work",
            "ref": message.task,
            "client_id": self._user,
        }

    def _encoded(self, digest: str) -> str:
        text = self._texts.get(digest)
        if text is None:
            text = self._texts[digest] = _text(self._part(digest) or b"")
        return text

    def _result(self, payload: Any) -> Result:
        task = str(payload["ref"])
        order = self._order(task)
        wanted = [] if order is None else order.call.results
        return Result(task, read_answer(payload, wanted))


def read_answer(payload: dict[str, Any], wanted: list[str]) -> Answer:
    """Read the payload of a result.

    Args:
        payload: `{body, stdout, stderr}`; body is base64 of gzip of the JSON of an object.
        wanted: the paths of the result files.
    """
    stdout, stderr = _bytes(payload.get("stdout")), _bytes(payload.get("stderr"))
    code = payload.get("exitCode")
    try:
        body = json.loads(gzip.decompress(base64.b64decode(payload["body"])))
        value = json.dumps(body.get("data"), separators=(",", ":")).encode()
        files = {there: base64.b64decode(body[there]) for there in wanted if body.get(there)}
    except (*_BROKEN, AttributeError):
        cause, error = "no value", "the worker's answer holds no value that can be read"
        return Answer(ok=False, cause=cause, error=error, stdout=stdout, stderr=stderr)
    # hubs of ours say here why a task failed; others do not
    sentence = body.get("error") if body.get("data") is None else None
    if isinstance(code, int) and code != 0:
        cause, error = f"exit {code}", f"exit status {code}"
    else:
        cause = error = ""
    if isinstance(sentence, str) and "error" not in wanted:
        cause, error = cause or "failed", sentence
    failed = bool(cause)
    return Answer(
        ok=not failed,
        value=value,
        files=files,
        missing=[there for there in wanted if there not in files],
        stdout=stdout,
        stderr=stderr,
        cause=cause,
        error=error,
        exit_code=code if isinstance(code, int) else None,
    )


def _frame(topic: str, event: str, payload: dict[str, Any], ref: str | int | None) -> str:
    return json.dumps({"topic": topic, "event": event, "payload": payload, "ref": ref})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""


def _unzipped(data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                "/" + entry.filename.lstrip("/"): _text(archive.read(entry))
                for entry in archive.infolist()
                if not entry.is_dir()
            }
    except zipfile.BadZipFile:
        return {}
