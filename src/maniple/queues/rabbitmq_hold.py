"""A lease on RabbitMQ, and what is said of one when its end is not known."""

from __future__ import annotations

import time

from maniple.queue import Lease
from maniple.queues.rabbitmq_channel import GoneError
from maniple.queues.rabbitmq_message import Taken


class UnsureError(GoneError):
    """The connection was lost after an acknowledgement was sent and before it was answered.

    Attributes:
        receipt: the queue where the server has put `number` if it has acknowledged.
        lost: leases that were ours no more anyway.
    """

    def __init__(self, text: str, receipt: str, number: int, lost: list[Lease]) -> None:
        super().__init__(text)
        self.receipt = receipt
        self.number = number
        self.lost = lost


class Hold:
    """A task that is ours for now."""

    __slots__ = ("deadline", "lapses", "serial", "since", "tag", "task")

    def __init__(self, serial: int, taken: Taken, tag: int, deadline: float) -> None:
        self.serial = serial
        self.task = taken.task
        self.lapses = taken.lapses
        self.tag = tag
        self.deadline = deadline
        self.since = time.monotonic()
