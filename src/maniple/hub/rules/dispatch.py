"""Who runs what, and who is told: a state machine without clock, I/O or randomness.

Each event is a method; it returns orders for the shell, to be carried out in their order. Links are
the shell's numbers for connections; an event of a link that was replaced changes nothing.

What holds, whatever happens to connections and processes:
- a task has one answer, which its driver is told again on each connection until it has said so;
- a task is run at least once unless it is cancelled; it may run twice, and then the first answer
  counts, whoever gave it;
- all that is kept of a task goes when its answer is acknowledged, it is cancelled, or its driver
  stays away for too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import Abort, Settled, Welcome
from maniple.hub.rules.orders import Close, Forget, Keep, Order, Send, Tell
from maniple.hub.rules.pool import MISSING, Pool
from maniple.hub.rules.records import Session, State, Task, Worker
from maniple.hub.rules.view import View, WorkerView

GRACE_SECONDS: Final = 10.0
KEEP_SECONDS: Final = 600.0
CANCELLED: Final = "cancelled"


class Dispatch:
    """Joins drivers and workers.

    Args:
        epoch: text that no other hub (or earlier one) has; lease tokens begin with it.
        grace: seconds that a worker whose connection broke keeps its leases.
        keep: seconds that a driver whose connection broke keeps its tasks and unread answers.
    """

    def __init__(
        self, epoch: str, *, grace: float = GRACE_SECONDS, keep: float = KEEP_SECONDS
    ) -> None:
        self._grace = grace
        self._keep = keep
        self._pool = Pool(epoch)
        self._sessions: dict[tuple[str, str], Session] = {}
        self._drivers: dict[int, Session] = {}
        self._away: dict[Session, None] = {}
        self._workers: dict[int, Worker] = {}
        self._silent: dict[Worker, None] = {}

    # ---- drivers

    def driver_joined(
        self,
        link: int,
        user: str,
        session: str,
        tasks: Sequence[str] | None,
        *,
        keep: float | None = None,
    ) -> list[Order]:
        """A driver said hello, for the first time or again.

        `tasks` are those it has no answer for; None where it does not tell. What the hub has beside
        them was given up, or its answer arrived and the acknowledgement did not.
        """
        orders: list[Order] = []
        owed: list[str] = []
        known = self._sessions.get((user, session))
        if known is None:
            known = Session(user, session, link, self._keep if keep is None else keep)
            self._sessions[user, session] = known
        elif known.link is not None:
            del self._drivers[known.link]
            orders.append(Close(known.link))
            owed = self._pool.parts.left(known)
        self._away.pop(known, None)
        known.link = link
        self._drivers[link] = known
        if tasks is None:
            tasks = list(known.tasks)
        awaited = set(tasks)
        for name in [name for name in known.tasks if name not in awaited]:
            self._pool.drop(known.tasks[name], orders)
        unknown = [name for name in tasks if name not in known.tasks]
        orders.append(Send(link, Welcome(user, unknown)))
        orders += [
            Tell(link, task.key)
            for task in map(known.tasks.get, dict.fromkeys(tasks))
            if task is not None and task.state is State.ANSWERED
        ]
        self._pool.ask([*owed, *self._pool.parts.unasked(known)], orders)
        return orders

    def driver_left(self, link: int, now: float, *, goodbye: bool) -> list[Order]:
        """A driver's connection ended; after a goodbye nobody waits for its answers."""
        session = self._drivers.pop(link, None)
        if session is None:
            return []
        orders: list[Order] = []
        session.link = None
        owed = self._pool.parts.left(session)
        if goodbye or not session.tasks:
            self._end(session, orders)
        else:
            session.lost_at = now
            self._away[session] = None
        self._pool.ask(owed, orders)
        return orders

    def submitted(self, link: int, name: str, call: Call, missing: Sequence[str]) -> list[Order]:
        """A driver sent a task; `missing` are the parts of its algorithm that are not here."""
        session = self._drivers.get(link)
        if session is None:
            return []
        task = session.tasks.get(name)
        if task is not None:
            return [Tell(link, task.key)] if task.state is State.ANSWERED else []
        task = session.tasks[name] = Task(session, name, call.code)
        orders: list[Order] = [Keep(task.key, call)]
        if missing:
            self._pool.park(task, list(dict.fromkeys(missing)), orders)
        else:
            self._pool.ready(task)
        return self._pool.match(orders)

    def cancelled(self, link: int, name: str) -> list[Order]:
        """A driver does not want an answer any more."""
        session = self._drivers.get(link)
        task = None if session is None else session.tasks.get(name)
        orders: list[Order] = []
        if task is not None:
            self._pool.drop(task, orders)
        return orders

    def got(self, link: int, names: Iterable[str]) -> list[Order]:
        """A driver has these answers."""
        session = self._drivers.get(link)
        if session is None:
            return []
        orders: list[Order] = []
        for name in names:
            task = session.tasks.get(name)
            if task is not None and task.state is State.ANSWERED:
                del session.tasks[name]
                orders.append(Forget(task.key))
        return orders

    def _end(self, session: Session, orders: list[Order]) -> None:
        for task in list(session.tasks.values()):
            self._pool.drop(task, orders)
        self._away.pop(session, None)
        del self._sessions[session.user, session.name]

    # ---- parts of algorithms

    def part_arrived(self, digest: str) -> list[Order]:
        """A part is in the hub's store now."""
        self._pool.gone.discard(digest)
        for task in self._pool.parts.arrived(digest):
            self._pool.ready(task)
        return self._pool.match([])

    def part_refused(self, link: int, digest: str) -> list[Order]:
        """A driver that was asked for a part has not got it, or sent something else."""
        session = self._drivers.get(link)
        if session is None:
            return []
        orders: list[Order] = []
        for task in self._pool.parts.refused(session, digest):
            error = (
                f"a part of the algorithm {task.code.name or 'without a name'} is neither here nor"
                f" with its driver: {digest[:12]}"
            )
            self._pool.answer(task, Answer(ok=False, cause=MISSING, error=error), orders)
        self._pool.ask([digest], orders)
        return orders

    def part_lost(self, link: int, digest: str) -> list[Order]:
        """A worker wants a part that was here and is not any more: its drivers bring it again."""
        worker = self._workers.get(link)
        held = [] if worker is None else list(worker.held.values())
        leases = [lease for lease in held if digest in lease.task.digests]
        if not leases:
            return []
        orders: list[Order] = [Send(link, Abort(lease.token)) for lease in leases]
        self._pool.gone.add(digest)
        self._pool.put_back(leases)
        for lease in leases:
            if lease.task.state is State.READY:
                self._pool.park_again(lease.task, orders)
        return self._pool.match(orders)

    # ---- workers

    def worker_joined(
        self, link: int, user: str, uid: str, name: str, holds: Sequence[str]
    ) -> list[Order]:
        """A worker said hello, for the first time or again; `holds` are tokens of its leases."""
        orders: list[Order] = []
        worker = self._pool.workers.get(uid)
        if worker is None:
            worker = self._pool.workers[uid] = Worker(uid, link)
        elif worker.link is not None:
            del self._workers[worker.link]
            orders.append(Close(worker.link))
        self._silent.pop(worker, None)
        worker.link, worker.name = link, name
        self._workers[link] = worker
        self._pool.wants(worker, 0)
        orders.append(Send(link, Welcome(user)))
        holding = set(holds)
        self._pool.put_back([held for token, held in worker.held.items() if token not in holding])
        for token in holds:
            lease = self._pool.leases.get(token)
            if lease is None or lease.uid != uid:
                orders.append(Send(link, Abort(token)))
            elif not lease.live:
                self._pool.revive(lease, worker)
        return self._pool.match(orders)

    def worker_left(self, link: int, now: float, *, goodbye: bool) -> list[Order]:
        """A worker's connection ended; after a goodbye it does not come back."""
        worker = self._workers.pop(link, None)
        if worker is None:
            return []
        orders: list[Order] = []
        worker.link = None
        self._pool.wants(worker, 0)
        if goodbye or not worker.held:
            self._pool.bury(worker, orders)
        else:
            worker.lost_at = now
            self._silent[worker] = None
        return self._pool.match(orders)

    def asked(self, link: int, count: int) -> list[Order]:
        """A worker can take so many tasks more."""
        worker = self._workers.get(link)
        if worker is None:
            return []
        self._pool.wants(worker, count)
        return self._pool.match([])

    def done(self, link: int, token: str, answer: Answer) -> list[Order]:
        """A worker has run the task of a lease."""
        worker = self._workers.get(link)
        if worker is None:
            return []
        orders: list[Order] = []
        lease = self._pool.leases.get(token)
        if lease is not None and lease.uid == worker.uid:
            if answer.ok or answer.cause != CANCELLED:
                self._pool.answer(lease.task, answer, orders, answerer=token)
            elif lease.live:
                # it was stopped, and not by us: the task is still to be run
                self._pool.lapse(lease, orders)
        orders.append(Send(link, Settled([token])))
        return self._pool.match(orders)

    def gave_back(self, link: int, tokens: Sequence[str]) -> list[Order]:
        """A worker will not run the tasks of these leases."""
        worker = self._workers.get(link)
        if worker is None:
            return []
        given = dict.fromkeys(tokens)
        self._pool.put_back([worker.held[token] for token in given if token in worker.held])
        return self._pool.match([])

    # ---- time

    def tick(self, now: float) -> list[Order]:
        """Time has passed; call it about once a second."""
        orders: list[Order] = []
        for worker in [w for w in self._silent if now - w.lost_at >= self._grace]:
            del self._silent[worker]
            self._pool.bury(worker, orders)
        for session in [s for s in self._away if now - s.lost_at >= s.keep]:
            self._end(session, orders)
        return self._pool.match(orders)

    # ---- what people see

    def view(self) -> View:
        """Show all; costs as much as there are workers and what they hold."""
        workers = self._pool.workers.values()
        return View(
            msgspec.structs.replace(
                self._pool.counts,
                wanting=self._pool.parts.tasks,
                waiting=len(self._pool.turns),
                leased=sum(len(worker.held) for worker in workers),
                drivers=len(self._drivers),
            ),
            [
                WorkerView(
                    worker.name or worker.uid,
                    worker.link is not None,
                    [_shown(lease.task.code) for lease in worker.held.values()],
                )
                for worker in workers
            ],
        )


def _shown(code: Code) -> str:
    return code.name or code.wasm[:8]
