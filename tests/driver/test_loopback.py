"""Drivers at the real loop-back cluster: killed, cut off, interrupted in the middle of their work."""

import asyncio
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

import maniple
from brokers.proxy import Proxy
from maniple.driver import AlgorithmFailedError, local
from motivus.client import Client
from support import PATIENCE, kept_port, opened_shell, until

# (func (export "main") (param i32 i32) (result i32)): counts the second down to 0, then gives the
# first and one
COUNT = bytes.fromhex(
    "0061736d0100000001070160027f7f017f03020100070801046d61696e00000a1d011b0002400340200145"
    "0d01200141016b21010c000b0b200041016a0b"
)
SOME = 3_000_000  # a few milliseconds
# the same, but it counts nothing and goes round for ever
ENDLESS = bytes.fromhex(
    "0061736d0100000001070160027f7f017f03020100070801046d61696e00000a0b01090003400c000b41000b"
)


class LoopBack:
    """The command `maniple loopback` on one port, started as often as need be."""

    def __init__(self, shell, port):
        self._shell = shell
        self.port = port
        self.process = None

    def start(self):
        """Start it, as soon as what had the port before has gone."""
        until(self._started)

    def _started(self):
        self.process = self._shell.start(
            "loopback", "-p", self.port, "-j", 2, stderr=subprocess.DEVNULL
        )
        return self.process.stdout.readline().startswith("export WEBSOCKET_URI=")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self._shell.finish(self.process)

    @property
    def url(self):
        return f"ws://localhost:{self.port}/client_socket/websocket"

    def counts(self):
        """Read what the hub shows of itself."""
        with urllib.request.urlopen(f"http://localhost:{self.port}/", timeout=PATIENCE) as page:
            return {k: int(v) for k, v in re.findall(r"(\w+) (\d+)", page.read().decode())}


@pytest.fixture
def cluster_command(tmp_path):
    with kept_port() as port:
        for shell in opened_shell(tmp_path):
            command = LoopBack(shell, port)
            command.start()
            yield command
            command.end()


@pytest.fixture
def count(tmp_path):
    path = tmp_path / "count.wasm"
    path.write_bytes(COUNT)
    return local(path)


@pytest.fixture
def endless(tmp_path):
    path = tmp_path / "endless.wasm"
    path.write_bytes(ENDLESS)
    return local(path)


def test_a_thousand_tasks_of_one_driver_none_lost_none_doubled(cluster_command, count):
    async def main():
        async with maniple.connect(cluster_command.url) as cluster:
            return await asyncio.gather(*(cluster.submit(count, i, 0) for i in range(1000)))

    assert asyncio.run(main()) == list(range(1, 1001))
    assert cluster_command.counts()["done"] == 1000


def test_a_cluster_that_is_killed_and_started_again_answers_each_task_once(cluster_command, count):
    with maniple.connect(cluster_command.url) as cluster:
        values = []
        for value in cluster.map(count, ((i, SOME) for i in range(300)), at_once=100):
            values.append(value)
            if len(values) in {50, 170}:
                cluster_command.kill()
                cluster_command.start()
    assert values == list(range(1, 301))


def test_the_earlier_client_outlives_a_killed_cluster_too(cluster_command, count, monkeypatch):
    monkeypatch.setenv("WEBSOCKET_URI", cluster_command.url)

    async def main():
        client = await Client.connect()
        tasks = [
            client.call_async({"wasm_path": "count.wasm", "params": [i, SOME]}) for i in range(200)
        ]
        await client.select_task(tasks[20])
        await asyncio.to_thread(cluster_command.kill)
        await asyncio.to_thread(cluster_command.start)
        return await client.barrier(tasks)

    assert asyncio.run(main()) == list(range(1, 201))


def test_cut_connections_lose_nothing_and_answer_nothing_twice(cluster_command, count):
    with (
        Proxy(cluster_command.port) as proxy,
        maniple.connect(f"127.0.0.1:{proxy.port}") as cluster,
    ):
        values = []
        for value in cluster.map(count, ((i, SOME) for i in range(300)), at_once=100):
            values.append(value)
            if len(values) in {40, 120, 200, 201}:
                proxy.cut()
        assert values == list(range(1, 301))
        proxy.mute()
        handles = [cluster.submit(count, i, 0) for i in range(50)]
        until(lambda: cluster_command.counts()["done"] == 350)
        proxy.unmute()
        assert [handle.result() for handle in handles] == list(range(1, 51))
    assert cluster_command.counts()["done"] == 350


def test_an_algorithm_travels_once_and_a_task_costs_its_inputs_and_little_more(
    cluster_command, count
):
    with (
        Proxy(cluster_command.port) as proxy,
        maniple.connect(f"127.0.0.1:{proxy.port}") as cluster,
    ):
        assert cluster.run(count, 1, 0) == 2
        before = proxy.carried
        assert list(cluster.map(count, ((i, 0) for i in range(200)))) == list(range(1, 201))
        assert (proxy.carried - before) / 200 < 1024


def test_a_time_limit_ends_a_task_with_a_sentence(cluster_command, endless):
    with (
        maniple.connect(cluster_command.url) as cluster,
        pytest.raises(AlgorithmFailedError) as caught,
    ):
        cluster.run(endless, 0, 0, time_limit=0.2)
    assert caught.value.cause == "time limit"


SCRIPT = """
import maniple
from maniple.driver import local
with maniple.connect() as cluster:
    print("ready", flush=True)
    list(cluster.map(local("endless.wasm"), [(0, 0)] * 50, time_limit=600))
"""


def test_an_interrupted_script_takes_its_tasks_back(cluster_command, endless):
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={"WEBSOCKET_URI": cluster_command.url, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert script.stdout.readline() == "ready\n"
        until(lambda: cluster_command.counts()["leased"] >= 2)
        script.send_signal(signal.SIGINT)
        _, err = script.communicate(timeout=PATIENCE)
    finally:
        script.kill()
    assert err.rstrip().endswith("KeyboardInterrupt")

    def left():
        counts = cluster_command.counts()
        return [counts[name] for name in ("leased", "waiting", "drivers")]

    # it takes one after the other back, and leaves then
    until(lambda: left() == [0, 0, 0])
    assert cluster_command.counts()["done"] == 0


def test_a_driver_that_is_killed_leaves_tasks_that_it_may_come_back_for(cluster_command, endless):
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={"WEBSOCKET_URI": cluster_command.url, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
    )
    assert script.stdout.readline() == b"ready\n"
    until(lambda: cluster_command.counts()["leased"] >= 2)
    script.kill()
    script.communicate()
    until(lambda: cluster_command.counts()["drivers"] == 0)
    counts = cluster_command.counts()
    assert counts["leased"] + counts["waiting"] + counts["done"] == 50
