"""Making the queues behind a queue, so that a server that is killed does not lose them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from maniple.queues.rabbitmq_channel import Channel, RefusedError, spec
from maniple.queues.rabbitmq_names import Names
from maniple.queues.rabbitmq_wire import Wire

_NOT_FOUND: Final = 404


async def exists(wire: Wire, names: Names, queue: str) -> bool:
    """Tell whether a queue is there."""
    # the server closes the channel on which it says no
    channel = await wire.channel()
    try:
        await channel.ask(names.look(queue))
    except RefusedError as error:
        if error.code == _NOT_FOUND:
            return False
        raise
    await leave(channel)
    return True


async def leave(channel: Channel) -> None:
    """Close a channel; what was not acknowledged on it comes back."""
    if channel.error is None:
        await channel.ask(spec.Channel.Close(200, "", 0, 0))


async def make_new(
    wire: Wire, channel: Channel, names: Names, declares: Sequence[spec.Queue.Declare]
) -> None:
    """Make queues, unless the first of them is there.

    RabbitMQ 3.10 forgets the quorum queue that was made last, with all that is in it, when it is
    killed before it has made another or had nothing to do for a moment. So it makes another.
    """
    there = await exists(wire, names, declares[0].queue)
    for declare in declares:
        await channel.ask(declare)
    if not there:
        await channel.ask(names.make_stamp())


async def make_all(wire: Wire, channel: Channel, names: Names, *, create: bool) -> None:
    """Make the queues that stay, or with `create` False those beside a main one that must exist."""
    helpers = [names.make(queue) for queue in (names.failed, names.delayed, names.busy)]
    if create:
        await make_new(wire, channel, names, [names.make(names.main), *helpers])
    else:
        await channel.ask(names.look(names.main))
        await make_new(wire, channel, names, helpers)
