"""A pipe over a carrier that loses, repeats, delays and reorders, between ends that crash."""

import itertools
import random

import pytest

from maniple.network.rules.receiver import Ack, Deliver, End, Hello, Receiver
from maniple.network.rules.sender import Data, Open, Sender

TICK = 0.05


class Carrier:
    """Messages on their way: each arrives late, twice, out of order, or never."""

    def __init__(self, chance, loss):
        self.chance = chance
        self.loss = loss
        self.flying = []
        self.order = itertools.count()

    def send(self, now, to, message):
        copies = 0 if self.chance.random() < self.loss else 1
        copies += self.chance.random() < self.loss / 2
        for _ in range(copies):
            self.flying.append((now + self.chance.expovariate(20), next(self.order), to, message))

    def due(self, now):
        due = sorted(item for item in self.flying if item[0] <= now)
        self.flying = [item for item in self.flying if item[0] > now]
        return due


class Chain:
    """Source, middle job and sink: a middle job that crashes forgets all; the ends remember."""

    def __init__(self, seed, blocks=60, loss=None):
        self.chance = random.Random(seed)
        self.blocks = blocks
        self.loss = self.chance.choice([0.0, 0.05, 0.3]) if loss is None else loss
        self.carrier = Carrier(self.chance, self.loss)
        self.epochs = lambda: self.chance.getrandbits(48)
        self.now = 0.0
        self.put = 0
        self.seen = []
        self.ended = False
        self.source = Sender(8, 1 << 20)
        self.sink = Receiver(self.epochs, every=3, wanted=0)
        self.start_middle()
        self.emit(0, self.source.start(self.now))
        self.emit(1, self.sink.start())

    def start_middle(self):
        """A new process: it knows nothing but the protocol."""
        self.reader = Receiver(self.epochs, every=2)
        self.writer = None
        self.emit(0, self.reader.start())

    def emit(self, pipe, instructions):
        for each in instructions:
            to_reader = isinstance(each, Open | Data)
            self.carrier.send(self.now, (pipe, to_reader), each)

    def step(self):
        self.now += TICK
        source = self.source
        while source.room > 1 and self.put < self.blocks:
            number = min(self.chance.randint(1, 3), self.blocks - self.put, source.room)
            values = list(range(self.put, self.put + number))
            self.put += number
            self.emit(0, source.add(number, values, 8 * number))
        if self.put == self.blocks and not source.ended:
            self.emit(0, source.end())
        for _, _, (pipe, to_reader), message in self.carrier.due(self.now):
            if to_reader:
                self.read(pipe, message)
            else:
                self.wrote(pipe, message)
        self.emit(0, source.tick(self.now))
        if self.writer is not None:
            self.emit(1, self.writer.tick(self.now))
            # an input is done with when what came of it is
            self.emit(0, self.reader.finished(self.writer.acked, now=self.chance.random() < 0.3))

    def wrote(self, pipe, message):
        sender = self.source if pipe == 0 else self.writer
        if sender is None:
            return
        if isinstance(message, Hello):
            self.emit(pipe, sender.hello(message.epoch, message.wanted, self.now))
        else:
            assert isinstance(message, Ack)
            self.emit(pipe, sender.ack(message.upto, self.now))

    def read(self, pipe, message):
        receiver = self.reader if pipe == 0 else self.sink
        if isinstance(message, Open):
            instructions = receiver.open()
        else:
            epoch, start, (first, count, payload, _) = message
            instructions = receiver.data(epoch, start, first, count, payload)
        for each in instructions:
            if isinstance(each, Deliver | End):
                (self.work if pipe == 0 else self.write_down)(each)
            else:
                self.emit(pipe, [each])

    def work(self, what):
        number = what.first + what.skip if isinstance(what, Deliver) else what.number
        if self.writer is None:
            self.writer = Sender(8, 1 << 20, first=number)
            self.emit(1, self.writer.start(self.now))
        self.writer.skip(number)
        if isinstance(what, End):
            self.emit(1, self.writer.end())
            return
        for value in what.payload[what.skip :]:
            self.emit(1, self.writer.add(1, [value * 10], 8))

    def write_down(self, what):
        if isinstance(what, End):
            self.ended = True
            self.emit(1, self.sink.finished(what.number + 1, now=True))
            return
        self.seen += what.payload[what.skip :]
        self.emit(1, self.sink.finished(what.first + what.blocks))

    @property
    def over(self):
        return self.source.finished


def run(seed, crashes):
    chain = Chain(seed)
    for _ in range(6000):
        if crashes and chain.chance.random() < 0.01:
            crashes -= 1
            chain.start_middle()
        chain.step()
        if chain.over:
            break
    else:
        pytest.fail(f"seed {seed}: not over, {len(chain.seen)} seen")
    assert chain.seen == [value * 10 for value in range(chain.blocks)], f"seed {seed}"
    assert chain.ended


@pytest.mark.parametrize("part", range(10))
def test_every_block_arrives_once_and_in_order_whatever_the_carrier_does(part):
    for seed in range(part * 500, part * 500 + 500):
        run(seed, crashes=0)


@pytest.mark.parametrize("part", range(10))
def test_a_middle_job_that_crashes_loses_nothing_and_repeats_nothing(part):
    for seed in range(part * 500, part * 500 + 500):
        run(seed, crashes=3)
