"""Failed tasks of a Pulsar queue: the messages of a topic of their own.

Who looks at them is its subscription's only consumer for that moment: others wait for their turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from maniple.queue import Record, State
from maniple.queues.pulsar_client import Client
from maniple.queues.pulsar_link import LostError, RefusedError
from maniple.queues.pulsar_tasks import Unreadable, read_failed, read_task, stranger
from maniple.queues.pulsar_topics import (
    EXCLUSIVE,
    Consumer,
    acknowledge,
    ask_backlog,
    backlog_of,
    subscribe,
    unsubscribe,
)
from maniple.queues.pulsar_wire import Code, Message
from maniple.task import Task

ANSWER_SECONDS: Final = 5.0
AT_ONCE: Final = 500


class FailedTopic:
    """Reads and removes what was set aside. Calls raise LostError and may be repeated.

    Args:
        client: the connections.
        topic: its full name.
        subscription: whose failures are looked at.
    """

    def __init__(self, client: Client, topic: str, subscription: str) -> None:
        self._client = client
        self.topic = topic
        self._subscription = subscription
        self._partitions: list[str] = []

    @property
    def topics(self) -> list[str]:
        """The partitions as far as they are known, or the topic itself."""
        return self._partitions or [self.topic]

    def records(self) -> list[Record]:
        """List the failed tasks, in the order they failed."""
        with self._opened() as consumers:
            return [record for consumer in consumers for _, record in self._read(consumer)]

    def remove(self, ids: Sequence[str] | None, before: Callable[[list[Task]], None]) -> int:
        """Acknowledge the failures with these ids, or all; return how many tasks there were.

        `before` is called with the tasks of each partition first.
        """
        wanted = None if ids is None else set(ids)
        count = 0
        with self._opened() as consumers:
            for consumer in consumers:
                chosen = [
                    (message, record)
                    for message, record in self._read(consumer)
                    if wanted is None or record.task.id in wanted
                ]
                # a failure that was noted twice (an answer was lost) is one task
                tasks = {record.task.id: record.task for _, record in chosen}
                if not tasks:
                    continue
                before(list(tasks.values()))
                places = [(message.ledger, message.entry) for message, _ in chosen]
                acknowledge(self._client, consumer, places)
                count += len(tasks)
        return count

    @contextlib.contextmanager
    def _opened(self) -> Iterator[list[Consumer]]:
        consumers: list[Consumer] = []
        try:
            try:
                self._partitions = self._client.partitions(self.topic, create=False)
                for topic in self._partitions:
                    consumers += [self._subscribe(topic)]
            except RefusedError as error:
                if error.code != Code.TOPIC_NOT_FOUND:
                    raise
                # nothing has failed yet
            yield consumers
        finally:
            for consumer in consumers:
                with contextlib.suppress(LostError, RefusedError):
                    unsubscribe(self._client, consumer)

    def _subscribe(self, topic: str) -> Consumer:
        return subscribe(self._client, topic, self._subscription, kind=EXCLUSIVE, create=False)

    def _read(self, consumer: Consumer) -> Iterator[tuple[Message, Record]]:
        client = self._client
        left = backlog_of(client.answer(ask_backlog(client, consumer)))
        strange: list[tuple[int, int]] = []
        while left > 0:
            with client.changed:
                permits = min(AT_ONCE, left) - consumer.permits
                flow = consumer.flow(permits) if permits > 0 else b""
            if flow:
                client.send(consumer.link, flow)
            with client.changed:
                client.changed.wait_for(
                    lambda: consumer.inbox or not consumer.alive, ANSWER_SECONDS
                )
                if not consumer.alive:
                    raise LostError("the connection was lost")
                messages = list(consumer.inbox)
                consumer.inbox.clear()
            if not messages:
                # others' marks in the topic are counted but never sent
                break
            left -= len(messages)
            for message in messages:
                if stranger(message.properties, self._subscription):
                    strange.append((message.ledger, message.entry))
                elif (record := self._record(message)) is not None:
                    yield message, record
        if strange:
            acknowledge(client, consumer, strange)

    @staticmethod
    def _record(message: Message) -> Record | None:
        if message.batched or message.trouble:
            # not of our making
            return None
        task = read_task(message, 0, message.properties, message.payload, as_json=False)
        if isinstance(task, Unreadable):
            return None
        return Record(task, State.FAILED, read_failed(message.properties, task))
