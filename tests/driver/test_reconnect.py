"""Connections that are lost are taken up again: no task is lost, none is answered twice."""

import asyncio
import random
import socket

import pytest

import maniple
from brokers.proxy import Proxy
from driver_hubs import NativeHub
from maniple.algorithm.call import Answer
from maniple.driver.pauses import LONGEST_PAUSE_SECONDS, Pauses
from maniple.driver.socket import RefusedError
from maniple.errors import ClusterError
from support import kept_port, until


async def never(call):
    await asyncio.Event().wait()


def test_pauses_grow_up_to_a_limit_and_end():
    pauses = Pauses(60, random.Random(1))
    now, taken = 0.0, []
    while (pause := pauses.failed(now)) is not None:
        taken.append(pause)
        now += pause
    assert now == pytest.approx(60)
    assert taken[0] <= 0.05
    assert max(taken) <= LONGEST_PAUSE_SECONDS
    assert taken[3] > taken[0]
    pauses.connected()
    assert pauses.failed(1000.0) is not None


def test_cut_connections_lose_and_double_nothing(algorithm, caplog):
    ran = {}

    def work(call):
        ran[call.params] = ran.get(call.params, 0) + 1
        return Answer(ok=True, value=call.params)

    with (
        NativeHub(work) as hub,
        Proxy(hub.port) as proxy,
        maniple.connect(f"127.0.0.1:{proxy.port}") as cluster,
    ):
        values = []
        for value in cluster.map(algorithm, range(1000), at_once=50):
            values.append(value)
            if len(values) % 150 == 0:
                seen = len(hub.hellos)
                proxy.cut()
                # answers that are here already could otherwise hide most of the cuts
                until(lambda seen=seen: len(hub.hellos) > seen)
        assert values == [[i] for i in range(1000)]
        assert set(ran.values()) == {1}
        assert len(hub.hellos) >= 7
        assert len({hello.session for hello in hub.hellos}) == 1
    warned = [r for r in caplog.records if "lost" in r.getMessage()]
    assert 1 <= len(warned) <= 6
    assert "no task is lost" in warned[0].getMessage()


def test_answers_that_were_lost_on_the_way_come_again(algorithm):
    with (
        NativeHub() as hub,
        Proxy(hub.port) as proxy,
        maniple.connect(f"127.0.0.1:{proxy.port}") as cluster,
    ):
        assert cluster.run(algorithm, 0) == [0]
        proxy.mute()
        handles = [cluster.submit(algorithm, i) for i in range(20)]
        until(lambda: len(hub.runs) == 21)
        assert not any(handle.done() for handle in handles)
        proxy.unmute()
        assert [handle.result() for handle in handles] == [[i] for i in range(20)]
        assert set(hub.runs.values()) == {1}
        until(lambda: len(set(hub.got)) == 21)


def test_a_hub_that_was_killed_and_forgot_everything_gets_it_all_again(algorithm):
    with kept_port() as port, NativeHub(never, port) as first:
        connection = maniple.connect(first.url)
        cluster = connection.open()
        handles = [cluster.submit(algorithm, i) for i in range(30)]
        until(lambda: len(first.runs) == 30)
        first.stop()
        late = [cluster.submit(algorithm, i) for i in range(30, 35)]
        with NativeHub(port=port) as second:
            assert [h.result() for h in handles + late] == [[i] for i in range(35)]
            assert len(second.blobs) == 1
            cluster.close()


def test_when_time_is_up_the_tasks_end_with_a_line(algorithm):
    with NativeHub(never) as hub:
        cluster = maniple.connect(hub.url, reconnect=0.3).open()
        handle = cluster.submit(algorithm)
        until(lambda: hub.runs)
    with pytest.raises(ClusterError, match=r"no connection to the hub at .* for 0\.3 s: "):
        handle.result()
    with pytest.raises(ClusterError, match="no connection to the hub"):
        cluster.run(algorithm)
    cluster.close()


def test_a_token_that_is_withdrawn_meanwhile_ends_it(algorithm):
    with NativeHub(token="one") as hub:
        cluster = maniple.connect(hub.url, token="one").open()
        hub.token = "two"
        hub.cut()
        with pytest.raises(RefusedError, match="check APPLICATION_TOKEN"):
            until(lambda: cluster.run(algorithm, 1) and None)
        cluster.close()


def test_a_server_that_takes_connections_and_says_nothing_is_no_hub(monkeypatch):
    monkeypatch.setattr("maniple.driver.socket.OPEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ClusterError, match=r"no hub at 127\.0\.0\.1:\d+: no answer for 0\.2 s"):
            maniple.connect(f"127.0.0.1:{port}").open()


def test_a_hub_that_falls_silent_is_left_and_tried_again(algorithm, monkeypatch):
    monkeypatch.setattr("maniple.driver.socket.HEARTBEAT_SECONDS", 0.1)
    with (
        NativeHub() as hub,
        Proxy(hub.port) as proxy,
        maniple.connect(f"127.0.0.1:{proxy.port}") as cluster,
    ):
        assert cluster.run(algorithm, 0) == [0]
        proxy.mute()
        handle = cluster.submit(algorithm, 1)
        # the connection is whole, and silent: the driver is to come back by itself
        until(lambda: len(proxy._pairs) == 0 or hub.links == set() or len(hub.hellos) > 1)
        proxy.unmute()
        assert handle.result() == [1]
