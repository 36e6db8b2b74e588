"""What to do with messages that were pulled: run them, hold them back, set them aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from maniple.queue import MAX_LAPSES, Failure, Lease, lost_failure
from maniple.queues.pubsub_holds import Hold
from maniple.queues.pubsub_messages import (
    FOR,
    LONGEST_DEADLINE,
    UnreadableError,
    delay_of,
    extra_of,
    lapses_of,
    published_at,
    read_task,
)
from maniple.queues.pubsub_place import Place

GIVEN_BACK: Final = 3
"""How often a message is given back as it is: more could not be told from lapses."""


class Sorted(msgspec.Struct):
    """Messages, by what is to be done with them.

    Attributes:
        leases: to be run.
        aside: never to be run, and why.
        holds: of all these, by their tokens.
        early: tokens of those that are to wait, by the seconds.
        others: tokens of those that are for another subscription of the topic.
    """

    leases: list[Lease] = []
    aside: list[tuple[Lease, Failure]] = []
    holds: dict[str, Hold] = {}
    early: dict[int, list[str]] = {}
    others: list[str] = []


class Intake:
    """Sorts messages.

    Args:
        place: of the queue.
        wall: seconds since the epoch.
    """

    def __init__(self, place: Place, wall: Callable[[], float]) -> None:
        self._subscription = place.subscription
        self._decode = place.decode
        self._wall = wall
        self._behind = 0.0

    def sort(self, received: Sequence[Any], until: float, deadline: float) -> Sorted:
        """Sort what was pulled.

        Args:
            received: the messages.
            until: when the leases end.
            deadline: when the service may take the messages back.
        """
        found = Sorted()
        for each in received:
            message, token = each.message, each.ack_id
            marks = message.attributes
            extra: dict[str, str] = {}
            if len(marks) > 1 or FOR in marks:
                if marks.get(FOR, self._subscription) != self._subscription:
                    found.others.append(token)
                    continue
                if left := self._early(message):
                    found.early.setdefault(left, []).append(token)
                    continue
            if marks:
                extra = extra_of(message)
            before, now = lapses_of(each)
            try:
                lease = Lease(read_task(message, self._decode), token)
                if before + now > MAX_LAPSES:
                    found.aside.append((lease, lost_failure(before + now, self._wall())))
                else:
                    found.leases.append(lease)
            except UnreadableError as unreadable:
                failure = msgspec.structs.replace(unreadable.failure, at=self._wall())
                found.aside.append((Lease(unreadable.task, token), failure))
            worn = each.delivery_attempt > GIVEN_BACK
            lapses = before + max(0, now - GIVEN_BACK)
            found.holds[token] = Hold(until, deadline, lapses, worn, extra)
        return found

    def _early(self, message: Any) -> int:
        """For how many seconds a message is still to wait, as a deadline."""
        delay = delay_of(message)
        if not delay:
            return 0
        published = published_at(message)
        now = self._wall()
        # nothing is published in the future: where it seems so, our clock is behind the service's
        self._behind = max(self._behind, published - now)
        left = published + delay - now - self._behind
        return 0 if left <= 0 else min(LONGEST_DEADLINE, int(left) + 1)
