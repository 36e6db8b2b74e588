"""Thousands of random histories of minions and a queue, with a clock of their own.

Minions lease, run, fail, retry, give back, renew, note, fall silent and are killed, in any order. After
every step nobody may hold what another holds, and nothing that was acknowledged may come back. In
the end every task is done or failed.
"""

import random
from collections import Counter

import pytest

from maniple.minion.book import Book, Policy
from maniple.queue import MAX_LAPSES, State
from maniple.queues.memory import MemoryQueue
from maniple.queues.sqlite import SqliteQueue
from maniple.runner import Outcome

TTL = 10.0
RETRIES = 2


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class SimulatedMinion:
    """A real book over a real queue; what a runner and a loop would do, chance does."""

    def __init__(self, world, queue):
        self.world = world
        self.queue = queue
        self.book = Book(
            Policy(ttl=TTL, retries=RETRIES, backoff=2.0, batch=8, ahead=5.0, linger=1.0),
            world.chance,
        )
        self.waiting = []

    def lease(self):
        want = self.book.want()
        if want:
            leases = self.queue.lease(want, TTL)
            assert len(leases) <= want
            self.world.leased(self, leases)
            self.waiting += self.book.leased(leases)

    def run(self):
        if not self.waiting:
            return
        chance, now = self.world.chance, self.world.clock.now
        task = self.waiting.pop(0)
        self.world.ran(self, task)
        took = chance.choice([0.1, 1.0, 4.0])
        ok = chance.random() < 0.75
        outcome = Outcome(ok=ok, start=now - took, end=now, cause=None if ok else "exit 1")
        if chance.random() < 0.05:
            outcome = Outcome(ok=False, start=now - took, end=now, interrupted=True)
        lease = self.book.ended(task, outcome, now)
        if outcome.ok and hasattr(self.queue, "jot") and chance.random() < 0.7:
            assert self.queue.jot([lease])
            self.world.noted(self, lease)

    def settle(self, now=None):
        now = self.world.clock.now if now is None else now
        if not self.book.due(now, busy=bool(self.waiting)):
            return
        decided = self.book.take()
        if self.world.chance.random() < 0.05:
            # the queue could not be reached
            self.book.undo(decided)
            return
        if decided.ack:
            lost = self.queue.ack(decided.ack)
            self.world.acked(self, [lease for lease in decided.ack if lease not in lost])
        for retry in decided.retry:
            self.queue.nack([retry.lease], retry.delay)
        if decided.fail:
            self.queue.fail(decided.fail)
        if decided.give_back:
            self.queue.nack(decided.give_back, attempted=False)
        for lease in (
            *(retry.lease for retry in decided.retry),
            *(lease for lease, _ in decided.fail),
            *decided.give_back,
        ):
            self.world.released(self, lease)

    def renew(self):
        leases = self.book.leases()
        if leases:
            lost = self.queue.extend(leases, TTL)
            self.world.renewed(self, [lease for lease in leases if lease not in lost])

    def withdraw(self):
        kept = self.world.chance.randint(0, len(self.waiting))
        self.book.withdrawn(self.waiting[kept:])
        del self.waiting[kept:]


class World:
    """Knows what a queue promises, and checks it at every step."""

    def __init__(self, seed, open_queue):
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.open_queue = open_queue
        self.count = self.chance.randint(1, 30)
        self.queue = open_queue(self.clock)
        self.held = {}
        self.done = set()
        self.noted_by = {}
        self.runs = Counter()
        self.tokens = {}
        self.minions = [self.minion() for _ in range(self.chance.randint(1, 4))]

    def minion(self):
        return SimulatedMinion(self, self.open_queue(self.clock))

    def leased(self, minion, leases):
        for lease in leases:
            task = lease.task.id
            assert task not in self.done, "what is acknowledged never comes back"
            holder, until = self.held.get(task, (None, 0.0))
            assert holder is None or until <= self.clock.now, "two live leases for one task"
            assert lease.task.attempt <= RETRIES + 1
            assert self.noted_by.get(task) is None, "what was noted in time never comes back"
            self.held[task] = (minion, self.clock.now + TTL)
            self.tokens[task] = lease.token

    def renewed(self, minion, leases):
        for lease in leases:
            task = lease.task.id
            holder, _ = self.held.get(task, (minion, 0.0))
            if task not in self.done:
                assert holder is minion, "a lease was renewed that is another's"
                self.held[task] = (minion, self.clock.now + TTL)

    def ran(self, minion, task):
        self.runs[task.id] += 1

    def noted(self, minion, lease):
        holder, until = self.held.get(lease.task.id, (None, 0.0))
        in_time = holder is minion and until > self.clock.now
        if in_time and self.tokens[lease.task.id] == lease.token:
            self.noted_by[lease.task.id] = minion

    def acked(self, minion, leases):
        for lease in leases:
            task = lease.task.id
            assert task not in self.done, "acknowledged twice"
            holder, until = self.held.get(task, (minion, 0.0))
            assert holder is minion or until <= self.clock.now, "acknowledged by another"
            self.done.add(task)
            self.held.pop(task, None)

    def released(self, minion, lease):
        if self.held.get(lease.task.id, (None, 0.0))[0] is minion:
            del self.held[lease.task.id]

    def step(self):
        chance = self.chance
        minion = chance.choice(self.minions)
        what = chance.random()
        if what < 0.25:
            minion.lease()
        elif what < 0.55:
            minion.run()
        elif what < 0.75:
            minion.settle()
        elif what < 0.83:
            minion.renew()
        elif what < 0.86:
            minion.withdraw()
        elif what < 0.93:
            self.clock.now += chance.choice([0.1, 1.0, 3.0])
        elif what < 0.95:
            self.clock.now += chance.choice([TTL, 5 * TTL])
        elif what < 0.97:
            # killed: it says nothing any more, and another starts
            self.minions[self.minions.index(minion)] = self.minion()
        else:
            self.queue.put(range(chance.randint(0, self.count)))
        self.check()

    def check(self):
        stats = self.queue.stats()
        assert stats.total <= self.count
        assert stats.done >= len(self.done)
        assert min(stats.waiting, stats.delayed, stats.leased, stats.done, stats.failed) >= 0

    def finish(self):
        """From now on nobody dies; everything must come to its end."""
        self.queue.put(range(self.count))
        for _ in range(100_000):
            for minion in self.minions:
                minion.renew()
                minion.lease()
                minion.run()
                minion.settle(self.clock.now + 99.0)
            self.clock.now += 0.5
            if self.queue.stats().drained:
                break
        stats = self.queue.stats()
        assert stats.done + stats.failed == self.count
        assert (stats.waiting, stats.delayed, stats.leased) == (0, 0, 0)
        for record in self.queue.records():
            failed = record.state is State.FAILED
            assert failed or record.state is State.DONE
            assert not (failed and record.task.id in self.done)
            assert (
                not failed or record.task.attempt == RETRIES + 1 or record.failure.cause == "lost"
            )
        most = (RETRIES + 1) * (MAX_LAPSES + 1)
        assert all(count <= most * 4 for count in self.runs.values())


def simulate(seed, open_queue):
    world = World(seed, open_queue)
    for _ in range(world.chance.randint(20, 200)):
        world.step()
    world.finish()
    return world


@pytest.mark.parametrize("block", range(10))
def test_no_history_breaks_a_promise_of_the_memory_queue(block):
    for seed in range(block * 150, block * 150 + 150):
        queues = []

        def shared(clock, queues=queues):
            if not queues:
                queues.append(MemoryQueue(clock=clock, wall=clock))
            return queues[0]

        try:
            simulate(seed, shared)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("block", range(4))
def test_no_history_breaks_a_promise_of_the_sqlite_queue(block, tmp_path):
    for seed in range(block * 12, block * 12 + 12):
        path = str(tmp_path / f"{seed}.db")
        queues = []

        def another(clock, path=path, queues=queues):
            queues.append(SqliteQueue(path, clock=clock, wall=clock))
            return queues[-1]

        try:
            simulate(seed, another)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            for queue in queues:
                queue.close()
