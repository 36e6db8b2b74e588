"""Tasks on Google Cloud Pub/Sub: `gcps://PROJECT/TOPIC/SUBSCRIPTION`.

A task is a message. A lease is a message that was pulled and whose deadline is moved on while it
lasts. A message cannot be changed: a task that is given back is a new message, with its attempt in
an attribute, and the old one is acknowledged when the service has the new one. Tasks that failed
are messages of another topic. The service does not count its messages, and neither do we.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec

from maniple.errors import NotSupportedError
from maniple.queue import (
    Failure,
    Guarantees,
    Lease,
    QueueStats,
    Record,
    State,
    as_tasks,
)
from maniple.queues import pubsub_setup as setup
from maniple.queues.pubsub_aside import Aside
from maniple.queues.pubsub_holds import Holds, deadline_after
from maniple.queues.pubsub_intake import Intake
from maniple.queues.pubsub_messages import (
    LONGEST_DEADLINE,
    batches,
    copy_of,
    failed_of,
    message_of,
)
from maniple.queues.pubsub_place import read_place
from maniple.queues.pubsub_wire import CALL_SECONDS, LostError, Raw, RefusedError, Wire
from maniple.task import Task
from maniple.urls import redact

BATCH: Final = 1000
WINDOW: Final = 4
BLOCK_SECONDS: Final = 0.25
LONGEST_BLOCK_SECONDS: Final = 20.0
SILENCE_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 0.25
SPARE_SECONDS: Final = 5.0
_PERMANENT = "PERMANENT_"


def _boot_clock() -> float:
    """Seconds since boot; those count, too, in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class PubsubQueue:
    """The queue `gcps://PROJECT/TOPIC[/SUBSCRIPTION][?OPTIONS]`.

    Without a subscription in the path or in `?subscription=`, it has the topic's name. Credentials
    are Google's application default credentials (`GOOGLE_APPLICATION_CREDENTIALS`, or what
    `gcloud auth application-default login` wrote), or the file `?credentials=FILE`.

    Options of the URL: `endpoint=HOST:PORT` and `insecure` lead to an emulator (so does the
    variable `PUBSUB_EMULATOR_HOST`); `ca` is a file of certificates; `decode=json` reads messages
    of other programs as JSON instead of text; `hold` is for how many seconds the service withholds
    a leased task unless we renew it, so that long a dead minion's tasks stay away (10); after
    `quiet` seconds without a task minions leave (15); `reconnect` is for how many seconds a call
    tries to get a lost connection back (60).

    Args:
        rest: the URL after the scheme's colon.
        create: make topics and subscriptions that do not exist.
        decoder: `identity` or `json`, instead of the option `decode`.
        clock: seconds that only grow; leases are reckoned with it.
        wall: seconds since the epoch, for delays and failures.

    Raises:
        UsageError: the URL is malformed.
        QueueError: the queue is missing, of another topic or not permitted; no credentials.
        StorageError: nobody answers.
    """

    scheme: ClassVar[str] = "gcps"
    guarantees = Guarantees(
        durable=True,
        shared=True,
        machines=True,
        redelivers=True,
        counts=False,
        finite=True,
        unique=False,
        ordered=False,
        keeps_place=False,
        numbered=False,
        lists=False,
        late_acks=False,
    )
    idle = 1.0

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        decoder: str | None = None,
        clock: Callable[[], float] = _boot_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
        place = read_place(rest, decoder)
        self.url = f"{self.scheme}:{rest}"
        if decoder is not None and "decode=" not in rest:
            self.url += f"{'&' if '?' in rest else '?'}{urlencode({'decode': decoder})}"
        self._place = place
        self._path = place.subscription_path(place.subscription)
        self._clock = clock
        self._intake = Intake(place, wall)
        self._wire = Wire(place)
        try:
            found = setup.find(self._wire, place, redact(self.url), create=create)
        except BaseException:
            self._wire.close()
            raise
        if not found.counts:
            self.guarantees = msgspec.structs.replace(self.guarantees, counts_lapses=False)
        self._deadline = found.deadline or setup.DEADLINE_SECONDS
        self._deadline_known = found.deadline > 0
        longest = max(place.hold, self._deadline)
        self.quiet = longest + SPARE_SECONDS if place.quiet is None else place.quiet
        self._holds = Holds(self._renew, self._wire.connect, place.hold, clock)
        self._aside = Aside(self._wire, place, self._publish)
        self._aside_known = create

    # Putting

    def put(self, tasks: Iterable[Task]) -> int:
        """Add tasks; the service does not know which it has had before. Return how many."""
        return self._publish(self._place.topic, (message_of(task) for task in as_tasks(tasks)))

    def _publish(self, name: str, messages: Iterable[Any]) -> int:
        """Return when the service has all of them."""
        topic = self._place.topic_path(name)
        window: deque[tuple[Any, Callable[[], Any]]] = deque()
        count = 0
        for batch in batches(messages):
            request = Raw.Publish(topic=topic, messages=batch)
            window.append((request, self._wire.begin("Publish", request)))
            count += len(batch)
            if len(window) >= WINDOW:
                self._confirm(*window.popleft())
        while window:
            self._confirm(*window.popleft())
        return count

    def _confirm(self, request: Any, end: Callable[[], Any]) -> None:
        try:
            end()
        except LostError:
            self._wire.call("Publish", request)
        except RefusedError as refused:
            raise self._wire.explained(refused, "Publish", request) from None

    # Leasing

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one."""
        if limit <= 0:
            return []
        until = time.monotonic() + wait
        while True:
            left = max(0.0, until - time.monotonic())
            sent = self._clock()
            received = self._pull(min(limit, BATCH), left)
            if received and (leases := self._take(received, ttl, sent)):
                return leases
            left = until - time.monotonic()
            if left <= 0:
                return []
            if left < BLOCK_SECONDS:
                time.sleep(left)
                return []

    def _pull(self, limit: int, wait: float) -> Sequence[Any]:
        block = wait >= BLOCK_SECONDS
        request = Raw.Pull(
            subscription=self._path, max_messages=limit, return_immediately=not block
        )
        wire = self._wire

        def pull() -> Any:
            if not block:
                return wire.once("Pull", request)
            try:
                return wire.once("Pull", request, min(wait, LONGEST_BLOCK_SECONDS) + GRACE_SECONDS)
            except LostError as lost:
                if not lost.late:
                    raise
            if time.monotonic() - wire.heard > SILENCE_SECONDS:
                # it is all the same whether it permits us to look: it answers
                with suppress(RefusedError):
                    wire.once("GetSubscription", Raw.GetSubscription(subscription=self._path))
            return Raw.Pulled()

        try:
            found: Sequence[Any] = wire.persist(pull).received_messages
        except RefusedError as refused:
            raise wire.explained(refused, "Pull", request) from None
        return found

    def _take(self, received: Sequence[Any], ttl: float, sent: float) -> list[Lease]:
        """Make leases of messages; hold back what is early, set aside what cannot be run."""
        found = self._intake.sort(received, sent + ttl, deadline_after(sent, self._deadline))
        self._holds.add(found.holds)
        try:
            for seconds, tokens in found.early.items():
                self._renew(tokens, seconds)
            if found.others:
                self._acknowledge(found.others)
            if found.leases:
                self._hold(found.leases, ttl)
            if found.aside:
                self.fail(found.aside)
        except BaseException:
            # nobody will hear of them: they are to lapse
            self._holds.drop(found.holds)
            raise
        ours = set(self._holds.ours(lease.token for lease in found.leases))
        return [lease for lease in found.leases if lease.token in ours]

    def _hold(self, leases: list[Lease], ttl: float) -> None:
        """Have the service withhold what was pulled for as long as it is to."""
        seconds = self._holds.seconds(ttl)
        if not self._deadline_known or seconds != self._deadline:
            self.extend(leases, ttl)

    def _renew(
        self, tokens: Sequence[str], seconds: int, patience: float = CALL_SECONDS
    ) -> list[str]:
        """Move deadlines once; return the ids that the service refused."""
        request = Raw.Deadline(
            subscription=self._path, ack_ids=tokens, ack_deadline_seconds=seconds
        )
        return self._with_ids("ModifyAckDeadline", request, patience)

    def _with_ids(self, method: str, request: Any, patience: float = CALL_SECONDS) -> list[str]:
        """Make a call about ids, once; return those that were refused for good."""
        try:
            self._wire.once(method, request, patience)
        except RefusedError as refused:
            if not refused.ids:
                raise
            if all(reason.startswith(_PERMANENT) for reason in refused.ids.values()):
                return list(refused.ids)
            # what succeeded may be repeated, and the next answer tells the same of the others
            raise LostError(f"{refused.code.name}: {refused.text}") from None
        return []

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        seconds = self._holds.seconds(ttl)

        def renew(tokens: list[str]) -> None:
            sent = self._clock()
            self._holds.drop(self._renew(tokens, seconds))
            self._holds.renewed(tokens, deadline_after(sent, seconds), sent + ttl)

        self._each(leases, renew, "ModifyAckDeadline")
        ours = set(self._holds.ours(lease.token for lease in leases))
        return [lease for lease in leases if lease.token not in ours]

    def _each(
        self, leases: Sequence[Lease], call: Callable[[list[str]], None], method: str
    ) -> None:
        """Make a call about leases that are ours, in batches, until each has been answered."""
        for start in range(0, len(leases), BATCH):
            part = leases[start : start + BATCH]

            def try_it(part: Sequence[Lease] = part) -> None:
                if tokens := self._holds.ours(lease.token for lease in part):
                    call(tokens)

            try:
                self._wire.persist(try_it)
            except RefusedError as refused:
                request = Raw.Deadline(subscription=self._path)
                raise self._wire.explained(refused, method, request) from None

    # Settling

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those whose leases are over, by our clock."""
        done: set[str] = set()

        def acknowledge(tokens: list[str]) -> None:
            refused = self._acknowledge(tokens)
            # one that was over before the answer came may have been over before it was asked
            done.update(set(self._holds.ours(tokens)).difference(refused))
            self._holds.drop(tokens)

        self._each(leases, acknowledge, "Acknowledge")
        return [lease for lease in leases if lease.token not in done]

    def _acknowledge(self, tokens: Sequence[str]) -> list[str]:
        return self._with_ids("Acknowledge", Raw.Ack(subscription=self._path, ack_ids=tokens))

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        as_they_are: list[Lease] = []
        copied: list[Lease] = []
        copies: list[Any] = []
        for lease in leases:
            hold = self._holds.get(lease.token)
            if hold is None:
                continue
            if not (attempted or hold.worn or delay > LONGEST_DEADLINE):
                as_they_are.append(lease)
                continue
            copied.append(lease)
            copies.append(
                copy_of(
                    lease.task,
                    attempt=lease.task.attempt + attempted,
                    lapses=hold.lapses,
                    delay=delay,
                    reader=self._place.subscription,
                    extra=hold.extra,
                )
            )
        if copies:
            self._publish(self._place.topic, copies)
            self.ack(copied)

        def back(tokens: list[str]) -> None:
            self._renew(tokens, int(delay + 0.999))
            self._holds.drop(tokens)

        if as_they_are:
            self._each(as_they_are, back, "ModifyAckDeadline")

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        ours = [pair for pair in failures if self._holds.get(pair[0].token) is not None]
        if not ours:
            return
        if not self._aside_known:
            setup.make_aside(self._wire, self._place)
            self._aside_known = True
        messages = [failed_of(lease.task, failure) for lease, failure in ours]
        self._publish(self._place.aside, messages)
        self.ack([lease for lease, _ in ours])

    # Looking

    def stats(self) -> QueueStats:
        """Tell that nothing is known: the service does not count its messages."""
        return QueueStats(waiting=None, delayed=None, leased=None, done=None, failed=None)

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks that failed; others cannot be listed.

        Meanwhile others who look see fewer of them.
        """
        if state is not State.FAILED:
            raise NotSupportedError(
                f"Pub/Sub does not list {_which(state)}: only those that failed"
            )
        return self._aside.records()

    def find(self, key: str) -> Record | None:
        """Look a task that failed up, by its id or enough of its first digits.

        Raises:
            NotSupportedError: it is not among them, and others cannot be looked up.
        """
        found: dict[str, Record] = {}
        if key:
            for record in self._aside.records():
                if record.task.id == key:
                    return record
                if record.task.id.startswith(key):
                    found[record.task.id] = record
        if len(found) != 1:
            raise NotSupportedError(
                f"no task that failed is called {key!r}, and Pub/Sub does not look up others"
            )
        return found.popitem()[1]

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks (all, or these ids) back as new; return how many."""
        return self._aside.retry(ids)

    def purge(self, state: State | None = None) -> int:
        """Forget the tasks that failed; return how many. Others cannot be told apart."""
        if state is not State.FAILED:
            raise NotSupportedError(
                f"Pub/Sub cannot forget {_which(state)} alone: only those that failed (see"
                f" gcloud pubsub subscriptions seek {self._place.subscription})"
            )
        return self._aside.purge()

    def close(self) -> None:
        """Close the connection. Leases still held lapse."""
        self._holds.close()
        self._wire.close()


def _which(state: State | None) -> str:
    return "all tasks" if state is None else f"the tasks that are {state}"
