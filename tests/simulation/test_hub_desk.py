"""The worker's bookkeeping against a hub on paper: connections fail at any point, nothing is lost.

The hub here follows the protocol of `cluster/messages.py`; what is on its way when a connection
fails is lost in both directions, whole messages from some point on.
"""

import random
from collections import deque

import pytest

from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import (
    Abort,
    Ask,
    Done,
    GiveBack,
    Run,
    Settled,
    Want,
    Welcome,
    WorkerHello,
)
from maniple.queues.hub_desk import Desk, Stop

TASKS = 40
PARTS = ("a" * 64, "b" * 64, "c" * 64)


class World:
    """One worker, one hub, and two directions of one connection."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.now = 0.0
        self.here = set()
        self.desk = Desk("uid", "name", self.here.__contains__)
        self.to_hub = deque()
        self.to_worker = deque()
        self.connected = False
        self.waiting = deque((f"t{n}", Call(Code(self.rng.choice(PARTS)))) for n in range(TASKS))
        self.leased = {}
        self.asked = 0
        self.serial = 0
        self.answers = {}
        self.aborted = set()
        self.running = []
        self.stopped = []
        # a hub that starts again mends what the worker should have mended
        self.forgetful = seed % 4 == 0
        self.last_fault = self.rng.randint(30, 600)

    def say(self, instructions):
        for each in instructions:
            if isinstance(each, Stop):
                self.stopped.append(each.task)
            elif self.connected:
                self.to_hub.append(each)

    # The connection

    def connect(self):
        self.connected = True
        self.asked = 0
        self.say([self.desk.hello()])

    def lose(self):
        self.connected = False
        # the hub may have heard some of what was on its way
        for _ in range(self.rng.randint(0, len(self.to_hub))):
            self.at_hub(self.to_hub.popleft())
        self.to_hub.clear()
        self.to_worker.clear()
        self.desk.lost()

    # The hub

    def at_hub(self, message):
        if isinstance(message, WorkerHello):
            unknown = [token for token in message.holds if token not in self.leased]
            for token in list(self.leased):
                if token not in message.holds:
                    self.waiting.append(self.leased.pop(token))
            self.to_worker.append(Welcome("user", unknown))
        elif isinstance(message, Ask):
            self.asked = message.count
        elif isinstance(message, Want):
            self.to_worker.extend(("blob", digest) for digest in message.digests)
        elif isinstance(message, GiveBack):
            for token in message.tokens:
                if token in self.leased:
                    self.waiting.append(self.leased.pop(token))
        elif isinstance(message, Done):
            if message.token in self.leased:
                task, _ = self.leased.pop(message.token)
                assert task not in self.answers, "answered twice"
                assert message.answer.value == task.encode()
                self.answers[task] = message.answer
            self.to_worker.append(Settled([message.token]))
        while self.asked and self.waiting and self.connected:
            self.asked -= 1
            task, call = self.waiting.popleft()
            self.serial += 1
            self.leased[f"k{self.serial}"] = (task, call)
            self.to_worker.append(Run(f"k{self.serial}", task, 1, call))

    def take_back(self):
        """The driver has cancelled a task."""
        token = self.rng.choice(list(self.leased))
        task, _ = self.leased.pop(token)
        self.aborted.add(task)
        self.to_worker.append(Abort(token))

    def forget(self):
        """The hub starts again, and its drivers submit anew what has no answer."""
        self.waiting.extend(self.leased.values())
        self.leased.clear()

    # The worker

    def at_worker(self, message):
        if isinstance(message, Welcome):
            self.say(self.desk.welcomed(message))
        elif isinstance(message, tuple):
            self.here.add(message[1])
            self.desk.arrived(message[1])
        else:
            self.say(self.desk.heard(message))

    def lease(self):
        leases, said = self.desk.lease(self.rng.randint(1, 6))
        self.running += leases
        self.say(said)
        self.desk.left(self.now)

    def finish(self):
        lease = self.running.pop(self.rng.randrange(len(self.running)))
        chance = self.rng.random()
        if chance < 0.15:
            self.say(self.desk.give_back([lease]))
            return
        self.desk.answered(lease.task, Answer(ok=True, value=lease.task.id.encode()))
        lost, said = self.desk.end([lease], self.unanswered)
        self.say(said)
        assert bool(lost) == (lease.token not in self.desk._held)

    def unanswered(self, lease):
        raise AssertionError("an answer was lost")

    def step(self, faults):
        rng = self.rng
        self.now += rng.random() * 0.03
        moves = [self.lease, lambda: self.say(self.desk.tick(self.now))]
        if not self.connected:
            moves += [self.connect] * 3
        if self.to_hub:
            moves += [lambda: self.at_hub(self.to_hub.popleft())] * 3
        if self.to_worker:
            moves += [lambda: self.at_worker(self.to_worker.popleft())] * 3
        if self.running:
            moves += [self.finish] * 2
        if faults and self.connected and rng.random() < 0.2:
            moves += [self.lose]
            if self.forgetful and rng.random() < 0.1:
                moves = [lambda: (self.lose(), self.forget())]
            if self.leased and rng.random() < 0.2:
                moves += [self.take_back]
        rng.choice(moves)()

    @property
    def over(self):
        return len(self.answers) + len(self.aborted - self.answers.keys()) == TASKS


@pytest.mark.parametrize("block", range(8))
def test_every_task_is_answered_once_or_taken_back_whatever_fails(block):
    for seed in range(block * 50, block * 50 + 50):
        world = World(seed)
        for number in range(20_000):
            world.step(faults=number < world.last_fault)
            if world.over:
                break
        assert world.over, f"seed {seed}: {len(world.answers)} answered, {world.waiting}"
        # what is left on the way drains, and then nobody holds anything
        for _ in range(2000):
            if not world.connected:
                world.connect()
            if world.running:
                world.finish()
            if world.to_hub:
                world.at_hub(world.to_hub.popleft())
            if world.to_worker:
                world.at_worker(world.to_worker.popleft())
        assert not world.leased, f"seed {seed}"
        assert not world.desk._held, f"seed {seed}"
        assert not world.desk._tokens, f"seed {seed}"
