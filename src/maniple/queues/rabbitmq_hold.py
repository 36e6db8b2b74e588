"""A lease on RabbitMQ, and what is said of one when its end is not known."""

from __future__ import annotations

import re
import time
from typing import Final

from maniple.queue import Lease
from maniple.queues.rabbitmq_channel import GoneError, RefusedError
from maniple.queues.rabbitmq_message import Taken

LEAST_ROTATE_SECONDS: Final = 1.0
_TOLD: Final = re.compile(r"timed out\b.*\bTimeout value used: (\d+) ms", re.DOTALL)


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
    """A task that is ours for now.

    Args:
        serial: its number, in this process.
        taken: the message.
        tag: of its delivery.
        deadline: when our lease ends.
        rotate: seconds for which the server may be relied upon to leave it to us.
    """

    __slots__ = ("deadline", "lapses", "rotate", "serial", "since", "tag", "task")

    def __init__(self, serial: int, taken: Taken, tag: int, deadline: float, rotate: float) -> None:
        self.serial = serial
        self.task = taken.task
        self.lapses = taken.lapses
        self.tag = tag
        self.deadline = deadline
        self.since = time.monotonic()
        # whoever lost it before us may have held it for too long, and could not tell us
        self.rotate: float = max(LEAST_ROTATE_SECONDS, rotate / 2**taken.lapses)

    def old(self, now: float) -> bool:
        """Tell whether a copy must take its place."""
        return now - self.since >= self.rotate


def patience_told(error: Exception | None) -> float | None:
    """Read from what ended a channel for how many seconds the server lets messages be held."""
    told = _TOLD.search(str(error)) if isinstance(error, RefusedError) else None
    return None if told is None else int(told[1]) / 1000
