"""The log of what was acknowledged: safe on the server's disk before its consumers' notes are.

A server that is killed forgets the acknowledgements (and deliveries) of its last moments. What it
then delivers once more is compared with the end of this log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from maniple.queues.nats_link import Question
from maniple.queues.nats_store import Store
from maniple.queues.nats_tasks import sequence_of, spans, unspan

TAIL_SECONDS: Final = 120.0
TAIL_NOTES: Final = 20_000


class Log:
    """Writes and reads the log of one queue."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stream = store.names.of("done")
        self._tail: deque[bytes] = deque(maxlen=TAIL_NOTES)
        self._read = 0

    def note(self, numbers: Sequence[int]) -> Question:
        """Write that the tasks of these numbers are done."""
        return Question(self._store.names.done_subject, spans(numbers))

    async def newest(self) -> int:
        """Give the largest number of the last note; 0 if there is none."""
        state = await self._store.state(self._stream, consumer=False)
        message = await self._store.at(self._stream, state.last) if state.messages else None
        return max((run[-1] for run in unspan(message.data)), default=0) if message else 0

    async def known(self, numbers: Collection[int]) -> set[int]:
        """Tell which of these numbers were noted in the last minutes."""
        await self._follow()
        found: set[int] = set()
        for data in self._tail:
            for run in unspan(data):
                found.update(number for number in numbers if number in run)
        return found

    async def _follow(self) -> None:
        state = await self._store.state(self._stream, consumer=False)
        if state.last <= self._read:
            return
        since = None
        if not self._read:
            last = await self._store.at(self._stream, state.last)
            if last is not None:
                since = _earlier((last.headers or {})["Nats-Time-Stamp"])
        async for page in self._store.walk(self._stream, self._read + 1, since):
            self._tail.extend(fetched.message.data for fetched in page)
            self._read = sequence_of(page[-1])

    async def between(self, low: int, high: int) -> set[int]:
        """List the numbers above `low` and up to `high` that are noted."""
        found: set[int] = set()
        async for page in self._store.walk(self._stream):
            for fetched in page:
                for run in unspan(fetched.message.data):
                    found.update(range(max(run.start, low + 1), min(run.stop, high + 1)))
        return found


def _earlier(stamp: str) -> str:
    """Go some minutes back from a time of the server's."""
    whole = datetime.fromisoformat(stamp[:19] + "+00:00")
    return (whole - timedelta(seconds=TAIL_SECONDS)).isoformat()
