"""The native driver against a hub: values, files, failures, the two forms."""

import asyncio
import threading

import pytest

import maniple
from driver_hubs import WASM, NativeHub
from maniple.algorithm.call import Answer
from maniple.algorithm.package import Package, pack
from maniple.driver import AlgorithmFailedError
from maniple.driver.socket import NoHubError, RefusedError
from maniple.driver.stream import TaskCancelledError
from maniple.errors import AlgorithmError, ClusterError, StorageError, UsageError
from support import until


def with_files(call):
    return Answer(
        ok=True,
        value=b"1",
        files={
            there: b"content of " + there.encode() for there in call.results if "no" not in there
        },
        missing=[there for there in call.results if "no" in there],
        stdout=b"printed",
    )


def failing(call):
    stderr = b"reading\nbad line 3\nin panic.c\n"
    return Answer(ok=False, cause="exit 3", error="exit status 3", stderr=stderr, exit_code=3)


async def never(call):
    await asyncio.Event().wait()


def test_a_script_runs_an_algorithm(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        assert cluster.run(algorithm, [1, 2], {"a": 3}) == [[1, 2], {"a": 3}]


def test_a_program_with_an_event_loop_runs_an_algorithm(algorithm):
    async def main(url):
        async with maniple.connect(url) as cluster:
            first = cluster.submit(algorithm, 1)
            second = cluster.submit(algorithm, 2)
            assert first.id != second.id
            return await second, await first, await cluster.run(algorithm)

    with NativeHub() as hub:
        assert asyncio.run(main(hub.url)) == ([2], [1], [])


def test_the_plain_form_works_where_a_loop_runs_as_in_a_notebook(algorithm):
    async def main(url):
        with maniple.connect(url) as cluster:
            return cluster.run(algorithm, 1)

    with NativeHub() as hub:
        assert asyncio.run(main(hub.url)) == [1]


def test_a_connection_can_be_kept_over_the_cells_of_a_notebook(algorithm):
    async def main(url):
        cluster = await maniple.connect(url)
        try:
            return await cluster.run(algorithm, 1)
        finally:
            await cluster.close()

    with NativeHub() as hub:
        cluster = maniple.connect(hub.url).open()
        assert cluster.run(algorithm, 2) == [2]
        cluster.close()
        with pytest.raises(ClusterError, match="was closed"):
            cluster.run(algorithm, 3)
        assert asyncio.run(main(hub.url)) == [1]


def test_an_algorithm_travels_once_however_many_tasks_and_drivers_use_it(algorithm):
    with NativeHub() as hub:
        for _ in range(2):
            with maniple.connect(hub.url) as cluster:
                assert list(cluster.map(algorithm, range(100))) == [[i] for i in range(100)]
        assert len(hub.blobs) == 1


def test_a_package_is_named_by_its_path_and_read_again_when_it_was_built_again(tmp_path):
    path = tmp_path / "echo-0.0.1.zip"
    path.write_bytes(pack(Package("echo", "0.0.1", WASM, loader=b"// js", data=b"zip")))
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        assert cluster.run(str(path), 1) == [1]
        code = hub.submitted[-1].call.code
        assert code.name == "echo@0.0.1"
        assert set(hub.blobs) == {code.wasm, code.loader, code.data}
        path.write_bytes(pack(Package("echo", "0.0.1", WASM, loader=b"// other js")))
        assert cluster.run(path, 2) == [2]
        assert hub.submitted[-1].call.code.loader != code.loader
        with pytest.raises(AlgorithmError, match=r"cannot read the package .*none\.zip"):
            cluster.run(tmp_path / "none.zip")


def test_result_files_land_where_asked_and_folders_are_made(algorithm, tmp_path):
    here = tmp_path / "new" / "folder" / "out.txt"
    with NativeHub(with_files) as hub, maniple.connect(hub.url) as cluster:
        reply = cluster.call(algorithm, results={"/out": here, "/log": None})
        assert here.read_bytes() == b"content of /out"
        assert [path.name for path in here.parent.iterdir()] == ["out.txt"]
        assert reply.files["/log"] == b"content of /log"
        assert (reply.value, reply.stdout, reply.missing) == (1, "printed", [])


def test_a_missing_result_file_is_a_warning_that_names_it_and_the_task(algorithm, caplog):
    with NativeHub(with_files) as hub, maniple.connect(hub.url) as cluster:
        reply = cluster.call(algorithm, results={"/none": "none"})
    assert reply.missing == ["/none"]
    assert f"no file /none (task {reply.task})" in caplog.text


def test_a_result_file_that_cannot_be_written_is_an_error_that_names_it(algorithm, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        NativeHub(with_files) as hub,
        maniple.connect(hub.url) as cluster,
        pytest.raises(StorageError, match=r"cannot write the result file .*file/out of task"),
    ):
        cluster.run(algorithm, results={"/out": tmp_path / "file" / "out"})


def test_a_failure_carries_what_the_algorithm_printed(algorithm):
    with (
        NativeHub(failing) as hub,
        maniple.connect(hub.url) as cluster,
        pytest.raises(AlgorithmFailedError) as caught,
    ):
        cluster.run(algorithm)
    error = caught.value
    assert (error.cause, error.answer.exit_code) == ("exit 3", 3)
    assert error.stderr == "reading\nbad line 3\nin panic.c\n"
    assert str(error) == (
        f"echo failed (task {error.task}): exit status 3; it printed:\n"
        "  reading\n  bad line 3\n  in panic.c"
    )


def test_limits_and_files_go_with_the_task(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        cluster.run(algorithm, time_limit=7, memory=1 << 20, files={"/in": b"x"}, arguments="-v")
        call = hub.submitted[0].call
    assert (call.limits.seconds, call.limits.memory) == (7.0, 1 << 20)
    assert (call.files, call.arguments) == ({"/in": b"x"}, ["-v"])
    with pytest.raises(UsageError, match="time_limit must be above zero"):
        cluster.run(algorithm, time_limit=0)


def test_a_task_can_be_taken_back(algorithm):
    with NativeHub(never) as hub, maniple.connect(hub.url) as cluster:
        handle = cluster.submit(algorithm)
        until(lambda: hub.runs)
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.01)
        assert not handle.done()
        handle.cancel()
        with pytest.raises(TaskCancelledError, match=handle.id):
            handle.result()
        until(lambda: hub.cancelled == [handle.id])


def test_cancelling_the_wait_takes_the_task_back(algorithm):
    async def main(hub):
        async with maniple.connect(hub.url) as cluster:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await cluster.run(algorithm)
            handle = cluster.submit(algorithm)
            await asyncio.sleep(0)
            assert handle.cancel()
            with pytest.raises(asyncio.CancelledError):
                await handle
            assert handle.done()
            await asyncio.to_thread(until, lambda: len(hub.cancelled) == 2)

    with NativeHub(never) as hub:
        asyncio.run(main(hub))


def test_leaving_the_block_takes_back_what_is_unanswered(algorithm):
    with NativeHub(never) as hub:
        with maniple.connect(hub.url) as cluster:
            handles = [cluster.submit(algorithm) for _ in range(3)]
            until(lambda: len(hub.runs) == 3)
        until(lambda: sorted(hub.cancelled) == sorted(handle.id for handle in handles))
        with pytest.raises(TaskCancelledError):
            handles[0].result()


def test_nothing_is_left_behind(algorithm):
    with NativeHub() as hub:
        before = set(threading.enumerate())
        for _ in range(3):
            with maniple.connect(hub.url) as cluster:
                cluster.run(algorithm)
        until(lambda: set(threading.enumerate()) <= before)
        cluster = maniple.connect(hub.url).open()
        cluster.run(algorithm)
        del cluster
        until(lambda: set(threading.enumerate()) <= before)


def test_a_driver_that_computes_for_long_is_still_there(algorithm):
    """Its connection lives in a thread: what blocks the program's loop does not block it."""

    async def main(hub):
        async with maniple.connect(hub.url) as cluster:
            handle = cluster.submit(algorithm, 1)
            # no await until the answer has been fetched
            until(lambda: hub.got == [handle.id])
            assert not handle.done()
            return await handle

    with NativeHub() as hub:
        assert asyncio.run(main(hub)) == [1]


def test_no_hub_is_one_line_that_says_how_to_start_one():
    with pytest.raises(NoHubError) as caught:
        maniple.connect("localhost:1").open()
    assert str(caught.value) == (
        "no hub at localhost:1: connection refused; start one on this machine with: maniple loopback"
    )
    assert isinstance(caught.value, ConnectionError)


def test_something_else_than_a_hub_is_said_so(algorithm):
    with NativeHub() as hub, pytest.raises(NoHubError, match="no hub at .*: it answers HTTP 404"):
        maniple.connect(f"ws://127.0.0.1:{hub.port}/elsewhere").open()


def test_a_bad_token_is_said_so_and_not_shown(algorithm, caplog):
    caplog.set_level(0)
    with NativeHub(token="right") as hub:
        with pytest.raises(RefusedError, match="check APPLICATION_TOKEN") as caught:
            maniple.connect(hub.url, token="wrong-one").open()
        assert "wrong-one" not in str(caught.value)
        with pytest.raises(RefusedError, match="set APPLICATION_TOKEN"):
            maniple.connect(hub.url).open()
        with maniple.connect(hub.url, token="right") as cluster:
            assert cluster.run(algorithm, 1) == [1]
        assert hub.seen_tokens == ["wrong-one", None, "right"]
    said = [r.getMessage() for r in caplog.records if not r.name.startswith("websockets.server")]
    assert not any("wrong-one" in text or "right" in text for text in said)


def test_a_large_file_travels_both_ways(algorithm):
    data = bytes(range(256)) * (1 << 15)

    def back(call):
        return Answer(ok=True, files={"/out": call.files["/in"]})

    async def main(url):
        async with maniple.connect(url) as cluster:
            return await cluster.call(algorithm, files={"/in": data}, results={"/out": "out"})

    with NativeHub(back) as hub:
        asyncio.run(main(hub.url))
    with open("out", "rb") as file:
        assert file.read() == data
