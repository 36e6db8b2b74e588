"""Runs tasks through taskiq's workers: TASKS BROKER, the broker being `sqlite` or `zmq`."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from ticks import between, seen

# ZeroMQ's publisher drops what its subscriber is more than 1,000 messages behind
AHEAD = 500
tasks = int(sys.argv[1])
kind = os.environ["BENCH_BROKER"] = sys.argv[2]
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    os.environ["BENCH_PORT"] = str(probe.getsockname()[1])

import taskiq_app  # noqa: E402 - it reads what was set above


def start():
    """Start the workers."""
    command = Path(sys.executable).parent / "taskiq"
    number = "1" if kind == "zmq" else "2"
    words = [command, "worker", "taskiq_app:broker", "-w", number, "--log-level", "ERROR"]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})


async def fill():
    """Put all tasks; through ZeroMQ at the pace of the worker, once it listens."""
    broker = taskiq_app.broker
    await broker.startup()
    process = None
    if kind == "zmq":
        process = start()
        while not seen("ticks"):
            await taskiq_app.noop.kiq(0)
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)
        os.truncate("ticks", 0)
    for number in range(tasks):
        await taskiq_app.noop.kiq(number)
        while process and number - seen("ticks") > AHEAD:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.001)
    while process and seen("ticks") < tasks and process.poll() is None:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return process or start()


process = asyncio.run(fill())
seconds = between("ticks", tasks, lambda: process.poll() is None)
process.terminate()
print(json.dumps({"seconds": seconds}))
