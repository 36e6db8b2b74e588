"""A hub's dispatch between drivers and workers that crash, over connections that break.

The rules are the real ones; connections, peers, chance and time are played. A connection carries
messages in order until it breaks; what is on its way then is lost, and the hub may hear of it late,
even after the peer is back.
"""

import heapq
import itertools
import random
from collections import Counter

import pytest

from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster import messages as m
from maniple.hub.rules.dispatch import Dispatch
from maniple.hub.rules.orders import Close, Forget, Keep, Send, Settle, Start, Tell
from maniple.hub.rules.records import State
from maniple.queue import MAX_LAPSES

SCHEDULES = 4000
PARTS = 20
CALM = 30.0
END = 4000.0
GRACE = 2.0
KEEP = 8.0


class Link:
    """One connection, both ways."""

    def __init__(self, world, number, peer):
        self.world = world
        self.number = number
        self.peer = peer
        self.open = True
        self.heard = True
        self.last = {"up": 0.0, "down": 0.0}

    def carry(self, way, message):
        at = max(self.last[way], self.world.now + self.world.chance.expovariate(20))
        self.last[way] = at
        self.world.at(at, lambda: self.arrive(way, message))

    def arrive(self, way, message):
        if self.open:
            if way == "down":
                self.peer.received(message)
            elif self.heard:
                self.world.hub.received(self, message)

    def hang_up(self, *, goodbye=False):
        """The peer is gone; the hub hears of it now or later."""
        if not self.open:
            return
        self.open = False
        delay = 0.0 if goodbye else self.world.chance.choice([0.0, 0.1, 1.0, 3.0])
        self.world.later(delay, lambda: self.world.hub.left(self, goodbye=goodbye))


class Hub:
    """What the shell does, with a dictionary in the place of the store."""

    def __init__(self, world):
        self.world = world
        self.dispatch = Dispatch("e", grace=GRACE, keep=KEEP)
        self.store = {}
        self.blobs = set()
        self.links = {}
        self.given_up = set()
        self.settled = Counter()
        self.wanted = Counter()
        self.arrived = Counter()

    def received(self, link, message):
        dispatch, number = self.dispatch, link.number
        if isinstance(message, m.DriverHello):
            orders = dispatch.driver_joined(
                number, link.peer.user, message.session, message.tasks, keep=KEEP
            )
        elif isinstance(message, m.Submit):
            missing = [d for d in message.call.code.digests if d not in self.blobs]
            orders = dispatch.submitted(number, message.task, message.call, missing)
        elif isinstance(message, m.Cancel):
            orders = dispatch.cancelled(number, message.task)
            self.given_up |= {order.key for order in orders if isinstance(order, Forget)}
        elif isinstance(message, m.Got):
            orders = dispatch.got(number, message.tasks)
        elif isinstance(message, m.Blob):
            if message.data is None:
                orders = dispatch.part_refused(number, message.digest)
            else:
                self.arrived[message.digest] += 1
                self.blobs.add(message.digest)
                orders = dispatch.part_arrived(message.digest)
        elif isinstance(message, m.WorkerHello):
            orders = dispatch.worker_joined(number, "u", message.uid, message.name, message.holds)
        elif isinstance(message, m.Ask):
            orders = dispatch.asked(number, message.count)
        elif isinstance(message, m.Done):
            orders = dispatch.done(number, message.token, message.answer)
        elif isinstance(message, m.GiveBack):
            orders = dispatch.gave_back(number, message.tokens)
        else:
            assert isinstance(message, m.Want)
            orders = []
            for digest in message.digests:
                here = digest in self.blobs
                if not here:
                    orders += dispatch.part_lost(number, digest)
                link.carry("down", m.Blob(digest, b"" if here else None))
        self.carry_out(orders)

    def left(self, link, *, goodbye):
        if link.number not in self.links:
            return
        del self.links[link.number]
        link.heard = False
        left = (
            self.dispatch.driver_left
            if isinstance(link.peer, Driver)
            else self.dispatch.worker_left
        )
        self.carry_out(left(link.number, self.world.now, goodbye=goodbye))

    def carry_out(self, orders):
        for order in orders:
            if isinstance(order, Keep):
                assert order.key not in self.store
                self.store[order.key] = order.call
                self.given_up.discard(order.key)
                self.settled[order.key] = 0
            elif isinstance(order, Settle):
                assert isinstance(self.store[order.key], Call), "settled twice"
                self.store[order.key] = order.answer
                self.settled[order.key] += 1
                assert self.settled[order.key] == 1
            elif isinstance(order, Forget):
                del self.store[order.key]
            elif isinstance(order, Start):
                message = m.Run(order.token, order.key.task, order.attempt, self.store[order.key])
                self.links[order.link].carry("down", message)
            elif isinstance(order, Tell):
                assert order.key not in self.given_up, "told of a cancelled task"
                message = m.Result(order.key.task, self.store[order.key])
                self.links[order.link].carry("down", message)
            elif isinstance(order, Send):
                if isinstance(order.message, m.Want):
                    self.wanted.update(order.message.digests)
                self.links[order.link].carry("down", order.message)
            else:
                assert isinstance(order, Close)
                link = self.links.pop(order.link)
                link.heard = link.open = False
        check_books(self.dispatch, self.store)


class Driver:
    """Keeps to the protocol; crashes, loses its connection, gives tasks up."""

    def __init__(self, world, name, tasks, *, deaf=False):
        self.world = world
        self.name = name
        self.user = name.partition("/")[0]
        self.deaf = deaf
        self.todo = list(tasks)
        self.life = 0
        self.link = None
        self.pending = {}
        self.answers = {}
        self.cancelled = set()
        self.lost_lives = 0
        self.connect()
        self.world.soon(self.act)

    def connect(self):
        self.link = self.world.dial(self)
        self.up = False
        self.send(m.DriverHello(f"{self.name}.{self.life}", list(self.pending)))

    def send(self, message):
        if self.link is not None:
            self.link.carry("up", message)

    def act(self):
        world, chance = self.world, self.world.chance
        if self.up:
            for _ in range(chance.randrange(4)):
                if self.todo:
                    task, call = self.todo.pop()
                    self.pending[task] = call
                    self.send(m.Submit(task, call))
            if self.pending and world.stormy and chance.random() < 0.05:
                task = chance.choice(list(self.pending))
                del self.pending[task]
                self.cancelled.add(task)
                self.send(m.Cancel(task))
        if world.stormy and self.link is not None and chance.random() < 0.05:
            self.link.hang_up()
            self.link = None
            world.later(chance.choice([0.0, 0.5, 2.0, 12.0]), self.connect)
            if chance.random() < 0.3:
                # the process is another one: what it knew is begun anew
                self.life += 1
                self.todo += list(self.pending.items())
                self.pending.clear()
        world.soon(self.act if self.todo or self.pending else self.leave)

    def leave(self):
        if self.link is None:
            # not back yet from the last loss
            self.world.soon(self.leave)
            return
        self.link.hang_up(goodbye=self.world.chance.random() < 0.5)

    def received(self, message):
        if isinstance(message, m.Welcome):
            self.up = True
            for task in message.unknown:
                if task in self.pending:
                    self.send(m.Submit(task, self.pending[task]))
        elif isinstance(message, m.Want):
            for digest in message.digests:
                self.send(m.Blob(digest, None if self.deaf else b""))
        elif isinstance(message, m.Result):
            if message.task in self.pending:
                del self.pending[message.task]
                assert message.task not in self.answers
                self.answers[message.task] = message.answer
            self.send(m.Got([message.task]))
        else:
            assert isinstance(message, m.Running)
            assert message.attempt <= MAX_LAPSES


class Worker:
    """Runs its leases in their order; keeps answers until they are settled; dies of poison."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.life = 0
        self.reborn()
        self.world.soon(self.act)

    def reborn(self):
        self.life += 1
        self.uid = f"{self.name}.{self.life}"
        self.leases = {}
        self.answers = {}
        self.parts = set()
        self.link = None
        self.connect()

    def connect(self):
        self.link = self.world.dial(self)
        self.up = False
        self.send(m.WorkerHello(self.uid, self.name, [*self.answers, *self.leases]))

    def send(self, message):
        if self.link is not None:
            self.link.carry("up", message)

    def received(self, message):
        if isinstance(message, m.Welcome):
            self.up = True
            for token, answer in self.answers.items():
                self.send(m.Done(token, answer))
            self.want()
        elif isinstance(message, m.Run):
            self.leases[message.token] = message
            self.want()
        elif isinstance(message, m.Blob):
            if message.data is not None:
                self.parts.add(message.digest)
            else:
                back = [t for t, run in self.leases.items() if message.digest in self.lacking(run)]
                for token in back:
                    del self.leases[token]
                self.send(m.GiveBack(back))
        elif isinstance(message, m.Abort):
            self.leases.pop(message.token, None)
            self.answers.pop(message.token, None)
        else:
            assert isinstance(message, m.Settled)
            for token in message.tokens:
                self.answers.pop(token, None)

    def lacking(self, run):
        return [digest for digest in run.call.code.digests if digest not in self.parts]

    def want(self):
        wanted = {digest for run in self.leases.values() for digest in self.lacking(run)}
        if wanted:
            self.send(m.Want(sorted(wanted)))

    def die(self):
        if self.link is not None:
            self.link.hang_up(goodbye=self.world.chance.random() < 0.2)
        self.link = None
        self.leases = {}
        self.answers = {}
        self.world.later(self.world.chance.random(), self.reborn)

    def act(self):
        world, chance = self.world, self.world.chance
        world.soon(self.act)
        if self.link is None:
            return
        token, run = next(iter(self.leases.items()), (None, None))
        if run is not None and not self.lacking(run):
            if run.call.code.name == "poison":
                self.die()
                return
            if chance.random() < 0.7:
                del self.leases[token]
                stopped = world.stormy and chance.random() < 0.05
                answer = Answer(ok=False, cause="cancelled") if stopped else Answer(ok=True)
                answer.value = run.task.encode()
                world.runs[run.task] += 1
                self.answers[token] = answer
                self.send(m.Done(token, answer))
        if self.up:
            self.send(m.Ask(max(0, 2 - len(self.leases))))
        if world.stormy:
            dice = chance.random()
            if dice < 0.03:
                self.die()
            elif dice < 0.08:
                self.link.hang_up()
                self.link = None
                world.later(
                    chance.choice([0.0, 0.3, 1.0, 5.0]), lambda: self.link or self.connect()
                )
            elif dice < 0.1 and self.leases:
                back = list(self.leases)
                self.leases.clear()
                self.send(m.GiveBack(back))


class World:
    """Time and chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.now = 0.0
        self.order = itertools.count()
        self.numbers = itertools.count(1)
        self.heap = []
        self.runs = Counter()
        self.stormy = True
        self.hub = Hub(self)

    def at(self, when, what):
        heapq.heappush(self.heap, (when, next(self.order), what))

    def later(self, delay, what):
        self.at(self.now + delay, what)

    def soon(self, what):
        self.later(self.chance.expovariate(2), what)

    def dial(self, peer):
        link = Link(self, next(self.numbers), peer)
        self.hub.links[link.number] = link
        return link

    def tick(self):
        self.hub.carry_out(self.hub.dispatch.tick(self.now))
        if self.stormy and self.chance.random() < 0.02:
            self.hub.blobs.clear()
        self.later(0.5, self.tick)

    def run(self, over):
        self.later(0.5, self.tick)
        while not over():
            self.now, _, what = heapq.heappop(self.heap)
            self.stormy = self.now < CALM
            assert self.now < END, "still not over"
            what()


def check_books(dispatch, store):
    """Hold all books of a dispatch against each other, and against the store."""
    pool = dispatch._pool
    keys = set()
    where = Counter()
    for session in dispatch._sessions.values():
        assert (session.link is None) == (session in dispatch._away)
        for name, task in session.tasks.items():
            assert task.name == name
            keys.add(task.key)
            live = [lease for lease in task.leases.values() if lease.live]
            assert bool(live) == (task.state is State.LEASED)
            assert isinstance(store[task.key], Answer) == (task.state is State.ANSWERED)
            assert not (task.state is State.ANSWERED and task.leases)
            for token, lease in task.leases.items():
                assert pool.leases[token] is lease
                assert not lease.live or pool.workers[lease.uid].held[token] is lease
            where[task.state] += 1
    assert keys == set(store)
    assert where[State.READY] == len(pool.turns)
    assert where[State.WANTING] == pool.parts.tasks
    assert sum(len(t.leases) for s in dispatch._sessions.values() for t in s.tasks.values()) == len(
        pool.leases
    )
    for worker in pool.workers.values():
        assert (worker.link is None) == (worker in dispatch._silent)
        assert (worker.uid in pool._idle) == (worker.wants > 0)
    assert not (pool.turns and pool._idle)


def tasks_of(world, name, count, codes):
    return [(f"{name}-{n}", Call(world.chance.choice(codes))) for n in range(count)]


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_and_nothing_answered_twice_whatever_breaks(part):
    for seed in range(part, SCHEDULES, PARTS):
        world = World(seed)
        chance = world.chance
        codes = [Code("w1", "l1"), Code("w2", None, "d2"), Code("w1", "l2"), Code("w3")]
        drivers = [
            Driver(
                world, f"u{n % 2}/s{n}", tasks_of(world, f"t{n}", chance.randrange(1, 12), codes)
            )
            for n in range(chance.randrange(1, 4))
        ]
        total = [{task for task, _ in driver.todo} for driver in drivers]
        for n in range(chance.randrange(1, 4)):
            Worker(world, f"w{n}")
        world.run(lambda: not any(d.todo or d.pending for d in drivers))  # noqa: B023
        for driver, tasks in zip(drivers, total, strict=True):
            assert set(driver.answers) == tasks - driver.cancelled
            for task, answer in driver.answers.items():
                assert (answer.ok and answer.value == task.encode()) or answer.cause == "lost"
        # all peers leave or fall silent: nothing is remembered
        until = world.now + KEEP + GRACE + 20
        world.run(lambda: world.now > until)  # noqa: B023
        assert not world.hub.store
        assert not world.hub.dispatch._sessions
        assert not world.hub.dispatch._pool.leases
        assert not len(world.hub.dispatch._pool.parts)


def test_a_task_that_kills_its_workers_is_answered_as_lost_and_harms_no_other():
    for seed in range(50):
        world = World(seed)
        world.now = CALM
        driver = Driver(world, "u/s", tasks_of(world, "t", 6, [Code("w")]))
        driver.todo.insert(seed % 7, ("bad", Call(Code("w", name="poison"))))
        for n in range(2):
            Worker(world, f"w{n}")
        world.run(lambda: not driver.todo and not driver.pending)  # noqa: B023
        answer = driver.answers.pop("bad")
        assert answer.cause == "lost"
        assert f"{MAX_LAPSES} times" in answer.error
        assert len(driver.answers) == 6
        assert all(answer.ok for answer in driver.answers.values())


def test_a_part_travels_once_however_many_tasks_and_workers_want_it():
    world = World(1)
    world.now = CALM
    driver = Driver(world, "u/s", tasks_of(world, "t", 1000, [Code("w", "l", "d")]))
    for n in range(3):
        Worker(world, f"w{n}")
    world.run(lambda: not driver.todo and not driver.pending)
    assert world.hub.wanted == {"w": 1, "l": 1, "d": 1}
    assert world.hub.arrived == {"w": 1, "l": 1, "d": 1}


def test_a_part_that_nobody_has_fails_its_tasks_with_a_sentence():
    world = World(1)
    world.now = CALM
    driver = Driver(world, "u/s", tasks_of(world, "t", 5, [Code("w" * 64, name="a@1")]), deaf=True)
    Worker(world, "w")
    world.run(lambda: not driver.todo and not driver.pending)
    assert {answer.cause for answer in driver.answers.values()} == {"missing part"}
    assert "a@1 is neither here nor with its driver: wwww" in driver.answers["t-0"].error
