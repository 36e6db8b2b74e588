"""A cluster of ours from driver to worker and back: algorithm_cluster.py WHAT NUMBER MODULE LOADER.

`rate`: no-op tasks a second with two workers, all awaited by one driver, and how many of them
were lost or answered twice. `wire`: what a task costs beyond its inputs and result after the first,
on the driver's and on the worker's connection, each through a proxy that counts. `earlier`: the
rate of the earlier platform's client, which EARLIER_PYTHON has, on our hub, and its bytes.
Prints the figures as a JSON object.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from brokers.proxy import Proxy

MANIPLE = "import sys; from maniple.cli.main import main; main(sys.argv[1:])"
HUB = """
from maniple.hub.server import listen, run_hub
port = listen("127.0.0.1", 0)
run_hub(port, "127.0.0.1", ready=lambda: print(port.getsockname()[1], flush=True))
"""
EARLIER = """
import asyncio, json, sys, time
from motivus.client import Client

async def drive(number, module, loader):
    client = await Client.connect()
    definition = {"wasm_path": module, "loader_path": loader}
    await client.select_task(client.call_async({**definition, "params": [0]}))
    start = time.perf_counter()
    ids = [client.call_async({**definition, "params": [n]}) for n in range(number)]
    values = await client.barrier(ids)
    spent = time.perf_counter() - start
    assert [value[0] for value in values] == list(range(number)), values
    print(json.dumps({"rate": number / spent}))

asyncio.run(drive(int(sys.argv[1]), *sys.argv[2:]))
"""
WARM_UP = 100
PAYLOAD = "x" * 1000


@contextmanager
def started(*command):
    """Run a program that prints a line when it is ready; give that line."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield program.stdout.readline()
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(20)
        program.stdout.close()


@contextmanager
def loopback():
    """Run a cluster with two workers; give its port."""
    words = ["loopback", "-p", "0", "-j", "2", "--quiet"]
    with started(sys.executable, "-c", MANIPLE, *words) as line:
        yield int(line.partition("localhost:")[2].partition("/")[0])


def rate(number, module, loader):
    """Send all at once, await all."""
    import maniple
    from maniple.driver import local

    number = int(number)
    with loopback() as port, maniple.connect(f"localhost:{port}") as cluster:
        algorithm = local(wasm=module, loader=loader)
        for _ in cluster.map(algorithm, range(WARM_UP)):
            pass
        start = time.perf_counter()
        handles = [cluster.submit(algorithm, n) for n in range(number)]
        values = Counter(handle.result()[0] for handle in handles)
        spent = time.perf_counter() - start
    return {
        "rate": number / spent,
        "lost": number - len(values),
        "doubled": sum(values.values()) - len(values),
    }


def wire(number, module, loader):
    """Count bytes."""
    import maniple
    from maniple.driver import local

    number = int(number)
    with started(sys.executable, "-c", HUB) as line:
        port = int(line)
        with Proxy(port) as drivers, Proxy(port) as workers:
            words = ["worker", f"localhost:{workers.port}", "-j", "1", "--quiet"]
            worker = subprocess.Popen([sys.executable, "-c", MANIPLE, *words])
            try:
                with maniple.connect(f"localhost:{drivers.port}") as cluster:
                    algorithm = local(wasm=module, loader=loader)
                    cluster.run(algorithm, PAYLOAD)
                    before = drivers.carried, workers.carried
                    params = [f"{n:06d}{PAYLOAD}" for n in range(number)]
                    for value in cluster.map(algorithm, params):
                        assert len(value[0]) == len(PAYLOAD) + 6
                    after = drivers.carried, workers.carried
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait(20)
    # the param comes back as the value: [ " ... " ] around it each time
    useful = 2 * (len(PAYLOAD) + 6 + 4)
    driver, working = ((b - a) / number - useful for a, b in zip(before, after, strict=True))
    return {"driver": driver, "worker": working}


def earlier(number, module, loader):
    """Have the earlier client send and await the tasks, and count its bytes."""
    with loopback() as port, Proxy(port) as drivers:
        uri = f"ws://localhost:{drivers.port}/client_socket/websocket"
        ran = subprocess.run(
            [os.environ["EARLIER_PYTHON"], "-c", EARLIER, number, module, loader],
            env={**os.environ, "WEBSOCKET_URI": uri, "APPLICATION_TOKEN": "any"},
            stdout=subprocess.PIPE,
            check=True,
        )
        carried = drivers.carried
    found = json.loads(ran.stdout.splitlines()[-1])
    return {**found, "driver": carried / int(number)}


if __name__ == "__main__":
    chosen = {"rate": rate, "wire": wire, "earlier": earlier}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
