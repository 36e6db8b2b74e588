"""Published algorithms are found by name; their parts are fetched only where they are needed."""

import pytest

import maniple
from driver_hubs import WASM, NativeHub
from maniple.algorithm.blobs import digest_of
from maniple.driver import AlgorithmFailedError
from maniple.errors import AlgorithmError, ClusterError


@pytest.fixture
def hub():
    with NativeHub() as hub:
        hub.publish("echo", "0.0.9", wasm=WASM)
        hub.publish("echo", "0.0.10", wasm=WASM, loader=b"// js", data=b"PK")
        yield hub


def test_a_name_means_the_latest_version_and_digests_are_enough_where_the_hub_has_the_parts(hub):
    hub.needs_parts = False
    with maniple.connect(hub.url, token="t") as cluster:
        assert cluster.run("echo", 1) == [1]
        assert cluster.run("echo@0.0.9", 2) == [2]
    codes = [submit.call.code for submit in hub.submitted]
    assert [code.name for code in codes] == ["echo@0.0.10", "echo@0.0.9"]
    assert codes[0].loader == digest_of(b"// js")
    assert hub.downloads == []
    assert set(hub.asked) == {"Bearer t"}


def test_it_is_looked_up_once(hub):
    hub.needs_parts = False
    with maniple.connect(hub.url) as cluster:
        assert list(cluster.map("echo", range(50))) == [[i] for i in range(50)]
    assert len(hub.asked) == 1


def test_a_part_that_the_hub_wants_is_fetched_for_it_once(hub):
    with maniple.connect(hub.url) as cluster:
        assert list(cluster.map("echo@0.0.9", range(20))) == [[i] for i in range(20)]
    assert hub.downloads == ["/parts/echo/0.0.9/wasm"]
    assert hub.blobs == [digest_of(WASM)]


def test_a_registry_that_tells_no_digests_is_downloaded_from(hub):
    hub.publish("old", "1.0", wasm=WASM, loader=b"// js", digests=False)
    with maniple.connect(hub.url) as cluster:
        assert cluster.run("old", 1) == [1]
    code = hub.submitted[0].call.code
    assert (code.wasm, code.loader, code.data) == (digest_of(WASM), digest_of(b"// js"), None)
    assert hub.downloads == ["/parts/old/1.0/wasm", "/parts/old/1.0/loader"]


def test_a_part_that_is_not_what_it_is_called_is_not_passed_on(hub):
    hub.publish("bad", "1.0", wasm=WASM)
    hub.forged["/parts/bad/1.0/wasm"] = WASM + b"forged"
    with (
        maniple.connect(hub.url) as cluster,
        pytest.raises(AlgorithmFailedError, match="a part is missing"),
    ):
        cluster.run("bad", 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ecko", r"no algorithm ecko at .*; there are: echo\. The path of a package"),
        ("echo@3", r"no version 3 of echo at .*; there are: 0\.0\.9, 0\.0\.10"),
        ("e cho", "bad name of an algorithm"),
    ],
)
def test_an_algorithm_that_is_not_there_is_one_line(hub, name, message):
    with maniple.connect(hub.url) as cluster, pytest.raises(AlgorithmError, match=message) as error:
        cluster.run(name)
    assert "\n" not in str(error.value)


def test_a_registry_elsewhere_is_named_by_a_variable_and_need_not_answer(hub, monkeypatch):
    with NativeHub() as other:
        monkeypatch.setenv("ALGORITHM_REPO_HOST", f"127.0.0.1:{hub.port}")
        with maniple.connect(other.url) as cluster:
            assert cluster.run("echo@0.0.9", 1) == [1]
        monkeypatch.setenv("ALGORITHM_REPO_HOST", "127.0.0.1:1")
        with (
            maniple.connect(other.url) as cluster,
            pytest.raises(ClusterError, match=r"no answer from 127\.0\.0\.1:1/api"),
        ):
            cluster.run("echo")


def test_with_an_event_loop_names_are_looked_up_beside_it(hub):
    import asyncio

    async def main():
        async with maniple.connect(hub.url) as cluster:
            handles = [cluster.submit("echo@0.0.9", i) for i in range(20)]
            assert await asyncio.gather(*handles) == [[i] for i in range(20)]
            with pytest.raises(AlgorithmError):
                await cluster.run("none")
            with pytest.raises(AlgorithmError):
                [v async for v in cluster.map("none", [1])]

    asyncio.run(main())
    assert hub.asked.count(None) == len(hub.asked)
