"""A process that uses a shared folder may be killed, or stopped for long, at any step."""

import contextlib
import itertools
import random

import pytest

from maniple.errors import ManipleError
from maniple.queue import Failure, State
from maniple.queues.folder import FolderQueue
from queues.crashing import Crash, Disk

TASKS = 20
STEPS = 240
"""More changes than the life below makes; a test sees to that."""


class Hasty:
    """A clock that runs five seconds each time somebody looks."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 5.0
        return self.now


class Life:
    """What one process does with the queue, and what it was told was done."""

    def __init__(self, path, chunk):
        self.path = path
        self.chunk = chunk
        self.now = 0.0
        self.acknowledged = set()
        self.returned = set()

    def ack(self, queue, leases):
        lost = queue.ack(leases)
        self.acknowledged |= {lease.task.param for lease in leases if lease not in lost}

    def live(self):
        queue = FolderQueue(self.path, clock=lambda: self.now, chunk=self.chunk)
        queue.put(range(12))
        leases = queue.lease(9, 10.0)
        self.ack(queue, leases[:2])
        queue.put(range(TASKS))
        queue.nack(leases[2:3], delay=5.0)
        queue.fail([(lease, Failure("exit 1", "no")) for lease in leases[3:4]])
        queue.nack(leases[4:6], attempted=False)
        self.now += 4.0
        queue.extend(leases[6:8], 10.0)
        self.ack(queue, leases[6:7])
        self.now += 7.0
        leases += queue.lease(4, 10.0)
        queue.retry()
        self.ack(queue, leases[7:10])
        self.ack(queue, queue.lease(3, 10.0))
        queue.close()


def settle(path, taboo=()):
    """Another process puts the same again and does all there is to do; return what it did."""
    clock = Hasty()
    queue = FolderQueue(path, clock=clock, wall=lambda: 1e11)
    queue.put(range(TASKS))
    done = []
    for _ in range(200):
        leases = queue.lease(3, 400.0)
        assert queue.ack(leases) == []
        done += [lease.task.param for lease in leases]
        if not leases and queue.stats().drained:
            break
    queue.close()
    assert not set(done) & set(taboo), "what was acknowledged ran again"
    assert len(done) == len(set(done))
    return done


def check_whole(path):
    """Every task ended, and exists once."""
    queue = FolderQueue(path)
    stats = queue.stats()
    records = list(queue.records())
    assert stats.drained
    assert (stats.done, stats.failed) == (len(list(queue.records(State.DONE))), stats.failed)
    assert sorted(r.task.param for r in records) == list(range(TASKS))
    assert len({r.task.number for r in records}) == TASKS
    assert stats.total == TASKS
    assert queue.put(range(TASKS)) == 0


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "q")


@pytest.mark.parametrize("chunk", [1, 5])
def test_the_life_of_these_tests_has_fewer_steps_than_they_try(disk, path, chunk):
    disk.at(0, None)
    life = Life(path, chunk)
    life.live()
    assert 90 < disk.steps < STEPS
    disk.off()
    settle(path, life.acknowledged)
    check_whole(path)


def crash(disk, path, chunk, step):
    """Run a life that is killed at a step; False when it ended before."""
    life = Life(path, chunk)
    disk.crash_at(step)
    try:
        life.live()
    except Crash:
        return life
    finally:
        disk.off()
    return None


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("part", range(4))
def test_a_kill_at_any_step_loses_nothing(disk, tmp_path, chunk, part):
    for step in range(1 + part, STEPS, 4):
        path = str(tmp_path / str(step))
        life = crash(disk, path, chunk, step)
        if life is None:
            break
        settle(path, life.acknowledged)
        check_whole(path)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_of_who_takes_over_loses_nothing_either(disk, tmp_path, chunk, seed):
    chance = random.Random(seed)
    for attempt in range(25):
        path = str(tmp_path / str(attempt))
        life = crash(disk, path, chunk, chance.randrange(10, 130))
        taboo = set(life.acknowledged) if life else set()
        for _ in range(2):
            disk.crash_at(chance.randrange(1, 40))
            try:
                settle(path)
            except Crash:
                pass
            finally:
                disk.off()
            # what this one acknowledged is in the folder, if anywhere
            taboo |= {r.task.param for r in FolderQueue(path).records(State.DONE)}
        settle(path, taboo)
        check_whole(path)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("part", range(4))
def test_a_process_that_comes_back_after_others_took_over_does_no_harm(disk, tmp_path, chunk, part):
    for step in itertools.count(4 + part, 4):
        path = str(tmp_path / str(step))
        life = Life(path, chunk)
        theirs = []

        def pause(_, call, args, life=life, theirs=theirs, path=path):
            disk.off()
            theirs += settle(path, life.acknowledged)
            return call(*args)

        disk.at(step, pause)
        # it may be told in one line that it was taken for dead while it filled
        with contextlib.suppress(ManipleError):
            life.live()
        if disk.steps < step:
            break
        disk.off()
        mine = settle(path, life.acknowledged | set(theirs))
        assert not life.acknowledged & set(theirs), "both were told that it counts"
        assert len(mine) + len(theirs) + len(life.acknowledged) >= TASKS - 1
        check_whole(path)
