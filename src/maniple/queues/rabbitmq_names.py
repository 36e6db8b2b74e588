"""The queues that one Maniple queue is made of, and how each is declared.

NAME            the tasks that wait; quorum, like all the others
NAME.failed     failed tasks, each with its failure
NAME.delayed    a mark for each delayed task, gone when the delay is over
NAME.busy       always empty: who holds tasks consumes from it, and is counted by that
NAME.delay.N    tasks that go back to NAME after N milliseconds
NAME.lock       there while somebody takes the failed tasks to read them
NAME.hold.ID    copies of the tasks that one process has held for long
"""

from __future__ import annotations

import os
from typing import Any, Final

from maniple.queues.rabbitmq_channel import spec

STEPS: Final = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
LEAST_DELAY_MS: Final = 10
MOST_DELAY_MS: Final = 3_000_000_000
MARK_SLACK_MS: Final = 200
HOLD_MS: Final = 1000
ACKS_MS: Final = 600_000
_STAMP_MS: Final = 1000
_UNUSED_MS: Final = 3_600_000
# with a limit what comes back goes to the front of a queue, else to its end; it is for us to say
# when a task has come back too often, and failed tasks are read by taking them and giving them back
_MANY: Final = (1 << 31) - 1
_QUORUM: Final = {"x-queue-type": "quorum"}


def round_up(delay: float) -> int:
    """Round a delay of seconds up to one of the delays that have a queue, in milliseconds."""
    need = min(max(LEAST_DELAY_MS, -int(-delay * 1000 // 1)), MOST_DELAY_MS)
    scale = int("1" + "0" * (len(str(need)) - 1))
    for step in STEPS:
        if step * scale >= need:
            return int(step * scale)
    return 10 * scale


class Names:
    """The names of the queues behind one queue, and their declarations."""

    def __init__(self, name: str) -> None:
        self.main = name
        self.failed = f"{name}.failed"
        self.delayed = f"{name}.delayed"
        self.busy = f"{name}.busy"
        self.lock = f"{name}.lock"
        self.hold_prefix = f"{name}.hold."
        self.acks_prefix = f"{name}.acks."

    def delay(self, milliseconds: int) -> str:
        """Name the queue of the tasks that are delayed for so long."""
        return f"{self.main}.delay.{milliseconds}"

    def delays(self) -> list[str]:
        """Name all queues that delayed tasks may be in."""
        found = []
        scale = LEAST_DELAY_MS
        while scale <= MOST_DELAY_MS:
            found += [int(step * scale) for step in STEPS]
            scale *= 10
        return [self.delay(n) for n in found if n <= MOST_DELAY_MS]

    def look(self, queue: str) -> Any:
        """Ask for a queue that must exist."""
        return spec.Queue.Declare(queue=queue, passive=True)

    def make(self, queue: str) -> Any:
        """Make a queue that stays, if it is not there yet."""
        return _declare(queue, {"x-delivery-limit": _MANY})

    def make_delay(self, milliseconds: int) -> Any:
        """Make a queue whose messages go back to the main one after a while."""
        expires = milliseconds + _UNUSED_MS
        return _declare(self.delay(milliseconds), self._back(milliseconds, expires))

    def make_hold(self, queue: str) -> Any:
        """Make a queue whose messages stay while they are held, and go back otherwise."""
        return _declare(queue, self._back(HOLD_MS, _UNUSED_MS))

    def make_acks(self, queue: str) -> Any:
        """Make a queue that keeps the latest message only, and only while the server runs."""
        arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-expires": ACKS_MS}
        return spec.Queue.Declare(queue=queue, durable=True, arguments=arguments)

    def make_lock(self) -> Any:
        """Make a queue that lasts as long as the connection; on others the server says 405."""
        return spec.Queue.Declare(queue=self.lock, exclusive=True)

    def make_stamp(self) -> Any:
        """Make a queue that vanishes at once; see `rabbitmq_making`."""
        return _declare(f"{self.main}.made.{os.urandom(8).hex()}", {"x-expires": _STAMP_MS})

    def _back(self, milliseconds: int, expires: int) -> dict[str, Any]:
        return {
            "x-message-ttl": milliseconds,
            "x-expires": expires,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.main,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def _declare(queue: str, more: dict[str, Any]) -> Any:
    return spec.Queue.Declare(queue=queue, durable=True, arguments={**_QUORUM, **more})
