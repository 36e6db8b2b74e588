"""Looking at the tasks of a queue, putting failed ones back, forgetting some."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

from maniple.queue import Record, State
from maniple.queues.nats_log import Log
from maniple.queues.nats_login import Msg
from maniple.queues.nats_store import PAGE, Piled, Store
from maniple.queues.nats_tasks import Codec, Item, direct_sequence, sequence_of
from maniple.task import Task

_ID: Final = re.compile(r"[0-9a-f]{32}")
_NANO_DIGITS: Final = 26


class Admin:
    """What is rarely asked.

    Args:
        store: the streams.
        codec: reads and writes tasks.
        log: what was acknowledged.
    """

    def __init__(self, store: Store, codec: Codec, log: Log) -> None:
        self._store = store
        self._names = store.names
        self._codec = codec
        self._log = log

    # Counting

    async def piles(self) -> tuple[Piled, Piled, Piled, Piled]:
        """Look at the tasks, and at the copies: again, later, failed."""
        names = self._names
        main, again, later, failed = await self._store.states(
            [
                (names.stream, True),
                (names.of("again"), True),
                (names.of("later"), False),
                (names.of("failed"), False),
            ]
        )
        return main, again, later, failed

    async def oldest(self, main: Piled) -> float | None:
        """Tell how long the next new task has waited, in seconds; None if there is none."""
        if not main.pending:
            return None
        message = await self._store.at(self._names.stream, main.delivered + 1)
        if message is None:
            return None
        stamp = (message.headers or {})["Nats-Time-Stamp"].rstrip("Z")[:_NANO_DIGITS]
        return max(0.0, time.time() - datetime.fromisoformat(stamp + "+00:00").timestamp())

    # Reading

    async def pieces(self, item: Item) -> bytes | None:
        """Read the data of a large task; None if some are missing."""
        stream = self._names.of("data")
        found = await self._store.last(
            [(stream, self._codec.piece(item.task.id, n)) for n in range(item.pieces)]
        )
        parts = [message.data for message in found if message is not None]
        return b"".join(parts) if len(parts) == item.pieces else None

    async def _whole(self, item: Item) -> Task:
        task = item.task
        data = await self.pieces(item) if item.pieces else task.data
        return Task(task.id, b"null" if data is None else data, task.attempt, task.number)

    async def _copies(self, kind: str) -> AsyncGenerator[list[Msg], None]:
        """Read all copies of a kind, in pages."""
        ids = await self._store.subjects(kind)
        for start in range(0, len(ids), PAGE):
            yield await self._copies_of(kind, ids[start : start + PAGE])

    async def _copies_of(self, kind: str, ids: Iterable[str]) -> list[Msg]:
        stream = self._names.of(kind)
        found = await self._store.last([(stream, self._names.subject(kind, i)) for i in ids])
        return [message for message in found if message is not None]

    async def records(self, state: State | None) -> AsyncGenerator[list[Record], None]:
        """Walk over the tasks, of one state or all, in pages."""
        main, again, _, _ = await self.piles()
        elsewhere: set[int] = set()
        places = {State.FAILED: "failed", State.DELAYED: "later"}
        for kind in ("failed", "later", "again"):
            if state in places and places[state] != kind:
                continue
            if state is State.WAITING and kind != "again":
                continue
            async with aclosing(self._copies(kind)) as pages:
                async for page in pages:
                    records = [await self._record(kind, message, again) for message in page]
                    elsewhere.update(record.task.number for record in records)
                    yield [record for record in records if state in {None, record.state}]
        if state in places:
            return
        noted: set[int] = set()
        if main.held and state is not State.WAITING:
            noted = await self._log.between(main.floor, main.delivered)
        first = 1
        if state is State.WAITING:
            first = main.delivered + 1
        elif state is State.LEASED:
            first = main.floor + 1
        last = main.delivered if state in {State.LEASED, State.DONE} else None
        async with aclosing(self._store.walk(self._names.stream, first)) as walk:
            async for fetched_page in walk:
                records = []
                for fetched in fetched_page:
                    number = sequence_of(fetched)
                    if last is not None and number > last:
                        yield records
                        return
                    stands = _stands(number, main, noted)
                    if number not in elsewhere and state in {None, stands}:
                        item = self._codec.read(fetched.message, number)
                        records.append(Record(await self._whole(item), stands))
                yield records

    async def _record(self, kind: str, message: Msg, again: Piled) -> Record:
        task = await self._whole(self._codec.read(message, 0))
        if kind == "failed":
            return Record(task, State.FAILED, self._codec.failure(message))
        if kind == "later":
            return Record(task, State.DELAYED)
        waits = direct_sequence(message) > again.delivered
        return Record(task, State.WAITING if waits else State.LEASED)

    async def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        if not key:
            return None
        message = None
        if _ID.fullmatch(key):
            (message,) = await self._store.last([(self._names.stream, self._names.task + key)])
        elif key.isascii() and key.isdecimal() and int(key):
            message = await self._store.at(self._names.stream, int(key))
        if message is not None:
            return await self._find(message)
        found = []
        if re.fullmatch(r"[0-9a-f]+", key):
            async with aclosing(self.records(None)) as pages:
                async for page in pages:
                    found += [record for record in page if record.task.id.startswith(key)]
        return found[0] if len(found) == 1 else None

    async def _find(self, message: Msg) -> Record:
        number = direct_sequence(message)
        item = self._codec.read(message, number)
        main, again, _, _ = await self.piles()
        for kind in ("failed", "later", "again"):
            for copy in await self._copies_of(kind, [item.task.id]):
                return await self._record(kind, copy, again)
        noted: set[int] = set()
        if main.held and main.floor < number <= main.delivered:
            noted = await self._log.between(number - 1, number)
        return Record(await self._whole(item), _stands(number, main, noted))

    # Changing

    async def retry(self, ids: Sequence[str] | None, back: set[int]) -> None:
        """Put failed tasks (all, or these ids) back as new; note which in `back`."""
        failed = self._names.of("failed")
        if ids is None:
            ids = await self._store.subjects("failed")
        ids = [task_id for task_id in dict.fromkeys(ids) if _ID.fullmatch(task_id)]
        for start in range(0, len(ids), PAGE):
            copies, sequences = [], []
            for message in await self._copies_of("failed", ids[start : start + PAGE]):
                task, sequence = self._codec.read(message, 0), direct_sequence(message)
                old = task.task
                new = Item(Task(old.id, old.data, 1, old.number), 0, task.pieces)
                copies.append(self._codec.copy("again", new, f"retry.{sequence}"))
                sequences.append(sequence)
                back.add(old.number)
            await self._store.publish(copies)
            await self._store.remove(failed, sequences)

    async def purge(self, state: State | None) -> int:
        """Forget the tasks of one state (never leased ones), or all; return how many."""
        if state is State.LEASED:
            return 0
        if state is not None:
            return await self._purge(state)
        main, again, _, _ = await self.piles()
        if main.held or again.held:
            states = (State.FAILED, State.DELAYED, State.WAITING, State.DONE)
            return sum([await self._purge(each) for each in states])
        for kind in ("again", "later", "failed", "data"):
            await self._store.empty(self._names.of(kind))
        await self._store.empty(self._names.stream)
        return main.messages

    async def _purge(self, state: State) -> int:
        copies = {
            State.FAILED: ["failed"],
            State.DELAYED: ["later"],
            State.WAITING: ["again"],
        }.get(state, [])
        count = 0
        async with aclosing(self.records(state)) as pages:
            async for page in pages:
                ids = [record.task.id for record in page]
                # the task goes first: one that is cut short here is still in the list next time
                count += await self._store.remove(
                    self._names.stream, [record.task.number for record in page]
                )
                for kind in copies:
                    found = await self._copies_of(kind, ids)
                    sequences = [direct_sequence(message) for message in found]
                    await self._store.remove(self._names.of(kind), sequences)
                for record in page:
                    if len(record.task.data) > self._codec.room:
                        pieces = self._codec.piece(record.task.id, "*")
                        await self._store.empty(self._names.of("data"), pieces)
        return count


def _stands(number: int, main: Piled, noted: set[int]) -> State:
    """Tell how a task stands that has no copy elsewhere."""
    if number > main.delivered:
        return State.WAITING
    if number <= main.floor or not main.held or number in noted:
        return State.DONE
    return State.LEASED
