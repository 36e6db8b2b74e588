"""Many params: bounds, order, failures, leaving early, progress."""

import asyncio
import itertools
import threading

import pytest

import maniple
from driver_hubs import NativeHub
from maniple.algorithm.call import Answer
from maniple.driver import AlgorithmFailedError, Inputs
from maniple.driver.window import Window
from maniple.errors import ParamError, UsageError
from support import until


def failing_at(*bad):
    def work(call):
        if call.params in bad:
            return Answer(ok=False, cause="trap", error="unreachable executed", stderr=b"oh")
        return Answer(ok=True, value=call.params)

    return work


class Gate:
    """Lets tasks end one by one, in the order that the test wants."""

    def __init__(self):
        self.open = {}
        self.running = 0
        self.most = 0
        self.all = False

    async def __call__(self, call):
        self.running += 1
        self.most = max(self.most, self.running)
        event = self.open.setdefault(call.params, asyncio.Event())
        if not self.all:
            await event.wait()
        self.running -= 1
        return Answer(ok=True, value=call.params)

    def release(self, hub, params):
        until(lambda: params in self.open)
        hub.loop.call_soon_threadsafe(self.open[params].set)


def test_the_values_come_in_the_order_of_the_params(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        assert list(cluster.map(algorithm, range(500))) == [[i] for i in range(500)]


def test_an_item_is_the_one_param_a_tuple_all_of_them_and_inputs_all_else(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        items = [[1, 2], (1, 2), Inputs(3, files={"/in": b"x"}, results=["/o"]), ()]
        values = list(cluster.map(algorithm, items, files={"/all": b"y"}))
        assert values == [[[1, 2]], [1, 2], [3], []]
        calls = {s.call.params: s.call for s in hub.submitted}
    assert calls[b"[3]"].files == {"/all": b"y", "/in": b"x"}
    assert calls[b"[1,2]"].files == {"/all": b"y"}


def test_no_more_are_unanswered_at_a_time_than_allowed(algorithm):
    gate = Gate()
    with NativeHub(gate) as hub, maniple.connect(hub.url) as cluster:
        read = []
        values = cluster.map(algorithm, (read.append(i) or i for i in range(50)), at_once=3)
        until(lambda: gate.running == 3)
        assert read == [0, 1, 2]
        gate.all = True
        for i in range(3):
            gate.release(hub, b"[%d]" % i)
        assert list(values) == [[i] for i in range(50)]
    assert gate.most == 3


def test_an_endless_stream_is_read_as_it_goes(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        values = cluster.map(algorithm, itertools.count(), at_once=4)
        assert list(itertools.islice(values, 100)) == [[i] for i in range(100)]
        values.close()
        assert len(hub.submitted) < 100 + 4 * 17 + 4


def test_as_they_come_each_value_comes_with_its_item(algorithm):
    gate = Gate()
    with NativeHub(gate) as hub, maniple.connect(hub.url) as cluster:
        values = cluster.map(algorithm, [1, 2, 3], ordered=False)
        for i in (2, 3, 1):
            gate.release(hub, b"[%d]" % i)
            assert next(values) == (i, [i])
        assert list(values) == []


def test_a_failure_ends_it_and_takes_back_what_is_unanswered(algorithm):
    async def work(call):
        if call.params == b"[1]":
            return Answer(ok=False, cause="trap", error="unreachable executed")
        if call.params != b"[0]":
            await asyncio.Event().wait()
        return Answer(ok=True, value=call.params)

    with NativeHub(work) as hub, maniple.connect(hub.url) as cluster:
        values = cluster.map(algorithm, range(10), at_once=5)
        assert next(values) == [0]
        with pytest.raises(AlgorithmFailedError, match="unreachable executed"):
            next(values)
        until(lambda: len(hub.cancelled) == len(hub.submitted) - 2 > 0)
        with pytest.raises(StopIteration):
            next(values)


def test_failures_can_be_returned_in_place_of_values(algorithm):
    with NativeHub(failing_at(b"[1]")) as hub, maniple.connect(hub.url) as cluster:
        values = list(cluster.map(algorithm, [0, 1, object(), 3], errors="return"))
    assert (values[0], values[3]) == ([0], [3])
    assert isinstance(values[1], AlgorithmFailedError)
    assert isinstance(values[2], ParamError)


def test_leaving_the_loop_takes_back_what_is_unanswered(algorithm):
    gate = Gate()
    with NativeHub(gate) as hub, maniple.connect(hub.url) as cluster:
        gate.open[b"[0]"] = asyncio.Event()
        gate.open[b"[0]"].set()
        for value in cluster.map(algorithm, range(100), at_once=8):
            assert value == [0]
            break
        until(lambda: len(hub.cancelled) == len(hub.submitted) - 1 == 8)


def test_an_error_of_the_params_comes_after_the_values_before_it(algorithm):
    def params():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        values = cluster.map(algorithm, params())
        assert [next(values), next(values)] == [[1], [2]]
        with pytest.raises(OSError, match="the disk is gone"):
            next(values)


def test_the_params_are_read_in_the_thread_of_the_reader(algorithm):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        seen = {value[0] for value in cluster.map(algorithm, (threading.get_ident() for _ in "ab"))}
    assert seen == {threading.get_ident()}


def test_progress_is_told_to_a_function(algorithm):
    told = []
    with NativeHub(failing_at(b"[1]")) as hub, maniple.connect(hub.url) as cluster:
        list(cluster.map(algorithm, range(5), errors="return", progress=told.append))
        assert (told[-1].done, told[-1].failed, told[-1].running, told[-1].total) == (4, 1, 0, 5)
        assert len(told) == 5
        told.clear()
        list(
            cluster.map(algorithm, iter(range(5)), at_once=2, errors="return", progress=told.append)
        )
        assert told[0].total is None
        assert told[-1].total == 5


def test_what_a_progress_function_raises_ends_it(algorithm):
    def listen(progress):
        raise OSError("no terminal")

    async def main(url):
        async with maniple.connect(url) as cluster:
            with pytest.raises(OSError, match="no terminal"):
                [v async for v in cluster.map(algorithm, range(3), progress=listen)]

    with NativeHub() as hub:
        asyncio.run(main(hub.url))
        with maniple.connect(hub.url) as cluster, pytest.raises(OSError, match="no terminal"):
            list(cluster.map(algorithm, range(3), progress=listen))


def test_progress_is_shown_as_a_line(algorithm, capsys):
    with NativeHub() as hub, maniple.connect(hub.url) as cluster:
        list(cluster.map(algorithm, range(5), progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    # others before it, where the tasks take their time
    assert err.splitlines()[-1].startswith("maniple: 5 of 5 tasks (100%)")


@pytest.mark.parametrize(("name", "value"), [("at_once", 0), ("errors", "ignore")])
def test_a_wrong_option_is_said_at_once(algorithm, name, value):
    with (
        NativeHub() as hub,
        maniple.connect(hub.url) as cluster,
        pytest.raises(UsageError, match=name),
    ):
        cluster.map(algorithm, [], **{name: value})


def test_with_an_event_loop_it_is_all_the_same(algorithm):
    async def endless():
        for i in itertools.count():
            await asyncio.sleep(0)
            yield i

    async def main(hub):
        async with maniple.connect(hub.url) as cluster:
            assert [v async for v in cluster.map(algorithm, range(300))] == [
                [i] for i in range(300)
            ]
            pairs = {i: v async for i, v in cluster.map(algorithm, range(300), ordered=False)}
            assert pairs == {i: [i] for i in range(300)}
            async for value in cluster.map(algorithm, endless(), at_once=4):
                if value == [50]:
                    break
            assert [v async for v in cluster.map(algorithm, [])] == []
            with pytest.raises(ParamError):
                [v async for v in cluster.map(algorithm, [1, object()])]

    with NativeHub() as hub:
        asyncio.run(main(hub))


def test_with_an_event_loop_leaving_cancelling_or_failing_takes_the_rest_back(algorithm):
    async def work(call):
        if call.params == b"[7]":
            return Answer(ok=False, cause="trap", error="unreachable executed")
        if call.params != b"[0]":
            await asyncio.Event().wait()
        return Answer(ok=True, value=call.params)

    async def read(cluster, first):
        return [value async for value in cluster.map(algorithm, [first, 1, 2, 3], at_once=4)]

    async def main(hub):
        async with maniple.connect(hub.url) as cluster:
            async for value in cluster.map(algorithm, range(4), at_once=4):
                assert value == [0]
                break
            await asyncio.to_thread(until, lambda: len(hub.cancelled) == 3)
            with pytest.raises(AlgorithmFailedError):
                await read(cluster, 7)
            await asyncio.to_thread(until, lambda: len(hub.cancelled) == 6)
            reading = asyncio.create_task(read(cluster, 1))
            await asyncio.to_thread(until, lambda: len(hub.submitted) == 12)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.to_thread(until, lambda: len(hub.cancelled) == 10)

    with NativeHub(work) as hub:
        asyncio.run(main(hub))


def test_a_thousand_tasks_of_one_driver_none_lost_none_doubled(algorithm):
    async def main(url):
        async with maniple.connect(url) as cluster:
            handles = [cluster.submit(algorithm, i) for i in range(1000)]
            return await asyncio.gather(*handles)

    with NativeHub() as hub:
        assert asyncio.run(main(hub.url)) == [[i] for i in range(1000)]
        assert (len(hub.runs), set(hub.runs.values())) == (1000, {1})


def test_a_window_stops_what_runs_too_far_ahead_of_a_slow_one():
    window = Window(2, 4, ordered=True)
    first = window.start()
    for _ in range(4):
        window.end(window.start(), "later")
    assert not window.room
    assert window.take() is None
    window.end(first, "first")
    assert window.take() == (0, "first")
    assert not window.room
    assert window.take() == (1, "later")
    assert window.room
