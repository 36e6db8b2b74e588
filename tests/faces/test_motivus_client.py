"""The library `motivus.client`, as drivers of the earlier platform use it, at hubs old and new."""

import asyncio
import base64
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from driver_hubs import WASM, NativeHub, PhoenixHub
from maniple.algorithm.call import Answer
from maniple.driver.socket import NoHubError
from maniple.errors import AlgorithmError, ParamError, UsageError
from motivus.client import Client
from support import until


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch):
    """Run in a folder with a local build, with none of the variables set."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEBSOCKET_URI", "APPLICATION_TOKEN", "ALGORITHM_REPO_HOST"):
        monkeypatch.delenv(name, raising=False)
    Path("a.wasm").write_bytes(WASM)
    Path("a.js").write_bytes(b"onmessage = 1")


LOCAL = {"wasm_path": "a.wasm", "loader_path": "a.js"}


def coded(data):
    return base64.b64encode(data).decode()


def run(hub, monkeypatch, main):
    monkeypatch.setenv("WEBSOCKET_URI", hub.url)

    async def connected():
        return await main(await Client.connect())

    return asyncio.run(connected())


def whole(call):
    files = {there: b"out" for there in call.results if there != "/none"}
    missing = [there for there in call.results if there == "/none"]
    return Answer(
        ok=True, value=b'{"x":1}', files=files, missing=missing, stdout=b"said\n", stderr=b"oh\n"
    )


def whole_earlier(body):
    files = {there: coded(b"out") for there in body["result_files"] or {} if there != "/none"}
    return {"data": {"x": 1}, **files, "stdout": coded(b"said\n"), "stderr": coded(b"oh\n")}


HUBS = pytest.mark.parametrize(
    "make", [lambda: NativeHub(whole), lambda: PhoenixHub(whole_earlier)], ids=["ours", "earlier"]
)


@HUBS
def test_a_task_gives_its_value_its_files_and_its_logs(make, monkeypatch, capsys):
    async def main(client):
        task = client.call_async(
            {
                **LOCAL,
                "params": [[1, 2], 2],
                "arguments": "--x 'a b'",
                "preload_files": {"/in.txt": client.read_file("a.js")},
                "result_files": {"/out.txt": "made/here/out.txt", "/none": "none"},
                "public_cluster": True,
            }
        )
        assert isinstance(task, str)
        value = await client.select_task(task)
        await client.reply_result(task, True)
        return task, value

    with make() as hub:
        task, value = run(hub, monkeypatch, main)
        if isinstance(hub, NativeHub):
            call = hub.submitted[0].call
            assert (call.params, call.arguments) == (b"[[1,2],2]", ["--x", "a b"])
            assert call.files == {"/in.txt": b"onmessage = 1"}
        else:
            assert hub.tasks()[0]["type"] == "work"
            assert hub.tasks()[0]["body"]["loader"] == coded(b"onmessage = 1")
            until(lambda: hub.frames[-1]["event"] == "set_validation")
            assert hub.frames[-1]["payload"] == {
                "is_valid": True,
                "task_id": task,
                "client_id": "u-1",
            }
    assert value == {"x": 1}
    assert Path("made/here/out.txt").read_bytes() == b"out"
    assert not Path("none").exists()
    assert re.search(rf"WARNING: /none could not be retrieved.*{task}", capsys.readouterr().out)
    logs = sorted(path.name for path in Path(".motivus/logs").iterdir())
    assert [re.sub(r"^\d{14}_", "", name) for name in logs] == [
        f"{task}_stderr.log",
        f"{task}_stdout.log",
    ]
    texts = [Path(".motivus/logs", name).read_text() for name in logs]
    assert texts == ["oh\n", "said\n"]


@pytest.mark.parametrize("make", [NativeHub, PhoenixHub], ids=["ours", "earlier"])
def test_hundreds_of_tasks_are_awaited_at_a_time(make, monkeypatch):
    async def main(client):
        tasks = [client.call_async({**LOCAL, "params": [i]}) for i in range(600)]
        assert len(set(tasks)) == 600
        return await client.barrier(tasks)

    with make() as hub:
        assert run(hub, monkeypatch, main) == [[i] for i in range(600)]
        if isinstance(hub, NativeHub):
            assert set(hub.runs.values()) == {1}
            assert len(hub.blobs) == 2


def test_a_thousand_tasks_none_lost_none_doubled(monkeypatch):
    async def main(client):
        return await client.barrier(
            [client.call_async({**LOCAL, "params": [i]}) for i in range(1000)]
        )

    with NativeHub() as hub:
        assert run(hub, monkeypatch, main) == [[i] for i in range(1000)]
        assert (len(hub.runs), set(hub.runs.values())) == (1000, {1})


def test_loops_of_the_old_style_work_too(monkeypatch):
    with NativeHub() as hub:
        monkeypatch.setenv("WEBSOCKET_URI", hub.url)
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(Client.connect())
        tasks = [client.call_async({**LOCAL, "params": [i]}) for i in range(3)]
        assert loop.run_until_complete(client.select_task(tasks[0])) == [0]
        assert loop.run_until_complete(client.barrier(tasks)) == [[0], [1], [2]]
        loop.close()


def test_tasks_are_sent_at_once_and_need_no_await(monkeypatch):
    async def main(client):
        task = client.call_async({**LOCAL, "params": [1]})
        until(lambda: hub.got == [task])
        future = client.select_task(task)
        assert isinstance(future, asyncio.Future)
        return await future

    with NativeHub() as hub:
        assert run(hub, monkeypatch, main) == [1]


def test_an_algorithm_is_named_with_its_version_or_without(monkeypatch):
    async def main(client):
        definitions = [
            {"algorithm": "echo"},
            {"algorithm": "echo", "algorithm_version": "0.0.9"},
            {"algorithm": "echo", "algorithm_name": "0.0.9"},
            {"algorithm_name": "echo"},
        ]
        await client.barrier([client.call_async({**d, "params": []}) for d in definitions])

    with NativeHub() as hub:
        hub.publish("echo", "0.0.9", wasm=WASM)
        hub.publish("echo", "0.0.10", wasm=WASM)
        run(hub, monkeypatch, main)
        names = sorted(submit.call.code.name for submit in hub.submitted)
    assert names == ["echo@0.0.10"] * 2 + ["echo@0.0.9"] * 2


def test_a_data_link_is_fetched_for_our_hubs_and_passed_on_to_others(monkeypatch):
    async def main(client):
        link = f"http://127.0.0.1:{hub.port}/parts/fs/1/data"
        await client.select_task(client.call_async({**LOCAL, "params": [], "data_link": link}))

    for hub in (NativeHub(), PhoenixHub()):
        with hub:
            hub.publish("fs", "1", wasm=WASM, data=b"PK the zip")
            run(hub, monkeypatch, main)
            if isinstance(hub, NativeHub):
                assert hub.submitted[0].call.code.data in hub.parts
            else:
                assert hub.tasks()[0]["body"]["data_link"].endswith("/parts/fs/1/data")


def test_a_task_that_failed_has_the_value_none_and_says_why(monkeypatch, capsys):
    def work(call):
        return Answer(ok=False, cause="exit 3", error="exit status 3", stderr=b"bad line\n")

    async def main(client):
        return await client.barrier([client.call_async({**LOCAL, "params": []})])

    with NativeHub(work) as hub:
        assert run(hub, monkeypatch, main) == [None]
    assert "exit status 3; it printed: bad line" in capsys.readouterr().out
    assert [p.read_bytes() for p in Path(".motivus/logs").iterdir()] == [b"bad line\n"]


def test_forgotten_tasks_are_unknown(monkeypatch):
    async def main(client):
        task = client.call_async({**LOCAL, "params": [1]})
        future = client.select_task(task)
        assert client.empty_task() is None
        with pytest.raises(KeyError):
            client.select_task(task)
        with pytest.raises(KeyError):
            await client.barrier(["none"])
        return await future

    with NativeHub() as hub:
        assert run(hub, monkeypatch, main) == [1]


@pytest.mark.parametrize(
    ("definition", "error", "message"),
    [
        ([], UsageError, "a task definition is a dictionary"),
        ({"params": []}, UsageError, "names no algorithm"),
        ({**LOCAL, "params": 3}, UsageError, "params is the list"),
        ({**LOCAL, "params": [object()]}, ParamError, "cannot be encoded"),
        ({**LOCAL, "arguments": 3}, UsageError, "arguments is text or a list"),
        ({**LOCAL, "preload_files": ["x"]}, UsageError, "preload_files is a dictionary"),
        ({**LOCAL, "preload_files": {"/x": "?"}}, UsageError, "content of /x is not base64"),
        ({**LOCAL, "preload_files": {"/../x": ""}}, UsageError, "holds no .."),
        ({**LOCAL, "result_files": {"/x": None}}, UsageError, "place for /x is a path"),
        ({"wasm_path": "none.wasm"}, UsageError, "cannot read none.wasm: No such file"),
        ({"wasm_path": "a.js"}, AlgorithmError, "a.js: not a WebAssembly module"),
        ({**LOCAL, "data_link": 3}, UsageError, "data_link is a URL"),
    ],
)
def test_a_wrong_definition_is_said_at_once(definition, error, message, monkeypatch):
    async def main(client):
        with pytest.raises(error, match=message) as caught:
            client.call_async(definition)
        assert "\n" not in str(caught.value)

    with NativeHub() as hub:
        run(hub, monkeypatch, main)


def test_a_key_that_means_nothing_is_warned_of_once(monkeypatch, caplog):
    async def main(client):
        tasks = [client.call_async({**LOCAL, "params": [], "parameters": 1}) for _ in range(3)]
        await client.barrier(tasks)

    with NativeHub() as hub:
        run(hub, monkeypatch, main)
    assert [r.getMessage() for r in caplog.records if "mean nothing" in r.getMessage()] == [
        "the task definition has keys that mean nothing: parameters"
    ]


def program(body):
    return textwrap.dedent(f"""
        import asyncio
        from motivus.client import Client
        async def main():
            motivus = await Client.connect()
            {body}
        asyncio.run(main())
    """)


def driver(body, **variables):
    return subprocess.run(
        [sys.executable, "-c", program(body)],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("make", [NativeHub, PhoenixHub], ids=["ours", "earlier"])
def test_a_bad_token_ends_the_program_with_a_sentence(make):
    with make(token="right") as hub:
        Path(".env").write_text(f"WEBSOCKET_URI={hub.url}\nAPPLICATION_TOKEN=wrong\n")
        ended = driver("pass")
        assert hub.seen_tokens == ["wrong"]
    assert ended.returncode == 1
    assert re.fullmatch(r"motivus: unauthorized: .*: check APPLICATION_TOKEN\n", ended.stderr)


def test_without_a_token_the_hub_decides():
    with NativeHub() as hub:
        ended = driver("pass", WEBSOCKET_URI=hub.url)
        assert hub.seen_tokens == ["no-token"]
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_algorithm_that_is_not_there_ends_the_program_with_a_sentence():
    with NativeHub() as hub:
        ended = driver(
            "await motivus.select_task(motivus.call_async({'algorithm': 'none'}))",
            WEBSOCKET_URI=hub.url,
        )
    assert ended.returncode == 1
    assert re.fullmatch(r"motivus: no algorithm none at .*\n", ended.stderr)


def test_a_program_that_ends_without_a_goodbye_ends_at_once():
    with NativeHub() as hub:
        ended = driver(
            "print(await motivus.select_task(motivus.call_async("
            "{'wasm_path': 'a.wasm', 'params': [5]})))",
            WEBSOCKET_URI=hub.url,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[5]\n", "")
        until(lambda: len(hub.got) == 1)


def test_no_hub_is_a_connection_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setenv("WEBSOCKET_URI", "ws://localhost:1/client_socket/websocket")
    with pytest.raises(NoHubError, match="start one on this machine with: maniple loopback"):
        asyncio.run(Client.connect())
