"""Hubs for tests of drivers: one that speaks our messages, one that speaks Phoenix channels."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.call import Answer, Call
from maniple.cluster.messages import (
    LARGEST_FRAME,
    SUBPROTOCOL,
    Blob,
    Cancel,
    DriverHello,
    Got,
    Refused,
    Result,
    Running,
    Submit,
    Want,
    Welcome,
    decode_from_driver,
    encode,
)
from support import PATIENCE

WASM = b"\0asm\1\0\0\0" + b"\7\x08\1\4main\0\0"
"""A module that exports a function `main` and imports nothing: enough to be told apart."""

Work = Callable[[Call], Answer | Awaitable[Answer]]


def echo(call: Call) -> Answer:
    """Give the params back."""
    return Answer(ok=True, value=call.params)


class _Threaded:
    """A WebSocket server on the loopback, in a thread of its own."""

    subprotocols: tuple[str, ...] | None = None

    def __init__(self, port: int = 0, token: str | None = None) -> None:
        self.token = token
        self.seen_tokens: list[str | None] = []
        self.links: set[ServerConnection] = set()
        self._wanted_port = port
        self.port = 0
        self.broken: list[BaseException] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub of a test")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(PATIENCE)
        assert self.port, self.broken
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert not self.broken, self.broken

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/client_socket/websocket"

    def stop(self) -> None:
        """Stop at once, as a process that is killed: no goodbye."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def cut(self) -> None:
        """Break all connections."""

        def break_all() -> None:
            for link in list(self.links):
                link.transport.abort()

        self.loop.call_soon_threadsafe(break_all)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.broken.append(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        server: Server = await serve(
            self._handle,
            "127.0.0.1",
            self._wanted_port,
            subprotocols=self.subprotocols,  # type: ignore[arg-type]
            process_request=self._request,
            max_size=LARGEST_FRAME,
            compression=None,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._ready.set()
        await self._over.wait()
        for link in list(self.links):
            link.transport.abort()
        server.close()
        await server.wait_closed()

    async def _handle(self, link: ServerConnection) -> None:
        self.links.add(link)
        try:
            await self.talk(link)
        except ConnectionClosed:
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.broken.append(error)
        finally:
            self.links.discard(link)

    def _request(self, link: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if parts.path == "/client_socket/websocket":
            token = parse_qs(parts.query).get("token", [None])[0]
            self.seen_tokens.append(token)
            return None
        status, body, kind = self.page(parts.path, parse_qs(parts.query), request.headers)
        headers = Headers({"Content-Type": kind, "Content-Length": str(len(body))})
        return Response(status, "", headers, body)

    def page(
        self, path: str, query: dict[str, list[str]], headers: Headers
    ) -> tuple[int, bytes, str]:
        return 404, b"no such page\n", "text/plain"

    async def talk(self, link: ServerConnection) -> None:
        raise NotImplementedError


class Registered:
    """The registry over HTTP that both hubs have."""

    def publish(self, name: str, version: str, *, digests: bool = True, **parts: bytes) -> None:
        self.published.setdefault(name, {})[version] = (parts, digests)

    def serve_page(
        self, path: str, query: dict[str, list[str]], headers: Headers, host: str
    ) -> tuple[int, bytes, str]:
        root = "/api/package_registry/algorithms/"
        if path == root:
            self.asked.append(headers.get("Authorization"))
            wanted = query.get("name", [None])[0]
            found = [
                {"id": number, "name": name, "versions": [{"name": v} for v in versions]}
                for number, (name, versions) in enumerate(self.published.items())
                if wanted in {None, name}
            ]
            return _json({"data": found})
        if path.startswith(root) and path.endswith("/versions"):
            name = list(self.published)[int(path.split("/")[-2])]
            listed = []
            for version, (parts, digests) in self.published[name].items():
                entry = {
                    "id": version,
                    "name": version,
                    **{
                        f"{part}_url": f"http://{host}/parts/{name}/{version}/{part}"
                        if part in parts
                        else None
                        for part in ("wasm", "loader", "data")
                    },
                }
                if digests:
                    entry["code"] = {part: digest_of(data) for part, data in parts.items()}
                listed.append(entry)
            return _json({"data": listed})
        if path.startswith("/parts/"):
            _, _, name, version, part = path.split("/")
            self.downloads.append(path)
            if path in self.forged:
                return 200, self.forged[path], "application/octet-stream"
            return 200, self.published[name][version][0][part], "application/octet-stream"
        return 404, b"no such page\n", "text/plain"


def _json(value: object) -> tuple[int, bytes, str]:
    return 200, json.dumps(value).encode(), "application/json"


class NativeHub(_Threaded, Registered):
    """A hub that speaks our messages and computes by itself.

    Attributes:
        runs: how often each task was run.
        parts: what it holds, by digest.
        submitted: all `Submit` messages, in the order they came.
        blobs: digests in the order they came.
    """

    subprotocols = (SUBPROTOCOL,)

    def __init__(
        self, work: Work = echo, port: int = 0, token: str | None = None, needs_parts: bool = True
    ) -> None:
        super().__init__(port, token)
        self.work = work
        self.needs_parts = needs_parts
        self.published: dict[str, dict[str, tuple[dict[str, bytes], bool]]] = {}
        self.asked: list[str | None] = []
        self.downloads: list[str] = []
        self.forged: dict[str, bytes] = {}
        self.runs: dict[str, int] = {}
        self.parts: set[str] = set()
        self.blobs: list[str] = []
        self.submitted: list[Submit] = []
        self.cancelled: list[str] = []
        self.got: list[str] = []
        self.hellos: list[DriverHello] = []
        self.frames = 0
        self._answers: dict[str, dict[str, Answer]] = {}
        self._tasks: dict[str, dict[str, asyncio.Task[None]]] = {}
        self._links: dict[str, ServerConnection] = {}
        self._parked: dict[str, list[tuple[str, Submit]]] = {}

    def page(self, path, query, headers):
        return self.serve_page(path, query, headers, f"127.0.0.1:{self.port}")

    async def talk(self, link: ServerConnection) -> None:
        hello = decode_from_driver(await link.recv())
        assert isinstance(hello, DriverHello)
        self.hellos.append(hello)
        if self.token is not None and self.seen_tokens[-1] != self.token:
            await link.send(encode(Refused("unauthorized")))
            return
        session = hello.session
        self._links[session] = link
        answers = self._answers.setdefault(session, {})
        tasks = self._tasks.setdefault(session, {})
        parked = {s.task for waiting in self._parked.values() for _, s in waiting}
        known = {*answers, *tasks, *parked}
        await link.send(encode(Welcome("user", [t for t in hello.tasks if t not in known])))
        for task, answer in list(answers.items()):
            await link.send(encode(Result(task, answer)))
        if self._parked:
            await link.send(encode(Want(list(self._parked))))
        async for frame in link:
            self.frames += 1
            await self._take(session, link, decode_from_driver(frame))

    async def _take(self, session: str, link: ServerConnection, message: Any) -> None:
        answers, tasks = self._answers[session], self._tasks[session]
        if isinstance(message, Submit):
            self.submitted.append(message)
            if message.task in answers or message.task in tasks:
                return
            lacking = [d for d in message.call.code.digests if d not in self.parts]
            if lacking and self.needs_parts:
                fresh = [d for d in lacking if d not in self._parked]
                self._parked.setdefault(lacking[-1], []).append((session, message))
                for digest in lacking:
                    self._parked.setdefault(digest, [])
                if fresh:
                    await link.send(encode(Want(fresh)))
                return
            self._begin(session, message)
        elif isinstance(message, Blob):
            self.blobs.append(message.digest)
            waiting = self._parked.pop(message.digest, [])
            if message.data is None:
                for owner, submit in waiting:
                    failed = Answer(ok=False, cause="missing part", error="a part is missing")
                    self._answers[owner][submit.task] = failed
                    await link.send(encode(Result(submit.task, failed)))
                return
            assert digest_of(message.data) == message.digest
            self.parts.add(message.digest)
            for owner, submit in waiting:
                self._begin(owner, submit)
        elif isinstance(message, Got):
            self.got += message.tasks
            for task in message.tasks:
                answers.pop(task, None)
        elif isinstance(message, Cancel):
            self.cancelled.append(message.task)
            running = tasks.pop(message.task, None)
            if running is not None:
                running.cancel()

    def _begin(self, session: str, message: Submit) -> None:
        self._tasks[session][message.task] = self.loop.create_task(self._compute(session, message))

    async def _compute(self, session: str, message: Submit) -> None:
        self.runs[message.task] = self.runs.get(message.task, 0) + 1
        await self._tell(session, Running(message.task))
        answer = self.work(message.call)
        if not isinstance(answer, Answer):
            answer = await answer
        self._tasks[session].pop(message.task, None)
        self._answers[session][message.task] = answer
        await self._tell(session, Result(message.task, answer))

    async def _tell(self, session: str, message: Any) -> None:
        try:
            await self._links[session].send(encode(message))
        except ConnectionClosed:
            return


class PhoenixHub(_Threaded, Registered):
    """A hub of the earlier platform, after the table "Driver socket" of its interface.

    Attributes:
        frames: all that drivers sent, decoded.
    """

    def __init__(
        self, work: Callable[[dict[str, Any]], Any] | None = None, token: str | None = None
    ) -> None:
        super().__init__(0, token)
        self.work = work or (lambda body: {"data": body["params"]})
        self.published: dict[str, dict[str, tuple[dict[str, bytes], bool]]] = {}
        self.asked: list[str | None] = []
        self.downloads: list[str] = []
        self.forged: dict[str, bytes] = {}
        self.frames: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []

    def page(self, path, query, headers):
        return self.serve_page(path, query, headers, f"127.0.0.1:{self.port}")

    def tasks(self) -> list[dict[str, Any]]:
        return [frame["payload"] for frame in self.frames if frame["event"] == "task"]

    async def talk(self, link: ServerConnection) -> None:
        async for text in link:
            assert isinstance(text, str)
            frame = json.loads(text)
            self.frames.append(frame)
            for answer in self.answers(frame):
                await link.send(json.dumps(answer))

    def answers(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        topic, event, payload = frame["topic"], frame["event"], frame["payload"]
        reply = {"topic": topic, "event": "phx_reply", "ref": frame["ref"]}
        ok = {**reply, "payload": {"status": "ok", "response": {}}}
        if topic == "room:client?" and event == "phx_join":
            assert frame["ref"] == "uuid"
            return [{**reply, "payload": {"status": "ok", "response": {"uuid": "u-1"}}}]
        if event == "phx_join":
            assert topic.startswith("room:client:u-1:")
            assert frame["ref"] == "join"
            if self.token is not None and self.seen_tokens[-1] != self.token:
                response = {"reason": "unauthorized"}
                return [{**reply, "payload": {"status": "error", "response": response}}]
            return [ok]
        if event in {"phx_leave", "heartbeat"}:
            return [ok]
        if event == "task":
            return self._results(topic, payload)
        assert event == "set_validation", frame
        return []

    def _results(self, topic: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
        body = self.work(payload["body"])
        if body is None:
            return []
        stdout, stderr = body.pop("stdout", None), body.pop("stderr", None)
        packed = base64.b64encode(gzip.compress(json.dumps(body).encode())).decode()
        result = {"ref": payload["ref"], "body": packed, "stdout": stdout, "stderr": stderr}
        return [{"topic": topic, "event": "result", "ref": None, "payload": result}]
