"""Counting a queue on RabbitMQ; its failed tasks: reading them, putting them back, forgetting."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from msgspec.structs import replace

from maniple.queue import QueueStats, Record, State
from maniple.queues.rabbitmq_channel import (
    Channel,
    Delivery,
    GoneError,
    RefusedError,
    method_payload,
    spec,
)
from maniple.queues.rabbitmq_desk import Desk
from maniple.queues.rabbitmq_intake import MOST_PREFETCH
from maniple.queues.rabbitmq_making import exists, leave
from maniple.queues.rabbitmq_message import order, properties, read_failure
from maniple.queues.rabbitmq_names import Names

SECOND_LOOK_SECONDS: Final = 0.2
READING_SECONDS: Final = 5.0
GLANCE_SECONDS: Final = 0.002
HEARING_SECONDS: Final = 0.3
ALONE_SECONDS: Final = 60.0
_LOCKED: Final = 405


async def count(desk: Desk, names: Names) -> QueueStats:
    """Count; who sees nothing looks twice, for a task may just be on its way to somebody."""
    stats = await _count(desk, names)
    if stats.drained:
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        stats = await _count(desk, names)
    return stats


async def _count(desk: Desk, names: Names) -> QueueStats:
    # the holders are asked for last: what left the waiting before was with one of them by then
    queues = (names.main, names.failed, names.delayed, names.busy)
    answers = await asyncio.gather(*(desk.control.ask(names.look(queue)) for queue in queues))
    main, failed, delayed, busy = answers
    others = max(0, busy.consumer_count - desk.busy)
    return QueueStats(
        waiting=main.message_count,
        delayed=delayed.message_count,
        leased=desk.held + others,
        done=None,
        failed=failed.message_count,
    )


async def failed(desk: Desk, names: Names) -> list[Record]:
    """Read all failed tasks: take them for a moment."""
    async with _alone(desk, names) as channel:
        look = names.look(names.failed)
        found = await _take_all(channel, look)
        await _give_back(channel, look, len(found))
    return [_record(delivery) for delivery in found]


def _record(delivery: Delivery) -> Record:
    task, failure = read_failure(delivery)
    return Record(task, State.FAILED, failure)


async def retry(desk: Desk, names: Names, ids: Collection[str] | None) -> int:
    """Put failed tasks back, which leave their place in the same transaction; return how many."""
    async with _alone(desk, names) as channel:
        look = names.look(names.failed)
        await channel.ask(spec.Tx.Select())
        channel.transacts = True
        route = method_payload(spec.Basic.Publish(routing_key=names.main, mandatory=True))
        messages, tags = [], []
        found = await _take_all(channel, look)
        for delivery in found:
            task, _ = read_failure(delivery)
            if ids is None or task.id in ids:
                messages.append((route, properties(replace(task, attempt=1)), task.data))
                tags.append(delivery.tag)
        if messages:
            channel.publish(messages)
            for tag in tags:
                channel.send(spec.Basic.Ack(tag))
            await channel.ask(spec.Tx.Commit())
        await _give_back(channel, look, len(found) - len(messages))
        return len(messages)


@asynccontextmanager
async def _alone(desk: Desk, names: Names) -> AsyncIterator[Channel]:
    """Open a channel to take failed tasks, while nobody else does: he would not see them all.

    A queue that belongs to this connection is the lock: it ends with the connection.
    """
    until = time.monotonic() + ALONE_SECONDS
    async with desk.looking:
        while True:
            channel = await desk.wire.channel()
            try:
                await channel.ask(names.make_lock())
                break
            except RefusedError as error:
                if error.code != _LOCKED:
                    raise
                if time.monotonic() > until:
                    text = "somebody else has been reading its failed tasks for a minute: try later"
                    raise RefusedError(_LOCKED, text) from None
            await asyncio.sleep(SECOND_LOOK_SECONDS)
        try:
            yield channel
        finally:
            await leave(channel)
            desk.control.ask(spec.Queue.Delete(queue=names.lock))


async def received(desk: Desk, names: Names, queue: str, number: int) -> bool:
    """Tell whether the server has heard an acknowledgement whose answer was lost."""
    # it may still be reading what came before the connection was cut
    await asyncio.sleep(HEARING_SECONDS)
    if not await exists(desk.wire, names, queue):
        return False
    channel = await desk.wire.channel()
    try:
        found = await _take_all(channel, names.look(queue))
        await channel.ask(spec.Queue.Delete(queue=queue))
    finally:
        await leave(channel)
    return any(delivery.body == b"%d" % number for delivery in found)


async def _give_back(channel: Channel, look: spec.Queue.Declare, kept: int) -> None:
    """Return what was taken to be read, and see it back in its place."""
    if not kept or channel.error is not None:
        return
    channel.send(spec.Basic.Nack(0, multiple=True, requeue=True))
    if channel.transacts:
        await channel.ask(spec.Tx.Commit())
    until = time.monotonic() + READING_SECONDS
    while time.monotonic() < until:
        if (await channel.ask(look)).message_count >= kept:
            return
        await asyncio.sleep(GLANCE_SECONDS)


async def _take_all(channel: Channel, look: spec.Queue.Declare) -> list[Delivery]:
    """Take all that is ready in a queue, the oldest first.

    Raises:
        GoneError: the server does not hand over what it counts as handed over. Part of a queue
            must not look like all of it; on another connection it is asked again.
    """
    found: list[Delivery] = []
    for number in itertools.count():
        before = len(found)
        ready = (await channel.ask(look)).message_count
        if not ready:
            break
        tag = f"look{number}"
        channel.ask(spec.Basic.Qos(prefetch_count=MOST_PREFETCH))
        await channel.consume(look.queue, tag, found.append)
        await _reach(channel, found, before + min(ready, MOST_PREFETCH))
        await channel.ask(spec.Basic.Cancel(consumer_tag=tag))
        # what comes in meanwhile makes the rest larger, so this is never too much to expect
        taken = ready - (await channel.ask(look)).message_count
        if not await _reach(channel, found, before + taken):
            raise GoneError("the server does not hand over the messages of a queue")
    return sorted(found, key=order)


async def _reach(channel: Channel, found: list[Delivery], number: int) -> bool:
    """Wait until so many have come, as long as some do; tell whether they have."""
    count, until = -1, 0.0
    while len(found) < number and channel.error is None:
        now = time.monotonic()
        if len(found) > count:
            count, until = len(found), now + READING_SECONDS
        elif now > until:
            break
        await asyncio.sleep(GLANCE_SECONDS)
    return len(found) >= number


async def purge(desk: Desk, names: Names, state: State | None) -> int:
    """Forget the tasks of a state, or of all but leased ones; return how many."""
    gone = 0
    ask = desk.control.ask
    if state in {None, State.WAITING}:
        gone += (await ask(spec.Queue.Purge(queue=names.main))).message_count
    if state in {None, State.FAILED}:
        gone += (await ask(spec.Queue.Purge(queue=names.failed))).message_count
    if state in {None, State.DELAYED}:
        # to delete what does not exist is no error, to purge it is
        deletes = [ask(spec.Queue.Delete(queue=queue)) for queue in names.delays()]
        gone += sum(answer.message_count for answer in await asyncio.gather(*deletes))
        await ask(spec.Queue.Purge(queue=names.delayed))
    return gone
