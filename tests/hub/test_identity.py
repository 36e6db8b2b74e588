"""A hub with accounts: what a bad token gets, over each of its ways in."""

import asyncio
import json

import httpx
import pytest

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.shelf import Shelf
from maniple.cluster.messages import (
    DRIVER_PATH,
    SUBPROTOCOL,
    WORKER_PATH,
    DriverHello,
    Refused,
    Welcome,
    WorkerHello,
    decode_to_driver,
    encode,
)
from maniple.hub.app import Hub
from maniple.hub.exchange import Exchange
from maniple.hub.gate import Gate
from maniple.hub.identity import User
from maniple.hub.registry import ShelfRegistry
from maniple.hub.rules.dispatch import Dispatch
from maniple.hub.store import MemoryStore


class Accounts:
    """Knows one token."""

    def user(self, token):
        return User("ada", "Ada") if token == "good" else None


@pytest.fixture
def hub(tmp_path):
    blobs = Blobs(str(tmp_path / "blobs"))
    exchange = Exchange(Dispatch("e"), MemoryStore(), blobs, Accounts())
    return Hub(exchange, ShelfRegistry(Shelf([str(tmp_path)]), blobs), Gate("127.0.0.1"))


def talk(hub, path, token, said, *, native=True):
    """Say frames over a socket that then ends; return all that came back."""

    async def main():
        heard = []
        waiting = [{"type": "websocket.connect"}]
        waiting += [{"type": "websocket.receive", **frame} for frame in said]

        async def receive():
            # the other side reads and answers in between
            for _ in range(10):
                await asyncio.sleep(0)
            return waiting.pop(0) if waiting else {"type": "websocket.disconnect", "code": 1000}

        async def transmit(message):
            heard.append(message)

        scope = {
            "type": "websocket",
            "path": path,
            "query_string": f"token={token}".encode(),
            "subprotocols": [SUBPROTOCOL] if native else [],
            "headers": [(b"host", b"localhost:7070")],
        }
        await asyncio.wait_for(hub(scope, receive, transmit), 60)
        return heard

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "hello"), [(DRIVER_PATH, DriverHello("s")), (WORKER_PATH, WorkerHello("w"))]
)
def test_our_own_peers_are_refused_with_a_sentence(hub, path, hello):
    accept, refused, close = talk(hub, path, "bad", [{"bytes": encode(hello)}])
    assert accept["type"] == "websocket.accept"
    assert decode_to_driver(refused["bytes"]) == Refused("unauthorized: check the token")
    assert (close["type"], close["code"]) == ("websocket.close", 1008)
    welcome = talk(hub, path, "good", [{"bytes": encode(hello)}])[1]
    assert decode_to_driver(welcome["bytes"]) == Welcome("ada")


def test_drivers_of_the_earlier_platform_are_refused_when_they_join_their_channel(hub):
    def join(topic, ref):
        return {
            "text": json.dumps({"topic": topic, "event": "phx_join", "payload": {}, "ref": ref})
        }

    frames = [join("room:client?", "uuid"), join("room:client:ada:c", "join")]
    _, _, refused = talk(hub, DRIVER_PATH, "bad", frames, native=False)
    frame = json.loads(refused["text"])
    assert frame["ref"] == "join"
    assert frame["payload"] == {"status": "error", "response": {"reason": "unauthorized"}}
    _, lobby, joined = talk(hub, DRIVER_PATH, "good", frames, native=False)
    assert json.loads(lobby["text"])["payload"]["response"] == {"uuid": "ada"}
    assert json.loads(joined["text"])["payload"]["status"] == "ok"


@pytest.mark.parametrize(
    "path",
    [
        "/api/user",
        "/api/account/user",
        "/api/package_registry/algorithms/",
        "/api/package_registry/algorithms/x/versions",
    ],
)
def test_requests_are_refused_with_401(hub, path):
    async def main(token):
        transport = httpx.ASGITransport(hub)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers={"Authorization": f"Bearer {token}"})

    answer = asyncio.run(main("bad"))
    assert answer.status_code == 401
    assert list(answer.json()["errors"]) == ["token"]
    assert asyncio.run(main("good")).status_code in {200, 404}
