"""Tasks without an answer, and the workers for them: who gets what, and what comes back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from maniple.algorithm.call import Answer
from maniple.cluster.messages import Abort, Running, Want
from maniple.hub.rules.orders import Forget, Order, Send, Settle, Start, Tell
from maniple.hub.rules.parts import Parts
from maniple.hub.rules.records import Lease, State, Task, Worker
from maniple.hub.rules.turns import Turns
from maniple.hub.rules.view import Counts
from maniple.queue import MAX_LAPSES

LOST: Final = "lost"
MISSING: Final = "missing part"


class Pool:
    """Keeps tasks in their lines and leases in their hands; orders go into lists that are given.

    Args:
        epoch: text that no other hub (or earlier one) has; lease tokens begin with it.

    Attributes:
        turns: tasks that can be run.
        parts: what others wait for.
        gone: parts that were here and are not any more.
        workers: all known ones, by uid.
        leases: all of tasks without an answer, by token.
        counts: of what has ended.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._number = 0
        self._idle: OrderedDict[str, Worker] = OrderedDict()
        self.turns: Turns[Task] = Turns()
        self.parts = Parts()
        self.gone: set[str] = set()
        self.workers: dict[str, Worker] = {}
        self.leases: dict[str, Lease] = {}
        self.counts = Counts()

    def ready(self, task: Task, *, front: bool = False) -> None:
        """Put a task into its line."""
        task.state = State.READY
        self.turns.push(task.session.user, task.session.name, task, front=front)

    def park(self, task: Task, digests: list[str], orders: list[Order]) -> None:
        """Let a task wait for parts, and ask for them."""
        task.state = State.WANTING
        self.ask(self.parts.park(task, digests), orders)

    def park_again(self, task: Task, orders: list[Order]) -> bool:
        """Let a task wait whose parts are gone; tell whether some are."""
        lost = [digest for digest in dict.fromkeys(task.digests) if digest in self.gone]
        if lost:
            self._leave_lines(task)
            self.park(task, lost, orders)
        return bool(lost)

    def ask(self, digests: list[str], orders: list[Order]) -> None:
        """Ask for parts that somebody waits for and nobody was asked for."""
        wanted: dict[int, list[str]] = {}
        for digest in digests:
            session = self.parts.ask(digest)
            if session is not None and session.link is not None:
                wanted.setdefault(session.link, []).append(digest)
        orders += [Send(link, Want(names)) for link, names in wanted.items()]

    def wants(self, worker: Worker, count: int) -> None:
        """Note how many tasks more a worker can take."""
        worker.wants = count
        if count > 0:
            self._idle.setdefault(worker.uid, worker)
        else:
            self._idle.pop(worker.uid, None)

    def match(self, orders: list[Order]) -> list[Order]:
        """Give tasks to workers while there are both; return the list that was given."""
        while self.turns and self._idle:
            task = self.turns.pop()
            task.state = State.LEASED
            if self.gone and self.park_again(task, orders):
                continue
            uid, worker = next(iter(self._idle.items()))
            worker.wants -= 1
            if worker.wants > 0:
                self._idle.move_to_end(uid)
            else:
                del self._idle[uid]
            self._lease(task, worker, orders)
        return orders

    def _lease(self, task: Task, worker: Worker, orders: list[Order]) -> None:
        self._number += 1
        token = f"{self._epoch}-{self._number:x}"
        lease = Lease(token, task, worker.uid)
        self.leases[token] = task.leases[token] = worker.held[token] = lease
        attempt = task.lapses + 1
        assert worker.link is not None  # noqa: S101 - only connected workers are idle
        orders.append(Start(worker.link, token, task.key, attempt))
        if task.session.link is not None:
            orders.append(Send(task.session.link, Running(task.name, attempt)))

    def answer(
        self, task: Task, answer: Answer, orders: list[Order], *, answerer: str | None = None
    ) -> None:
        """Settle a task. `answerer` is the token of the lease that brought the answer."""
        self._leave_lines(task)
        self._release(task, orders, answerer)
        task.state = State.ANSWERED
        if answer.ok:
            self.counts.done += 1
        else:
            self.counts.failed += 1
        orders.append(Settle(task.key, answer))
        if task.session.link is not None:
            orders.append(Tell(task.session.link, task.key))

    def drop(self, task: Task, orders: list[Order]) -> None:
        """Forget a task whose answer nobody wants."""
        self._leave_lines(task)
        if task.state is not State.ANSWERED:
            self.counts.cancelled += 1
        self._release(task, orders)
        del task.session.tasks[task.name]
        orders.append(Forget(task.key))

    def _leave_lines(self, task: Task) -> None:
        if task.state is State.READY:
            self.turns.remove(task.session.user, task.session.name, task)
        elif task.state is State.WANTING:
            self.parts.remove(task)

    def _release(self, task: Task, orders: list[Order], answerer: str | None = None) -> None:
        """End all leases of a task; who still runs it is told to stop."""
        for token, lease in task.leases.items():
            del self.leases[token]
            if lease.live:
                worker = self.workers[lease.uid]
                del worker.held[token]
                if token != answerer and worker.link is not None:
                    orders.append(Send(worker.link, Abort(token)))
        task.leases.clear()

    def put_back(self, leases: Sequence[Lease]) -> None:
        """Put tasks that were not run back, before all others of their sessions."""
        for lease in reversed(leases):
            lease.live = False
            del self.workers[lease.uid].held[lease.token]
            if not any(other.live for other in lease.task.leases.values()):
                self.ready(lease.task, front=True)

    def lapse(self, lease: Lease, orders: list[Order]) -> None:
        """Put a task back whose worker was lost while it ran, unless it was lost too often."""
        task = lease.task
        task.lapses += 1
        alone = not any(other.live for other in task.leases.values() if other is not lease)
        if alone and task.lapses >= MAX_LAPSES:
            error = f"its worker died or fell silent {task.lapses} times while running it"
            self.answer(task, Answer(ok=False, cause=LOST, error=error), orders)
        else:
            self.put_back([lease])

    def bury(self, worker: Worker, orders: list[Order]) -> None:
        """Forget a worker that does not come back, and put its tasks back."""
        held = list(worker.held.values())
        if held:
            # a worker runs its leases in their order: the first one ran when it died
            self.put_back(held[1:])
            self.lapse(held[0], orders)
        self._idle.pop(worker.uid, None)
        del self.workers[worker.uid]

    def revive(self, lease: Lease, worker: Worker) -> None:
        """A lease lapsed while its worker was away, and the worker still holds it."""
        lease.live = True
        worker.held[lease.token] = lease
        if lease.task.state is not State.LEASED:
            self._leave_lines(lease.task)
            lease.task.state = State.LEASED
