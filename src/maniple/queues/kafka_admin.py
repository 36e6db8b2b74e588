"""Looks at the tasks of a Kafka queue one by one: lists, failures, retries, and forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from confluent_kafka import KafkaError

from maniple.queue import Failure, Lease, Record, State, lost_failure
from maniple.queues.kafka_client import Client
from maniple.queues.kafka_journal import Journal
from maniple.queues.kafka_messages import UndecodableError, letter, read_letter, read_task
from maniple.queues.kafka_ops import Token, pack
from maniple.queues.kafka_part import NEW, NOBODY, Part
from maniple.queues.kafka_reader import Reader
from maniple.task import Task

CHUNK: Final = 256
LOST_LETTER: Final = Failure("unknown", "the record of this failure is no more in the topic")


class Admin:
    """What is rarely asked.

    Args:
        client: makes connections.
        name: of the queue.
        journal: what is known.
        ends: tells how far each partition goes.
        decode: whether messages of other programs are JSON.
        numbered: whether tasks have numbers.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        journal: Journal,
        ends: Callable[[], list[tuple[int, int, int]]],
        *,
        decode: bool,
        numbered: bool,
    ) -> None:
        self._client = client
        self._name = name
        self._failed = f"{name}.failed"
        self._journal = journal
        self._ends = ends
        self._decode = decode
        self._numbered = numbered
        self._spare: dict[str, Reader] = {}
        self._closed = False

    def write(self, failures: Sequence[tuple[Lease, Failure]]) -> dict[Token, int]:
        """Write the reasons of failures, and return where they are.

        Raises:
            StorageError: the cluster stayed away.
        """
        errors: list[KafkaError] = []
        places: dict[Token, int] = {}
        left = {lease.token: (lease.task, failure) for lease, failure in failures}
        while left:
            for token, (task, failure) in left.items():

                def heard(offset: int, token: Token = token) -> None:
                    places[token] = offset

                words = letter(task, failure, token.partition, token.offset)
                self._journal.send(self._failed, errors, heard, **words, partition=0)
            self._journal.flush(errors)
            # when an answer was lost, the broker may know only that it has the message
            left = {token: what for token, what in left.items() if places[token] < 0}
        return places

    def records(self, state: State | None) -> Iterator[Record]:
        """Walk over the tasks of one state, or all."""
        if state is State.FAILED:
            yield from (record for _, record in self._failures())
            return
        failures: dict[tuple[int, ...], Failure | None] = {}
        if state is None:
            failures = {token[1:]: record.failure for token, record in self._failures()}
        with self._reader(self._name) as reader:
            for number, first, _ in self._ends():
                part = self._journal.tasks.parts.get(number)
                if part is None:
                    continue
                for message in reader.scan(number, max(first, part.start), part.end):
                    offset = message.offset()
                    found = _state(part, offset)
                    if found is None or state not in {None, found}:
                        continue
                    task = self._task(message, part)
                    yield Record(task, found, failures.get((number, offset)))

    def _task(self, message: Any, part: Part) -> Task:
        attempt = part.notes.get(message.offset(), NEW).attempt
        try:
            return read_task(message, decode=self._decode, attempt=attempt, numbered=self._numbered)
        except UndecodableError as error:
            return error.task

    def _failures(self) -> Iterator[tuple[Token, Record]]:
        """Walk over the failed tasks, in the order of their offsets."""
        failed = sorted(
            (Token(NOBODY, number, offset), place)
            for number, part in self._journal.tasks.parts.items()
            for offset, place in part.failed.items()
        )
        if not failed:
            return
        with self._reader(self._failed) as letters, self._reader(self._name) as tasks:
            rest = iter(failed)
            while chunk := list(islice(rest, CHUNK)):
                places = sorted({place for _, place in chunk if isinstance(place, int)})
                found = letters.read({0: places} if places else {})
                for token, place in chunk:
                    message = found[0, place] if isinstance(place, int) else None
                    if message is not None:
                        yield token, read_letter(message, numbered=self._numbered)
                        continue
                    failure = LOST_LETTER if isinstance(place, int) else lost_failure(*place)
                    where = token.partition, token.offset
                    message = tasks.read({where[0]: [where[1]]})[where]
                    if message is not None:
                        task = self._task(message, self._journal.tasks.parts[where[0]])
                        yield token, Record(task, State.FAILED, failure)

    @contextmanager
    def _reader(self, topic: str) -> Iterator[Reader]:
        # a walk has one of its own: it may be left and taken up again between other calls
        reader = self._spare.pop(topic, None) or Reader(self._client, topic)
        try:
            yield reader
        finally:
            if topic in self._spare or self._closed:
                reader.close()
            else:
                reader.rest()
                self._spare[topic] = reader

    def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        while self._spare:
            self._spare.popitem()[1].close()

    def find(self, key: str) -> Record | None:
        """Look a task up by its number, or by its id or enough of its first digits."""
        if self._numbered and key.isascii() and key.isdecimal():
            found = self._at(int(key) - 1)
            if found is not None:
                return found
        if not key:
            return None
        matches: list[Record] = []
        for record in self.records(None):
            if record.task.id == key:
                return record
            if record.task.id.startswith(key):
                matches.append(record)
        return matches[0] if len(matches) == 1 else None

    def _at(self, offset: int) -> Record | None:
        part = self._journal.tasks.parts.get(0)
        if part is None or not part.start <= offset < part.end:
            return None
        state = _state(part, offset)
        if state is None:
            return None
        if state is State.FAILED:
            return next((r for token, r in self._failures() if token.offset == offset), None)
        with self._reader(self._name) as reader:
            message = reader.read({0: [offset]})[0, offset]
            return None if message is None else Record(self._task(message, part), state)

    def retry(self, ids: Sequence[str] | None) -> int:
        """Put failed tasks back as new; return how many."""
        if ids is None:
            return int(self._journal.append("retry"))
        wanted = set(ids)
        tokens = [token for token, record in self._failures() if record.task.id in wanted]
        return int(self._journal.append("retry", tasks=pack(tokens))) if tokens else 0

    def purge(self, state: State | None) -> int:
        """Forget tasks; return how many."""
        count = int(self._journal.append("purge", state=state or "", ends=self._ends()))
        unneeded = {
            number: part.gone.flat[1]
            for number, part in self._journal.tasks.parts.items()
            if part.gone.flat and part.gone.flat[0] == part.start
        }
        if unneeded:
            self._client.delete_before(self._name, unneeded)
        return count


def _state(part: Part, offset: int) -> State | None:
    """Tell where a task stands; None for one that is forgotten."""
    if offset in part.held:
        return State.LEASED
    if offset in part.failed:
        return State.FAILED
    if offset in part.later:
        return State.DELAYED
    if offset in part.back or part.fresh <= offset < part.end:
        return State.WAITING
    return None if offset in part.gone else State.DONE
