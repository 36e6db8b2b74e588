"""A hub of the earlier platform behind the same interface."""

import asyncio
import base64
import json

import pytest

import maniple
from driver_hubs import WASM, PhoenixHub
from maniple.algorithm.package import Package, pack, zip_of
from maniple.driver import AlgorithmFailedError
from maniple.driver.phoenix import Phoenix, read_answer
from maniple.driver.socket import RefusedError
from maniple.driver.speech import SpeechError
from support import until


def coded(text):
    return base64.b64encode(text).decode()


def test_tasks_run_and_each_carries_all_its_parts(algorithm):
    with PhoenixHub() as hub, maniple.connect(hub.url, token="t") as cluster:
        assert cluster.run(algorithm, [1, 2], 3, arguments="-v 'a b'", files={"/in": b"x"}) == [
            [1, 2],
            3,
        ]
        assert list(cluster.map(algorithm, range(100))) == [[i] for i in range(100)]
    first = hub.tasks()[0]
    assert first["type"] == "trusted_work"
    assert first["client_id"] == "u-1"
    assert first["body"] == {
        "run_type": "wasm",
        "params": [[1, 2], 3],
        "arguments": ["-v", "a b"],
        "preload_files": {"/in": coded(b"x")},
        "result_files": None,
        "wasm": coded(WASM),
        "loader": None,
        "data_link": None,
    }
    assert all(task["body"]["wasm"] == coded(WASM) for task in hub.tasks())
    assert hub.seen_tokens == ["t"]


def test_the_channel_is_joined_step_by_step_and_the_heart_beats(algorithm):
    with PhoenixHub() as hub, maniple.connect(hub.url) as cluster:
        cluster.run(algorithm)
        until(lambda: len(hub.frames) >= 5)
        said = [(f["topic"], f["event"], f["ref"]) for f in hub.frames]
    channel = said[2][0]
    assert channel.startswith("room:client:u-1:")
    assert said[:4] == [
        ("room:client?", "phx_join", "uuid"),
        ("room:client?", "phx_leave", None),
        (channel, "phx_join", "join"),
        ("phoenix", "heartbeat", 0),
    ]
    assert said[4][:2] == (channel, "task")


def test_result_files_output_and_failures_are_read(algorithm, tmp_path):
    def work(body):
        files = {there: coded(b"!") for there in body["result_files"] if "no" not in there}
        return {"data": 1, **files, "stdout": coded(b"said"), "stderr": None}

    with PhoenixHub(work) as hub, maniple.connect(hub.url) as cluster:
        reply = cluster.call(algorithm, results={"/out": "a/out", "/none": "b"})
        assert (reply.value, reply.missing, reply.stdout) == (1, ["/none"], "said")
        assert (tmp_path / "a" / "out").read_bytes() == b"!"


def test_a_failure_is_told_where_the_hub_tells_it(algorithm):
    def work(body):
        return {"data": None, "error": "exit status 3", "stderr": coded(b"bad\n")}

    with (
        PhoenixHub(work) as hub,
        maniple.connect(hub.url) as cluster,
        pytest.raises(AlgorithmFailedError, match="exit status 3; it printed: bad"),
    ):
        cluster.run(algorithm)


def test_an_answer_without_a_value_is_a_failure():
    assert read_answer({"body": "?"}, []).cause == "no value"
    assert read_answer({"body": None, "stderr": coded(b"x")}, []).stderr == b"x"


def test_a_starting_file_system_goes_along_as_files(tmp_path):
    path = tmp_path / "fs-1.zip"
    data = zip_of({"data/a.txt": b"A"})
    path.write_bytes(pack(Package("fs", "1", WASM, loader=b"// js", data=data)))
    with PhoenixHub() as hub, maniple.connect(hub.url) as cluster:
        cluster.run(path, files={"/in": b"x"})
        body = hub.tasks()[0]["body"]
    assert body["preload_files"] == {"/data/a.txt": coded(b"A"), "/in": coded(b"x")}
    assert body["loader"] == coded(b"// js")


def test_a_published_algorithm_is_downloaded_once_and_its_data_link_passed_on():
    with PhoenixHub() as hub, maniple.connect(hub.url) as cluster:
        hub.publish("echo", "1.0", digests=False, wasm=WASM, loader=b"// js", data=b"PK")
        assert list(cluster.map("echo", range(5))) == [[i] for i in range(5)]
        assert all(t["body"]["data_link"].endswith("/parts/echo/1.0/data") for t in hub.tasks())
        assert sorted(set(hub.downloads)) == sorted(hub.downloads)


def test_unknown_digests_are_fetched_before_the_task_is_sent():
    with PhoenixHub() as hub, maniple.connect(hub.url) as cluster:
        hub.publish("echo", "1.0", wasm=WASM)
        assert cluster.run("echo", 1) == [1]
        assert hub.tasks()[0]["body"]["wasm"] == coded(WASM)


def test_a_bad_token_is_said_so(algorithm):
    message = "unauthorized: .*check APPLICATION_TOKEN"
    with PhoenixHub(token="right") as hub, pytest.raises(RefusedError, match=message):
        maniple.connect(hub.url, token="wrong").open()


def test_after_a_lost_connection_all_is_asked_again_and_answered_once(algorithm):
    lost = []

    def work(body):
        if body["params"] == [3] and not lost:
            lost.append(True)
            hub.cut()
            return None
        return {"data": body["params"]}

    async def main():
        async with maniple.connect(hub.url) as cluster:
            handles = [cluster.submit(algorithm, i) for i in range(8)]
            return await asyncio.gather(*handles)

    with PhoenixHub(work) as hub:
        assert asyncio.run(main()) == [[i] for i in range(8)]


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[1]",
        '{"event": "result", "payload": {}}',
        '{"event": "phx_reply", "ref": "uuid", "payload": {}}',
    ],
)
def test_what_cannot_be_understood_ends_the_connection(frame):
    with pytest.raises(SpeechError, match="cannot be understood"):
        Phoenix("c", lambda _: None, lambda _: None).hear(frame)


def test_a_channel_that_the_hub_closes_ends_the_connection():
    phoenix = Phoenix("c", lambda _: None, lambda _: None)
    reply = {"ref": "uuid", "payload": {"response": {"uuid": "u"}}}
    phoenix.hear(json.dumps(reply))
    phoenix.hear("{}")
    closed = {"topic": "room:client:u:c", "event": "phx_close", "payload": {}}
    with pytest.raises(SpeechError, match="closed the channel"):
        phoenix.hear(json.dumps(closed))
