"""What a driver's book decides, under thousands of faults: lost connections, lost and late messages,
hubs that forget everything."""

import random

import pytest

from maniple.algorithm.call import Answer, Call, Code
from maniple.cluster.messages import (
    Blob,
    Cancel,
    DriverHello,
    Got,
    Refused,
    Result,
    Running,
    Submit,
    Want,
    Welcome,
)
from maniple.driver.book import Book, GiveUp, Offer, Send, Settle, Started

SCHEDULES = 400
PARTS = 4
STEPS = 1500


def call_of(number):
    return Call(Code("0" * 64), params=b"[%d]" % number)


class Hub:
    """A hub as the messages' contract has it: one answer a task, repeated until it has arrived."""

    def __init__(self):
        self.waiting = {}
        self.answers = {}
        self.parts = set()
        self.greeted = False

    def hear(self, message):
        if isinstance(message, DriverHello):
            self.greeted = True
            for gone in (self.waiting.keys() | self.answers.keys()) - set(message.tasks):
                self.waiting.pop(gone, None)
                self.answers.pop(gone, None)
            known = self.waiting.keys() | self.answers.keys()
            yield Welcome("user", [task for task in message.tasks if task not in known])
            yield from (Result(task, answer) for task, answer in self.answers.items())
            return
        assert self.greeted, f"{message} before the greeting"
        if isinstance(message, Submit):
            if message.task in self.answers:
                yield Result(message.task, self.answers[message.task])
            elif message.task not in self.waiting:
                self.waiting[message.task] = message.call
                if message.call.code.wasm not in self.parts:
                    yield Want([message.call.code.wasm])
        elif isinstance(message, Cancel):
            self.waiting.pop(message.task, None)
            self.answers.pop(message.task, None)
        elif isinstance(message, Got):
            for task in message.tasks:
                self.answers.pop(task, None)
        elif isinstance(message, Blob):
            self.parts.add(message.digest)

    def compute(self, chance):
        task = chance.choice(list(self.waiting))
        call = self.waiting.pop(task)
        self.answers[task] = Answer(ok=True, value=call.params)
        yield Running(task)
        yield Result(task, self.answers[task])
        if chance.random() < 0.1:
            yield Result(task, self.answers[task])


class World:
    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.book = Book("session")
        self.hub = Hub()
        self.connected = False
        self.up, self.down = [], []
        self.numbers = {}
        self.settled = {}
        self.cancelled = set()
        self.faults = True

    def carry_out(self, instructions):
        for instruction in instructions:
            if isinstance(instruction, Send):
                assert self.connected
                self.up.append(instruction.message)
            elif isinstance(instruction, Settle):
                assert instruction.task not in self.settled, "answered twice"
                assert instruction.task not in self.cancelled, "answered after it was cancelled"
                self.settled[instruction.task] = instruction.answer.value
            elif isinstance(instruction, Offer):
                self.up += [Blob(digest, b"") for digest in instruction.digests]
            else:
                assert isinstance(instruction, Started)
                assert instruction.task in self.numbers

    def cut(self):
        # what is on its way arrives up to some point, and nothing of it after
        for message in self.up[: self.chance.randint(0, len(self.up))]:
            list(self.hub.hear(message))
        for message in self.down[: self.chance.randint(0, len(self.down))]:
            self.carry_out(self.book.received(message))
        self.up, self.down = [], []
        self.hub.greeted = False
        self.connected = False
        self.book.lost()

    def step(self):
        chance, book = self.chance, self.book
        kind = chance.random()
        if self.faults and kind < 0.02 and self.connected:
            self.cut()
        elif self.faults and kind < 0.025:
            if self.connected:
                self.cut()
            self.hub = Hub()
        elif self.faults and kind < 0.07 and len(self.numbers) < 60:
            task = f"t{len(self.numbers)}"
            self.numbers[task] = len(self.numbers)
            self.carry_out(book.submit(task, call_of(self.numbers[task])))
        elif self.faults and kind < 0.09 and (fickle := self.fickle()):
            task = chance.choice(fickle)
            self.cancelled.add(task)
            self.carry_out(book.cancel(task))
        elif not self.connected:
            self.connected = True
            self.carry_out(book.connected())
        elif kind < 0.5 and self.up:
            self.down += self.hub.hear(self.up.pop(0))
        elif kind < 0.7 and self.down:
            self.carry_out(book.received(self.down.pop(0)))
        elif kind < 0.75:
            self.carry_out(book.flush())
        elif self.hub.waiting and self.hub.greeted:
            self.down += self.hub.compute(chance)
        self.check()

    def fickle(self):
        # only some may be cancelled, so that a task that is stuck stays so
        return [task for task in self.book.unanswered if self.numbers[task] % 4 == 0]

    def check(self):
        """When nothing is on its way, hub and driver know the same."""
        if self.connected and self.book.up and not (self.up or self.down):
            open_here = set(self.book.unanswered)
            assert set(self.hub.waiting) <= open_here, "the hub runs what nobody waits for"
            assert open_here <= self.hub.waiting.keys() | self.hub.answers.keys(), "a task is lost"

    @property
    def quiet(self):
        return not (
            self.up or self.down or self.book.unanswered or self.book.arrived or not self.connected
        )


def play(seed):
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    world.faults = False
    for _ in range(STEPS * 4):
        world.step()
        if world.quiet and not world.hub.waiting:
            break
    else:
        pytest.fail(f"{seed}: still open: {world.book.unanswered}, {world.hub.waiting}")
    wanted = {task for task in world.numbers if task not in world.cancelled}
    assert world.settled == {task: b"[%d]" % world.numbers[task] for task in wanted}, seed
    assert not world.hub.answers, f"{seed}: the hub keeps answers that have arrived"
    return world


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_lost_each_task_is_answered_once_and_nothing_is_left_at_the_hub(part):
    number = SCHEDULES // PARTS
    settled = cancelled = 0
    for seed in range(part * number, (part + 1) * number):
        world = play(seed)
        settled += len(world.settled)
        cancelled += len(world.cancelled)
    assert settled > 10 * number
    assert cancelled > number


def test_a_task_cancelled_before_the_hub_heard_of_it_is_never_sent():
    book = Book("session")
    book.submit("a", call_of(1))
    assert book.cancel("a") == []
    assert book.connected() == [Send(DriverHello("session", []))]
    assert book.received(Welcome("me")) == []


def test_a_task_cancelled_while_the_hub_is_greeted_is_cancelled_there():
    book = Book("session")
    book.connected()
    book.received(Welcome("me"))
    book.submit("a", call_of(1))
    book.lost()
    assert book.connected() == [Send(DriverHello("session", ["a"]))]
    assert book.cancel("a") == [Send(Cancel("a"))]
    assert book.received(Welcome("me", ["a"])) == []


def test_the_same_task_twice_is_a_mistake_of_the_caller():
    book = Book("session")
    book.submit("a", call_of(1))
    with pytest.raises(ValueError, match="in the book already"):
        book.submit("a", call_of(1))


def test_a_refusal_ends_it():
    book = Book("session")
    book.connected()
    assert book.received(Refused("no")) == [GiveUp("no")]
