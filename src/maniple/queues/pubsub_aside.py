"""The tasks that failed: a topic and a subscription of their own, looked at without taking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from maniple.queue import Record
from maniple.queues.pubsub_messages import message_of, read_failed
from maniple.queues.pubsub_place import Place
from maniple.queues.pubsub_wire import LostError, Raw, RefusedError, Wire
from maniple.task import Task

LOOK_SECONDS: Final = 60
LOOKED_AT_ONCE: Final = 200
WAIT_SECONDS: Final = 2.0


class Aside:
    """The subscription of tasks that failed.

    Args:
        wire: to the service.
        place: of the queue.
        publish: puts messages on a topic; returns when the service has them.
    """

    def __init__(
        self, wire: Wire, place: Place, publish: Callable[[str, list[Any]], object]
    ) -> None:
        self._wire = wire
        self._place = place
        self._publish = publish
        self._path = place.subscription_path(place.aside)

    def records(self) -> Iterator[Record]:
        """Walk over what failed; each task once."""
        for _, record in self._walk(set()):
            yield record

    def retry(self, ids: Sequence[str] | None) -> int:
        """Put tasks back as new: all, or these."""
        wanted = None if ids is None else set(ids)
        count = 0
        for batch in self._taken(wanted):
            tasks = [Task(r.task.id, r.task.data) for _, r in batch]
            self._publish(self._place.topic, [message_of(task) for task in tasks])
            self._acknowledge([token for token, _ in batch])
            count += len(batch)
        return count

    def purge(self) -> int:
        """Forget what failed; return how many."""
        count = 0
        for batch in self._taken(None):
            self._acknowledge([token for token, _ in batch])
            count += len(batch)
        return count

    def _taken(self, wanted: set[str] | None) -> Iterator[list[tuple[str, Record]]]:
        """Walk in batches; what is given here is not given back."""
        kept: set[str] = set()
        batch: list[tuple[str, Record]] = []
        for token, record in self._walk(kept):
            if wanted is not None and record.task.id not in wanted:
                continue
            kept.add(token)
            batch.append((token, record))
            if len(batch) >= LOOKED_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    def _walk(self, kept: set[str]) -> Iterator[tuple[str, Record]]:
        """Hold all that failed for a while, and give back in the end what is not kept."""
        seen: set[str] = set()
        held: list[str] = []
        try:
            while received := self._pull():
                tokens = [each.ack_id for each in received]
                held += tokens
                self._deadline(tokens, LOOK_SECONDS)
                fresh = [each for each in received if each.message.message_id not in seen]
                if not fresh:
                    # we have walked for longer than they were held, and have seen all of them
                    return
                for each in fresh:
                    seen.add(each.message.message_id)
                    yield each.ack_id, read_failed(each)
        finally:
            self._deadline([token for token in held if token not in kept], 0)

    def _pull(self) -> Sequence[Any]:
        request = Raw.Pull(subscription=self._path, max_messages=LOOKED_AT_ONCE)

        def pull() -> Any:
            try:
                return self._wire.once("Pull", request, WAIT_SECONDS)
            except LostError as lost:
                if lost.late:
                    return Raw.Pulled()
                raise

        try:
            answer = self._wire.persist(pull)
        except RefusedError as refused:
            if refused.missing:
                # nothing has failed so far, or nobody was permitted to make a place for it
                return []
            raise self._wire.explained(refused, "Pull", request) from None
        found: Sequence[Any] = answer.received_messages
        return found

    def _deadline(self, tokens: list[str], seconds: int) -> None:
        for start in range(0, len(tokens), LOOKED_AT_ONCE):
            request = Raw.Deadline(
                subscription=self._path,
                ack_ids=tokens[start : start + LOOKED_AT_ONCE],
                ack_deadline_seconds=seconds,
            )
            self._wire.call("ModifyAckDeadline", request)

    def _acknowledge(self, tokens: list[str]) -> None:
        self._wire.call("Acknowledge", Raw.Ack(subscription=self._path, ack_ids=tokens))
