"""A taskiq task that does nothing, on Redis streams: acknowledged when it has been executed."""

import asyncio
import os

from taskiq_redis import RedisStreamBroker
from ticks import tick

broker = RedisStreamBroker(os.environ["BENCH_URL"])


@broker.task
async def noop(x: int) -> None:  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")


def fill(tasks):
    """Put the tasks."""

    async def put():
        await broker.startup()
        for number in range(tasks):
            await noop.kiq(number)
        await broker.shutdown()

    asyncio.run(put())
