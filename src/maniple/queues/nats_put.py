"""Putting tasks: many are under way at once, and the server keeps those that are new."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from maniple.queues.nats_store import WRONG_SEQUENCE, Store
from maniple.queues.nats_tasks import Codec
from maniple.task import Task

PUT_TASKS: Final = 1000
PUT_BYTES: Final = 8 << 20
_WRONG: Final = re.compile(rb"wrong last sequence: (\d+)")


class Put:
    """One batch on its way; it knows when it is repeated.

    Args:
        store: the streams.
        codec: writes tasks.
        tasks: the batch.
        newest: the sequence of the last task before it.
    """

    def __init__(self, store: Store, codec: Codec, tasks: Sequence[Task], newest: int) -> None:
        self._codec = codec
        self._store = store
        self._tasks = tasks
        self._newest = newest
        self._repeated = False

    async def store(self) -> tuple[int, int]:
        """Store the tasks; return how many were new, and the newest sequence."""
        repeated, self._repeated = self._repeated, True
        questions, pieces = [], []
        for task in self._tasks:
            question, parts = self._codec.put(task)
            questions.append(question)
            pieces += parts
        await self._store.publish(pieces)
        added, newest = 0, self._newest
        for answer in await self._store.link.ask(questions):
            if b'"error"' in answer.data and b"%d" % WRONG_SEQUENCE in answer.data:
                found = _WRONG.search(answer.data)
                # what came after our first try and was lost to us was ours, most likely
                added += repeated and found is not None and int(found[1]) > self._newest
            else:
                newest = max(newest, self._store.stored(answer))
                added += 1
        return added, newest


def batches(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Cut into batches without repetitions, each small enough to be under way at once."""
    tasks = iter(tasks)
    while True:
        batch: dict[str, Task] = {}
        size = 0
        for task in islice(tasks, PUT_TASKS):
            batch.setdefault(task.id, task)
            size += len(task.data)
            if size > PUT_BYTES:
                break
        if not batch:
            return
        yield list(batch.values())
