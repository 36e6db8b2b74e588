"""The worker's end of a hub: `hub:ws://HOST:PORT/socket/websocket`, `hub:HOST:PORT`.

The hub keeps the tasks, and pushes them over one WebSocket connection to a worker that has asked
for some; so a task that comes while the minion runs another is here when that one ends. A lease
lasts as long as the connection does, and comes back with it: the hub is told which are still held.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Answer, Call, Code, lean
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.shelf import cache_folder
from maniple.cluster.messages import (
    LARGEST_FRAME,
    Blob,
    Done,
    Refused,
    Want,
    Welcome,
    decode_to_worker,
    encode,
)
from maniple.errors import ClusterError, ManipleError, NotSupportedError
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State
from maniple.queues.hub_desk import Desk, Instruction, Stop
from maniple.queues.hub_place import read_place
from maniple.queues.hub_wire import Wire
from maniple.task import Task

GOODBYE_SECONDS: Final = 0.5
_ELSEWHERE: Final = "the tasks of a hub are its drivers': {} from a worker cannot be done"


class HubQueue:
    """The queue `hub:URL`: tasks are calls of algorithms, run by an `AlgorithmRunner`.

    The minion that empties it takes its calls from `call_of` and `parts_of`, and leaves answers
    with `answered`. It never ends by itself: a worker waits for more until it is told to stop. A
    lost connection, or a hub that starts again, is waited for (`?reconnect=SECONDS`: so long).

    Args:
        rest: the URL after `hub:` (see `hub_place`).
        create: accepted for the sake of all backends alike.
        name: of this worker, for people; the machine's by default.
        cache: folder for the parts of algorithms and what is made of them; this user's by default.
        abort: ends a running task, given its id; called in another thread.
        tell: is told in a sentence when the hub cannot be reached, and when it can again.
        clock: seconds that only grow.

    Raises:
        UsageError: the URL is malformed.
    """

    guarantees = Guarantees(
        durable=False,
        shared=True,
        machines=True,
        redelivers=True,
        counts=False,
        finite=False,
        unique=False,
        ordered=False,
        keeps_place=False,
        numbered=False,
        lists=False,
        late_acks=False,
        counts_lapses=False,
    )
    idle = 0.5
    quiet = math.inf

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,  # noqa: ARG002 - every backend takes it
        name: str | None = None,
        cache: str | None = None,
        abort: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = read_place(rest)
        self.url = f"hub:{rest}"
        self.abort = abort
        self._tell = tell or (lambda _: None)
        self._clock = clock
        cache = cache or cache_folder()
        self._blobs = Blobs(os.path.join(cache, "blobs"))
        self._compiled = os.path.join(cache, "compiled")
        self._desk = Desk(
            os.urandom(16).hex(), name or socket.gethostname(), self._blobs.__contains__
        )
        self._changed = threading.Condition(threading.RLock())
        self._wire: Wire | None = None
        self._trouble: ManipleError | None = None
        self._lost_at: float | None = None
        self._why = ""

    # What a minion calls

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:  # noqa: ARG002 - a lease lasts as long as the connection
        """Take up to `limit` tasks, waiting up to `wait` seconds for the first one.

        Raises:
            ClusterError: the hub refuses us, or was away for longer than `?reconnect=`.
            NotSupportedError: nobody is there to run calls of algorithms.
        """
        if self.abort is None:
            raise NotSupportedError(
                "the tasks of a hub are calls of algorithms: run them with maniple worker URL"
            )
        if limit <= 0:
            return []
        until = self._clock() + wait
        with self._changed:
            if self._wire is None:
                self._lost_at = self._clock()
                self._wire = Wire(self._place, self, self._clock)
            while True:
                self._check()
                leases, said = self._desk.lease(limit)
                self._say(said)
                left = until - self._clock()
                if leases or left <= 0:
                    self._desk.left(self._clock())
                    if self._desk.due() < math.inf:
                        self._wire.wake()
                    return leases
                self._changed.wait(left)

    def _check(self) -> None:
        if self._trouble is not None:
            raise self._trouble
        allowed, since = self._place.reconnect, self._lost_at
        if allowed is not None and since is not None and self._clock() - since >= allowed:
            why = f": {self._why}" if self._why else ""
            raise ClusterError(f"no connection to {self._place.shown} for {allowed:g} s{why}")

    def _say(self, said: Iterable[Instruction]) -> list[Task]:
        """Send messages; return the tasks to stop, which must wait until the lock is free."""
        messages: list[bytes] = []
        stop: list[Task] = []
        for each in said:
            if isinstance(each, Stop):
                stop.append(each.task)
            else:
                data = encode(each)
                if len(data) > LARGEST_FRAME and isinstance(each, Done):
                    data = encode(Done(each.token, _too_large(each.answer)))
                messages.append(data)
        if messages and self._wire is not None:
            self._wire.send(messages)
        return stop

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:  # noqa: ARG002 - see lease
        """Return the leases that are ours no more; the others last as long as the connection."""
        with self._changed:
            self._check()
            return self._desk.extend(leases)

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Send the answers of tasks; return those that are ours no more.

        What is sent is kept until the hub says that it is safe, and sent again if need be.
        """
        with self._changed:
            lost, said = self._desk.end(leases, _unanswered)
            self._say(said)
            return lost

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:  # noqa: ARG002 - the hub decides when it runs again, and counts attempts
        """Give tasks back; the hub hands them out again at once."""
        with self._changed:
            self._say(self._desk.give_back(leases))

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Send the answers of failed tasks."""
        causes = {lease.token: failure for lease, failure in failures}
        with self._changed:
            leases = [lease for lease, _ in failures]
            self._say(self._desk.end(leases, lambda lease: _failed(causes[lease.token]))[1])

    def stats(self) -> QueueStats:
        """Tell that nothing is known: the hub does not tell workers how many tasks it has."""
        return QueueStats(waiting=None, delayed=None, leased=None, done=None, failed=None)

    # What a runner calls

    def call_of(self, task: Task) -> Call:
        """Tell what a leased task calls.

        Raises:
            ClusterError: the hub has taken the task back meanwhile.
        """
        with self._changed:
            call = self._desk.call_of(task)
        if call is None:
            raise ClusterError("the hub has taken the task back")
        return call

    def parts_of(self, code: Code) -> Parts:
        """Tell where the parts of an algorithm are; they came before the task was leased."""
        return Parts(
            wasm=self._blobs.path(code.wasm),
            cache=self._compiled,
            loader=None if code.loader is None else self._blobs.path(code.loader),
            data=None if code.data is None else self._blobs.path(code.data),
        )

    def answered(self, task: Task, answer: Answer) -> None:
        """Keep the answer of a leased task; `ack` or `fail` sends it."""
        with self._changed:
            self._desk.answered(task, lean(answer))

    # What the wire calls, in its own thread

    def opened(self) -> None:
        """Greet the hub."""
        with self._changed:
            self._say([self._desk.hello()])

    def heard(self, message: bytes) -> None:
        """Take a message of the hub.

        Raises:
            ClusterError: the hub refuses us, or says what cannot be understood.
            StorageError: a part of an algorithm cannot be kept.
        """
        try:
            said = decode_to_worker(message)
        except ValueError as error:
            raise ClusterError(
                f"{self._place.shown} does not speak our language: {error}"
            ) from None
        if isinstance(said, Refused):
            raise ClusterError(f"{self._place.shown} refuses this worker: {said.reason}")
        if isinstance(said, Blob):
            self._keep(said)
            return
        with self._changed:
            instructions: list[Instruction]
            if isinstance(said, Want):
                # what else is in the cache is no business of this hub's
                instructions = [Blob(digest, None) for digest in said.digests]
            elif isinstance(said, Welcome):
                if self._why:
                    self._tell(f"connected to {self._place.shown}")
                self._lost_at, self._why = None, ""
                instructions = self._desk.welcomed(said)
            else:
                instructions = self._desk.heard(said)
            stop = self._say(instructions)
            self._changed.notify_all()
        for task in stop:
            if self.abort is not None:
                self.abort(task.id)

    def _keep(self, blob: Blob) -> None:
        """Keep a part of an algorithm that we asked for; its name proves what it is."""
        with self._changed:
            if not self._desk.wants(blob.digest):
                return
        why = ""
        if blob.data is None:
            why = "the hub does not have the algorithm's code any more: submit it again"
        elif digest_of(blob.data) != blob.digest:
            why = "the hub sent other code than it has named: its copy is damaged"
        else:
            self._blobs.put(blob.data)
        with self._changed:
            if why:
                self._say(self._desk.absent(blob.digest, why))
            else:
                self._desk.arrived(blob.digest)
            self._changed.notify_all()

    def tick(self, now: float) -> float:
        """Let others have what would wait too long; tell when to look again."""
        with self._changed:
            self._say(self._desk.tick(now))
            return self._desk.due()

    def lost(self, why: str) -> None:
        """Note that there is no connection."""
        with self._changed:
            self._desk.lost()
            if self._lost_at is None:
                self._lost_at = self._clock()
            if not self._why:
                self._tell(f"no connection to {self._place.shown} ({why}): trying until there is")
            self._why = why
            self._changed.notify_all()

    def broken(self, error: ManipleError) -> None:
        """Note that there is no sense in going on; the minion's next call raises this."""
        with self._changed:
            self._desk.lost()
            self._trouble = error
            self._changed.notify_all()

    # Nothing to see from here

    def put(self, tasks: Iterable[Task]) -> int:  # noqa: ARG002 - for none of them
        """Refuse: tasks are put by drivers."""
        raise NotSupportedError(
            "tasks are put on a hub by its drivers: take maniple.connect(URL), or a queue of yours"
        )

    def records(self, state: State | None = None) -> Iterator[Record]:  # noqa: ARG002 - in no state
        """Refuse: a worker sees its own tasks only."""
        raise NotSupportedError(_ELSEWHERE.format("listing them"))

    def find(self, key: str) -> Record | None:  # noqa: ARG002 - none
        """Refuse: a worker sees its own tasks only."""
        raise NotSupportedError(_ELSEWHERE.format("looking one up"))

    def retry(self, ids: Sequence[str] | None = None) -> int:  # noqa: ARG002 - none
        """Refuse: a failure has been answered."""
        raise NotSupportedError(_ELSEWHERE.format("running them again"))

    def purge(self, state: State | None = None) -> int:  # noqa: ARG002 - none
        """Refuse: the tasks are others'."""
        raise NotSupportedError(_ELSEWHERE.format("forgetting them"))

    def close(self) -> None:
        """Give back what is held; wait a moment for answers to be safe; leave."""
        with self._changed:
            wire = self._wire
            if wire is None:
                return
            self._say(self._desk.leave())
            until = self._clock() + GOODBYE_SECONDS
            while self._desk.online and self._desk.unsettled:
                left = until - self._clock()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._wire = None
        wire.close()


def _unanswered(_lease: Lease) -> Answer:
    return Answer(ok=False, cause="no answer", error="the worker ran it and kept no answer")


def _failed(failure: Failure) -> Answer:
    error = failure.error.strip().rpartition("\n")[2]
    output = failure.output.encode("utf-8", "replace")
    return Answer(ok=False, cause=failure.cause, error=error, stderr=output)


def _too_large(answer: Answer) -> Answer:
    return Answer(
        ok=False,
        cause="too large",
        error=f"value and result files together are more than {LARGEST_FRAME >> 20} MiB",
        start=answer.start,
        end=answer.end,
    )
