"""A minion: tasks from a queue, through a runner, to reporters; and nothing lost on the way."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from maniple.errors import StorageError
from maniple.minion.book import Policy
from maniple.minion.minion import Minion
from maniple.minion.tally import Count, Tally
from maniple.queue import State
from maniple.queues.memory import MemoryQueue
from maniple.queues.sqlite import SqliteQueue
from maniple.queues.sqlite_journal import Journal
from maniple.runner import Outcome
from maniple.runners.function import FunctionRunner
from support import until

SOURCES = Path(__file__).parents[2] / "src"


# a process that gets no processor for a moment is no long task: all leases are kept
PATIENT = Policy(patience=600.0)


class InPlace:
    """A runner that calls a function here, in the minion's own process."""

    def __init__(self, function, watch=lambda *_: None):
        self.function = function
        self.watch = watch
        self.closed = 0

    def run(self, task, context):
        start = time.time()
        value = self.function(task.param)
        return Outcome(ok=True, start=start, end=time.time(), value=value)

    def close(self):
        self.closed += 1


class Keeping:
    """A reporter, or a sink, that keeps a diary; it fails when it is told to."""

    def __init__(self, name="", diary=None, fails=None):
        self.name = name
        self.diary = diary if diary is not None else []
        self.fails = fails or {}
        self.events = []

    def _note(self, what):
        self.diary.append(f"{self.name}{what}")
        if error := self.fails.get(what):
            raise error

    def report(self, event):
        self._note("report")
        self.events.append(event)

    def write(self, task, outcome):
        self._note("write")

    def flush(self):
        self._note("flush")

    def close(self):
        self._note("close")


class Watched(MemoryQueue):
    """A memory queue that writes its acknowledgements into a diary."""

    def __init__(self, diary):
        super().__init__()
        self.diary = diary

    def ack(self, leases):
        self.diary.append("ack")
        return super().ack(leases)


@pytest.fixture
def queue():
    return MemoryQueue()


def filled(count):
    queue = MemoryQueue()
    queue.put(range(count))
    return queue


def start_python(script, *words, **options):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        text=True,
        **options,
    )


# Use as a library


def test_a_queue_and_a_runner_are_enough(capfd):
    assert Minion(filled(3), FunctionRunner(print), policy=PATIENT).run() == Count(done=3)
    assert capfd.readouterr().out.split() == ["0", "1", "2"]


@pytest.mark.parametrize("how", ["one", "list", "tuple", "none", "None"])
def test_reporters_are_one_or_several_or_none(how):
    one, other = Keeping(), Keeping()
    given = {
        "one": [one],
        "list": [[one, other]],
        "tuple": [(one, other)],
        "none": [],
        "None": [None],
    }
    Minion(filled(4), FunctionRunner(abs), *given[how]).run()
    counts = [len(one.events), len(other.events)]
    assert counts == {"one": [4, 0], "list": [4, 4], "tuple": [4, 4]}.get(how, [0, 0])


def test_it_works_in_a_thread_and_leaves_the_signals_alone():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    counts = []
    thread = threading.Thread(
        target=lambda: counts.append(Minion(filled(50), FunctionRunner(abs), policy=PATIENT).run())
    )
    thread.start()
    thread.join()
    assert counts == [Count(done=50)]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_it_may_be_stopped_from_elsewhere():
    queue = filled(3)
    started = threading.Event()

    def function(param):
        started.set()
        time.sleep(0.001)
        queue.put([random.random()])

    minion = Minion(queue, InPlace(function))
    asker = threading.Thread(target=lambda: (started.wait(), minion.stop()))
    asker.start()
    minion.run()
    asker.join()
    stats = queue.stats()
    assert stats.leased == 0
    assert stats.waiting > 0
    minion.stop()


def test_many_minions_leave_no_open_file():
    Minion(filled(1), FunctionRunner(abs)).run()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        Minion(filled(2), FunctionRunner(abs)).run()
    assert len(os.listdir("/proc/self/fd")) <= before


# What an event tells


def test_an_event_tells_who_where_when_and_how():
    reporter = Keeping()

    def function(param):
        if param == 1:
            raise ValueError(f"bad file caf\udce9 {param}")

    minion = Minion(filled(2), FunctionRunner(function), reporter)
    assert minion.run() == Count(done=1, failed=1)
    good, bad = reporter.events
    assert [good.generation, bad.generation] == [1, 2]
    assert good.uid == bad.uid == minion.uid
    assert (good.nodename, good.pid, good.queue) == (os.uname().nodename, os.getpid(), "memory:")
    assert good.start <= good.end
    assert [(step.name, step.start, step.end) for step in good.atomic_actions] == [
        ("process", good.start, good.end)
    ]
    assert (good.error, good.cause, good.attempt) == (None, "", 1)
    assert bad.cause == "ValueError"
    bad.error.encode()
    assert bad.error.rstrip().endswith("bad file caf\\udce9 1")


# Order


def test_results_and_events_are_safe_before_a_task_is_acknowledged():
    diary = []
    queue = Watched(diary)
    queue.put([1])
    Minion(queue, InPlace(abs), Keeping("event ", diary), sink=Keeping("result ", diary)).run()
    assert diary == [
        "result write", "result flush", "event report", "event flush", "ack", "event close",
    ]  # fmt: skip


@pytest.mark.parametrize("call", ["report", "flush", "close"])
@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(0)], ids=type)
def test_a_reporter_that_fails_is_left_out_and_the_work_goes_on(call, error, caplog):
    good, bad = Keeping(), Keeping(fails={call: error})
    with caplog.at_level(logging.WARNING, "maniple"):
        minion = Minion(filled(9), FunctionRunner(abs), [bad, good], policy=PATIENT)
        assert minion.run() == Count(done=9)
    assert len(good.events) == 9
    assert len([record for record in caplog.records if "left out" in record.message]) == 1
    assert bad.diary.count(call) == 1


@pytest.mark.parametrize("call", ["write", "flush"])
@pytest.mark.parametrize("make", [MemoryQueue, SqliteQueue], ids=["memory", "sqlite"])
def test_results_that_cannot_be_written_stop_the_work_and_nothing_is_done(call, make, tmp_path):
    queue = make(str(tmp_path / "q.db"))
    queue.put(range(10))
    sink = Keeping(fails={call: StorageError("the disk is full")})
    runner = FunctionRunner(abs)
    with pytest.raises(StorageError, match="the disk is full"):
        Minion(queue, runner, sink=sink, policy=Policy(batch=4)).run()
    stats = queue.stats()
    assert (stats.waiting, stats.leased, stats.done, stats.failed) == (10, 0, 0, 0)
    assert runner._child == 0
    queue.close()


def test_results_that_fail_in_the_middle_leave_what_was_safe_done(tmp_path):
    queue = SqliteQueue(str(tmp_path / "q.db"))
    queue.put(range(10))
    sink = Keeping()
    written = []

    def write(task, outcome):
        if task.param == 6:
            raise StorageError("full")
        written.append(task.param)

    sink.write = write
    with pytest.raises(StorageError, match="full"):
        Minion(queue, InPlace(abs), sink=sink).run()
    done = [record.task.param for record in queue.records(State.DONE)]
    assert written == done == list(range(6))
    assert queue.stats().leased == 0
    queue.close()


def test_a_queue_that_fails_stops_the_work():
    class Breaking(MemoryQueue):
        def ack(self, leases):
            raise StorageError("the queue is gone")

    queue = Breaking()
    queue.put([1])
    runner = InPlace(abs)
    with pytest.raises(StorageError, match="the queue is gone"):
        Minion(queue, runner).run()
    assert runner.closed == 1


# Failures


def test_a_failed_task_is_tried_again_and_then_set_aside(queue):
    queue.put(["good", "bad"])
    attempts = []

    def function(param):
        attempts.append(param)
        if param == "bad":
            raise ValueError("always")

    policy = Policy(retries=2, backoff=0.01, patience=600.0)
    assert Minion(queue, InPlace(function), policy=policy).run() == Count(
        done=1, failed=1, retried=2
    )
    assert sorted(attempts) == ["bad", "bad", "bad", "good"]
    [record] = queue.records(State.FAILED)
    assert record.failure.cause == "ValueError"
    assert "always" in record.failure.error
    assert record.task.attempt == 3


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()], ids=type)
def test_an_exit_or_interrupt_of_a_runner_is_a_failure_of_its_task(error):
    def function(param):
        if param == 1:
            raise error

    queue = filled(3)
    assert Minion(queue, InPlace(function), policy=PATIENT).run() == Count(done=2, failed=1)


def test_storage_that_gives_out_in_a_runner_is_not_the_tasks_fault():
    def function(param):
        raise StorageError("no room for output")

    queue = filled(2)
    with pytest.raises(StorageError):
        Minion(queue, InPlace(function)).run()
    assert (queue.stats().waiting, queue.stats().failed) == (2, 0)


def test_a_halt_starts_nothing_more():
    tally = Tally()
    ran = []

    def function(param):
        ran.append(param)
        if param == 5:
            tally.halt()

    queue = filled(100)
    assert Minion(queue, InPlace(function), tally=tally, policy=Policy(ahead=9.0)).run().done == 6
    assert ran == list(range(6))
    assert queue.stats().waiting == 94


# Long tasks


def test_leases_are_renewed_while_a_task_runs_longer_than_they_last(tmp_path):
    path = str(tmp_path / "q.db")
    now = 1000.0
    renewed = []

    class Renewed(SqliteQueue):
        def extend(self, leases, ttl):
            at = now
            lost = super().extend(leases, ttl)
            renewed.append(at)
            return lost

    def is_renewed():
        return bool(renewed) and renewed[-1] == now

    queue = Renewed(path, clock=lambda: now)
    queue.put(["long"])
    stolen = []

    def function(param):
        nonlocal now
        # another minion tries to get the task, for three times as long as a lease lasts
        other = SqliteQueue(path, clock=lambda: now)
        for _ in range(8):
            now += 0.2
            stolen.extend(other.lease(1, 30.0))
            until(is_renewed)
        other.close()

    count = Minion(queue, InPlace(function), policy=Policy(ttl=0.5)).run()
    assert stolen == []
    assert count == Count(done=1)
    queue.close()


def test_what_waits_behind_a_long_task_is_given_to_others(tmp_path):
    path = str(tmp_path / "q.db")
    queue = SqliteQueue(path)
    queue.put(range(30))
    others = []

    def function(param):
        if param == 20:
            other = SqliteQueue(path)
            while len(others) < 9 and (leases := other.lease(50, 30.0, wait=20.0)):
                others.extend(lease.task.param for lease in leases)
                other.ack(leases)
            other.close()

    assert Minion(queue, InPlace(function), policy=Policy(ahead=60.0)).run().done == 21
    assert sorted(others) == list(range(21, 30))
    queue.close()


def test_the_end_of_a_task_is_told_while_the_next_one_runs(tmp_path):
    path = str(tmp_path / "q.db")
    queue = SqliteQueue(path)
    queue.put(["bad", "long"])
    seen = []

    def function(param):
        if param == "bad":
            raise ValueError("no")
        other = SqliteQueue(path)
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            seen.extend(other.records(State.FAILED))
            time.sleep(0.005)
        other.close()

    Minion(queue, InPlace(function)).run()
    assert [record.task.param for record in seen] == ["bad"]
    queue.close()


def test_a_minion_that_slept_through_its_leases_runs_no_task_of_others(tmp_path):
    path = str(tmp_path / "q.db")
    # no lease lapses by itself, however long we are kept waiting
    queue = SqliteQueue(path, clock=lambda: 1000.0)
    queue.put(range(10))
    ran, taken = [], []

    class Sleepy(SqliteQueue):
        def extend(self, leases, ttl):
            # as after a long suspend: the others have been here first
            if ran == [0, 1, 2] and not taken:
                now = self._clock
                other = SqliteQueue(path, clock=lambda: now() + 100.0)
                taken.extend(other.lease(99, 1000.0))
                other.ack(taken[1:])
                other.close()
            return super().extend(leases, ttl)

    def function(param):
        ran.append(param)
        deadline = time.monotonic() + 20
        while param == 2 and not taken and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.1 if param == 2 else 0)

    mine = Sleepy(path, clock=lambda: 1000.0)
    policy = Policy(ttl=0.1, ahead=60.0, patience=99.0)
    minion = Minion(mine, InPlace(function), policy=policy, wait=False)
    minion.run()
    assert ran == [0, 1, 2]
    assert [lease.task.param for lease in taken][-7:] == list(range(3, 10))
    mine.close()
    queue.close()


# Signals

SCRIPT = """
import sys, time
import maniple
def work(param):
    open(sys.argv[2], "a").write(f"{param}\\n")
    time.sleep(600 if param >= 3 else 0)
queue = maniple.open_queue(sys.argv[1])
if sys.argv[3] == "function":
    runner = maniple.FunctionRunner(work)
else:
    words = lambda param, number, slot: ["sh", "-c", f"echo $$ > {sys.argv[2]}.pid; echo {param} >> {sys.argv[2]}; sleep {600 * (param >= 3)}"]
    runner = maniple.ProcessRunner(words)
maniple.Minion(queue, runner).run()
"""


@pytest.mark.parametrize("runner", ["function", "process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_task_and_gives_all_leases_back(tmp_path, runner, number):
    queue = SqliteQueue(str(tmp_path / "q.db"))
    queue.put(range(10))
    minion = start_python(SCRIPT, queue.url, tmp_path / "log", runner, stderr=subprocess.PIPE)
    while not (tmp_path / "log").exists() or "3" not in (tmp_path / "log").read_text().split():
        assert minion.poll() is None
        time.sleep(0.005)
    minion.send_signal(number)
    error = minion.communicate(timeout=60)[1]
    assert minion.returncode == (-number if number == signal.SIGINT else 128 + number)
    assert ("KeyboardInterrupt" in error) == (number == signal.SIGINT)
    stats = queue.stats()
    assert (stats.done, stats.waiting, stats.leased, stats.failed) == (3, 7, 0, 0)
    assert queue.find("4").task.attempt == 1
    queue.close()


@pytest.mark.parametrize("runner", ["function", "process"])
def test_the_task_of_a_killed_minion_runs_again_and_no_other(tmp_path, runner):
    queue = SqliteQueue(str(tmp_path / "q.db"))
    queue.put(range(10))
    minion = start_python(SCRIPT, queue.url, tmp_path / "log", runner)
    # the fourth runs, and the end of those before it is known outside of the minion
    known = 0
    while known < 3 or "3" not in (tmp_path / "log").read_text().split():
        assert minion.poll() is None
        notes = [Journal.read(queue._file.path, name) for name in Journal.names(queue._file.path)]
        known = max(queue.stats().done, *map(len, notes), 0)
    minion.kill()
    minion.wait()
    if runner == "process":
        # a crew's guard would do this; here the minion was alone
        os.killpg(int((tmp_path / "log.pid").read_text()), signal.SIGKILL)
    found = []
    while len(found) < 7:
        found += [lease.task.param for lease in queue.lease(99, 3600.0, wait=5.0)]
    assert sorted(found) == list(range(3, 10))
    assert queue.stats().done == 3
    queue.close()


class Blind(MemoryQueue):
    """A queue behind a network that cannot tell what others hold."""

    idle = 0.2
    quiet = 0.5

    def __init__(self, nothing=lambda: None):
        super().__init__()
        self.nothing = nothing
        self.waits = []

    def lease(self, limit, ttl, wait=0.0):
        self.waits.append(wait)
        leases = super().lease(limit, ttl, wait)
        if not leases:
            self.nothing()
        return leases

    def stats(self):
        stats = super().stats()
        return msgspec.structs.replace(stats, leased=None)


def test_where_leases_cannot_be_counted_a_minion_stays_until_a_dead_ones_tasks_would_be_back():
    queue = Blind(lambda: queue.nack(held))
    queue.put(["a", "b"])
    held = queue.lease(1, 60.0)
    done = []
    began = time.monotonic()
    assert Minion(queue, InPlace(done.append)).run().done == 2
    assert sorted(done) == ["a", "b"]
    assert time.monotonic() - began >= queue.quiet


def test_an_idle_minion_waits_as_long_as_the_queue_allows():
    queue = Blind(lambda: len(queue.waits) > 10 and minion.stop())
    queue.quiet = 600.0
    queue.put(["a"])
    minion = Minion(queue, InPlace(str))
    minion.run()
    assert max(queue.waits) == queue.idle
