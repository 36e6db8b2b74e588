"""Puts tasks into the topic of a Kafka queue, those that are in it already left out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from confluent_kafka import KafkaError

from maniple import owner
from maniple.queues.kafka_client import Client
from maniple.queues.kafka_journal import Journal
from maniple.queues.kafka_messages import id_of, key_of
from maniple.queues.kafka_reader import Reader
from maniple.task import Task

CHUNK: Final = 5000
WAIT_SECONDS: Final = 0.5
SPARE_SECONDS: Final = 30.0


class Filler:
    """Puts tasks. Only one puts at a time: the journal says who may.

    Args:
        client: makes connections.
        topic: of the tasks.
        journal: tells who may put.
        reader: tells where the topic ends.
        partitions: of the topic.
    """

    def __init__(
        self, client: Client, topic: str, journal: Journal, reader: Reader, partitions: int
    ) -> None:
        self._client = client
        self._topic = topic
        self._journal = journal
        self._reader = reader
        self._partitions = partitions
        self._known: set[bytes] = set()
        # up to where the topic was read for them, and how often something was forgotten before
        self._read = dict.fromkeys(range(partitions), 0)
        self._purges = 0

    def put(self, tasks: Iterable[Task]) -> int:
        """Put tasks; return how many were new."""
        rest = iter(tasks)
        added = 0
        while chunk := list(islice(rest, CHUNK)):
            self._begin()
            try:
                added += self._put(chunk)
            finally:
                if not self._journal.broken:
                    self._journal.append("filled", ends=self.ends())
        return added

    def ends(self) -> list[tuple[int, int, int]]:
        """Tell how far each partition goes."""
        return [(number, *self._reader.ends(number)) for number in range(self._partitions)]

    def _begin(self) -> None:
        ttl = self._client.reconnect + SPARE_SECONDS
        while not self._journal.append("fill", ttl=ttl):
            tasks = self._journal.tasks
            member = tasks.members.get(tasks.filler)
            if member is not None and owner.is_dead(member.who):
                self._journal.append("dead", members=[tasks.filler])
            else:
                self._journal.wait(WAIT_SECONDS)

    def _put(self, chunk: list[Task]) -> int:
        before = self.ends()
        self._learn(before)
        new: dict[bytes, Task] = {}
        for task in chunk:
            key = bytes.fromhex(task.id)
            if key not in self._known:
                new.setdefault(key, task)
        errors: list[KafkaError] = []
        for task in new.values():
            self._journal.send(self._topic, errors, value=task.data, key=key_of(task.id))
        self._journal.flush(errors)
        after = self.ends()
        grown = sum(end for _, _, end in after) - sum(end for _, _, end in before)
        if grown == len(new):
            # all that is new is ours; with other programs' messages among it, it is read again
            self._known.update(new)
            self._read = {number: end for number, _, end in after}
        return len(new)

    def _learn(self, ends: list[tuple[int, int, int]]) -> None:
        """Read which tasks are in the topic."""
        state = self._journal.tasks
        if self._purges != state.purges:
            self._known.clear()
            self._read = dict.fromkeys(self._read, 0)
            self._purges = state.purges
        if all(self._read[number] >= end for number, _, end in ends):
            return
        reader = Reader(self._client, self._topic)
        try:
            for number, first, end in ends:
                part = state.parts.get(number)
                gone = part.gone if part is not None and part.gone.total else ()
                for message in reader.scan(number, max(first, self._read[number]), end):
                    task_id = id_of(message.key())
                    if task_id is not None and message.offset() not in gone:
                        self._known.add(bytes.fromhex(task_id))
                self._read[number] = end
        finally:
            reader.close()
