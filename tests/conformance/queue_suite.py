"""What every queue must do. A backend joins in a few lines:

    class TestMine(QueueConformance):
        def make(self, tmp_path, **time):
            return MineQueue(str(tmp_path / "q"), **time)

`make` opens the queue that lives in `tmp_path`; called again, it is another object on the same queue
(where the backend is shared). `time` is `clock` and `wall`, or nothing, which means real time. A
backend that cannot be given a clock ignores them and is `RealTime`. What a backend does not
guarantee is not asked of it; what `stats` does not know (None) is not compared.
"""

import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from maniple.queue import MAX_LAPSES, Failure, State
from maniple.task import Task
from support import PATIENCE, Patient, until

LONG = 300.0
OVER = "over"
"""The file that tells the minions of a storm that they may leave when nothing is left."""
EACH = {
    State.DONE: "a",
    State.FAILED: "b",
    State.DELAYED: "c",
    State.LEASED: "d",
    State.WAITING: "e",
}
"""The task of each state after `_one_of_each`."""


class RealTime:
    """Mixed in where a server keeps the time: seconds pass as they do."""

    real = True

    def advance(self, seconds):
        self.passed += seconds
        time.sleep(seconds)


def timely(test):
    """Mark a test that looks at leases and delays before they end.

    Where seconds pass as they do, a busy machine may let them end before the test looks. When it
    fails, and has taken longer than it meant to, that says nothing: leases last longer then.
    """

    @functools.wraps(test)
    def paced(self, queue):
        for longer in (3, 3, 0):
            self.passed = 0.0
            began = time.monotonic()
            try:
                return test(self, queue)
            except AssertionError:
                late = time.monotonic() - began - self.passed
                if not self.real or late < self.TTL / 5 or not longer:
                    raise
            self.TTL *= longer
            self.renew()
            queue = self.another()
        return None

    return paced


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


class unordered:  # noqa: N801 - reads as a word in an assertion
    """Equal to a list of the same values in any order."""

    def __init__(self, *values):
        self._values = sorted(values)

    def __eq__(self, other):
        return self._values == sorted(other)

    __hash__ = None

    def __repr__(self):
        return f"{self._values} in any order"


def params(leases):
    return [lease.task.param for lease in leases]


class QueueConformance:
    """The tests; see above.

    Attributes:
        TTL: seconds that a lease lasts.
        real: whether leases last shorter, too, where the machine is slow.
        STORM: how many tasks are worked on while minions are killed.
        patience: seconds within which the server tells what has happened, on an idle machine; 0: a
            call that returns has told.
        passed: seconds that a test has waited for.
    """

    TTL = 10.0
    real = False
    STORM = 2000
    patience = 0.0

    def make(self, tmp_path, **time):
        raise NotImplementedError

    def advance(self, seconds):
        self.clock.now += seconds

    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path):
        self.clock = Clock()
        self.passed = 0.0
        self._path = tmp_path
        self._queues = []
        yield
        for queue in self._queues:
            queue.close()

    def open(self, **time):
        queue = self.make(self._path, **time)
        if self.patience:
            queue = Patient(queue)
        self._queues.append(queue)
        return queue

    def another(self):
        return self.open(clock=self.clock, wall=self.clock)

    @pytest.fixture
    def queue(self):
        return self.another()

    def needs(self, queue, *guarantees):
        for name in guarantees:
            if not getattr(queue.guarantees, name):
                pytest.skip(f"this queue is not: {name}")

    def renew(self):
        """Have what is opened from now on be another queue."""
        self._path /= "again"
        self._path.mkdir()

    def now(self, queue):
        """Lease what can be leased now, as far as the server tells; return its param in a list."""
        return params(queue.lease(1, self.TTL, self.patience))

    def rest(self, queue, count):
        """Lease all that is left, asking for more: so many tasks."""
        leases = []

        def all_came():
            leases.extend(queue.lease(count + 9, LONG, self.patience))
            return len(leases) >= count

        self.eventually(all_came)
        return leases + queue.lease(9, LONG, self.patience)

    def lapse(self, queue):
        """Let all leases lapse that nobody extends, also for one who only watches."""
        queue.lease(0, self.TTL)
        self.advance(2 * self.TTL)

    def expect(self, queue, waiting=0, delayed=0, leased=0, done=0, failed=0):
        """Compare the counts, as far as the queue knows them."""
        wanted = (waiting, delayed, leased, done, failed)

        def differs():
            stats = queue.stats()
            known = (stats.waiting, stats.delayed, stats.leased, stats.done, stats.failed)
            if queue.guarantees.counts:
                return None if known == wanted else known
            pairs = zip(known, wanted, strict=True)
            return known if any(k is not None and k != w for k, w in pairs) else None

        assert self.eventually(lambda: differs() is None), f"{differs()} is not {wanted}"

    def expect_drained(self, queue):
        """Find that nothing is left, as far as the queue knows."""
        assert self.eventually(lambda: queue.stats().drained), queue.stats()

    def eventually(self, holds):
        """Tell whether something holds, or comes to where the server needs a moment."""
        deadline = time.monotonic() + (PATIENCE if self.patience else 0.0)
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    # Putting and leasing

    def test_a_new_queue_is_drained(self, queue):
        assert self.now(queue) == []
        self.expect_drained(queue)
        self.expect(queue)

    def test_put_tells_how_many_were_new(self, queue):
        assert queue.put([1, 2, 3]) == 3

    def test_tasks_come_in_the_order_they_were_put(self, queue):
        self.needs(queue, "ordered")
        queue.put(range(10))
        assert params(queue.lease(10, LONG)) == list(range(10))

    def test_tasks_are_numbered_from_one(self, queue):
        self.needs(queue, "numbered", "ordered")
        queue.put("abc")
        assert [lease.task.number for lease in queue.lease(3, LONG)] == [1, 2, 3]

    def test_a_first_attempt_is_number_one(self, queue):
        queue.put(["a"])
        assert queue.lease(1, LONG)[0].task.attempt == 1

    def test_a_task_is_put_as_well_as_a_param(self, queue):
        self.needs(queue, "unique", "ordered")
        task = Task.of({"x": 1})
        assert queue.put([task, {"x": 1}, {"x": 2}]) == 2
        assert [lease.task.id for lease in self.rest(queue, 2)] == [
            task.id,
            Task.of({"x": 2}).id,
        ]

    def test_a_batch_is_no_larger_than_asked_for(self, queue):
        queue.put(range(5))
        assert [len(queue.lease(2, LONG)) for _ in range(2)] == [2, 2]
        assert len(self.rest(queue, 1)) == 1

    def test_the_same_put_twice_adds_nothing(self, queue):
        self.needs(queue, "unique")
        queue.put(range(5))
        assert queue.put(range(5)) == 0
        assert params(self.rest(queue, 5)) == list(range(5))

    def test_a_repeated_param_in_one_put_is_one_task(self, queue):
        self.needs(queue, "unique")
        assert queue.put([1, 1, 2, 1]) == 2

    def test_what_is_done_is_not_added_again(self, queue):
        self.needs(queue, "unique")
        queue.put(["a"])
        queue.ack(queue.lease(1, LONG))
        assert queue.put(["a"]) == 0
        assert self.now(queue) == []

    def test_a_larger_put_adds_what_is_new(self, queue):
        self.needs(queue, "unique", "numbered")
        queue.put([1, 3])
        assert queue.put([1, 2, 3, 4]) == 2
        leases = self.rest(queue, 4)
        assert params(leases) == [1, 3, 2, 4]
        assert [lease.task.number for lease in leases] == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        "param",
        [
            None,
            True,
            "",
            "naïve 𝄞 \u202e \x00 \n\r\u2028",
            os.fsdecode(b"caf\xe9.txt"),
            10**30,
            -1.5e300,
            {"x": [1, {"y": None}], "é": "ü", "": []},
            [[[[]]]],
            "quotes \" and \\ and ' and ; rm -rf",
        ],
        ids=repr,
    )
    def test_a_param_comes_back_as_it_was_put(self, queue, param):
        queue.put([param])
        lease = queue.lease(1, LONG)[0]
        assert lease.task.param == param
        assert lease.task.id == Task.of(param).id

    def test_a_param_may_be_a_mebibyte(self, queue):
        large = ["é" * (1 << 19), "x" * (1 << 20)]
        queue.put(large)
        assert params(queue.lease(2, LONG)) == unordered(*large)

    def test_thousands_of_tasks_are_each_leased_once(self, queue):
        assert queue.put(range(5000)) == 5000
        found = []
        while len(found) < 5000:
            leases = queue.lease(min(64, 5000 - len(found)), LONG)
            assert leases
            found += params(leases)
            assert queue.ack(leases) == []
        assert self.now(queue) == []
        assert (found if queue.guarantees.ordered else sorted(found)) == list(range(5000))
        self.expect(queue, done=5000)

    # Acknowledging

    @timely
    def test_what_is_acknowledged_never_comes_back(self, queue):
        queue.put(range(3))
        done = queue.lease(2, self.TTL)
        assert queue.ack(done) == []
        self.lapse(queue)
        assert params(done) + params(self.rest(queue, 1)) == unordered(0, 1, 2)

    @timely
    def test_a_batch_may_be_acknowledged_in_parts_and_in_any_order(self, queue):
        queue.put(range(6))
        leases = queue.lease(6, self.TTL)
        assert queue.ack([leases[4], leases[1]]) == []
        assert queue.ack([leases[0]]) == []
        self.lapse(queue)
        rest = params([leases[2], leases[3], leases[5]])
        assert params(self.rest(queue, 3)) == unordered(*rest)

    @timely
    def test_parts_of_a_large_batch_are_settled_each_in_its_own_way(self, queue):
        queue.put(range(6000))
        for _ in range(5):
            queue.ack(queue.lease(1000, LONG))
        rest = queue.lease(1000, self.TTL)
        queue.ack(rest[::2])
        queue.fail([(rest[1], Failure("broken", "it broke"))])
        queue.nack(rest[3::4], attempted=False)
        self.lapse(queue)
        again = self.rest(queue, len(rest[3::2]))
        assert sorted(params(again)) == sorted(params(rest[3::2]))
        assert queue.ack(again) == []
        self.expect(queue, done=5999, failed=1)

    def test_nothing_is_done_by_empty_calls(self, queue):
        queue.put([1])
        assert queue.ack([]) == []
        assert queue.extend([], self.TTL) == []
        queue.nack([])
        queue.fail([])
        self.expect(queue, waiting=1)

    # Time

    @timely
    def test_a_lease_lapses_and_its_task_comes_back(self, queue):
        self.needs(queue, "redelivers")
        queue.put(["a"])
        queue.lease(1, self.TTL)
        assert self.now(queue) == []
        self.lapse(queue)
        assert params(queue.lease(1, self.TTL)) == ["a"]

    def test_a_lapse_is_no_failed_attempt(self, queue):
        self.needs(queue, "redelivers")
        queue.put(["a"])
        queue.lease(1, self.TTL)
        self.lapse(queue)
        assert queue.lease(1, self.TTL)[0].task.attempt == 1

    @timely
    def test_an_extended_lease_outlives_its_first_limit(self, queue):
        queue.put(["a"])
        leases = queue.lease(1, self.TTL)
        for _ in range(5):
            self.advance(0.7 * self.TTL)
            assert queue.extend(leases, self.TTL) == []
            assert self.now(queue) == []
        assert queue.ack(leases) == []

    @timely
    def test_a_lapsed_lease_that_was_taken_since_cannot_be_extended(self, queue):
        self.needs(queue, "redelivers")
        queue.put(["a"])
        old = queue.lease(1, self.TTL)
        self.lapse(queue)
        new = queue.lease(1, self.TTL)
        assert queue.extend(old, self.TTL) == old
        assert queue.extend(new, self.TTL) == []

    @timely
    def test_a_lapsed_lease_that_nobody_took_is_still_acknowledged(self, queue):
        self.needs(queue, "late_acks")
        queue.put(["a"])
        leases = queue.lease(1, self.TTL)
        self.lapse(queue)
        assert queue.ack(leases) == []
        assert self.now(queue) == []
        self.expect(queue, done=1)

    @timely
    def test_a_lapsed_lease_that_was_taken_since_is_returned(self, queue):
        self.needs(queue, "redelivers")
        queue.put(["a"])
        old = queue.lease(1, self.TTL)
        self.lapse(queue)
        new = queue.lease(1, self.TTL)
        assert queue.ack(old) == old
        self.expect(queue, leased=1)
        assert queue.ack(new) == []

    @timely
    def test_giving_back_a_lease_that_was_taken_since_changes_nothing(self, queue):
        self.needs(queue, "redelivers")
        queue.put(["a"])
        old = queue.lease(1, self.TTL)
        self.lapse(queue)
        new = queue.lease(1, self.TTL)
        queue.nack(old)
        queue.fail([(old[0], Failure("late", "too late"))])
        assert self.now(queue) == []
        assert queue.ack(new) == []

    def test_a_task_whose_minions_all_fall_silent_is_set_aside(self, queue):
        self.needs(queue, "redelivers", "counts_lapses")
        # what lapses in real time may come back a moment after the next task was taken
        alone = isinstance(self, RealTime) or not queue.guarantees.ordered
        queue.put(["a"] if alone else ["a", "b"])
        for _ in range(MAX_LAPSES + 1):
            leases = queue.lease(1, self.TTL)
            assert params(leases) == ["a"]
            self.lapse(queue)
        if alone:
            queue.put(["b"])
        assert params(self.rest(queue, 1)) == ["b"]
        self.expect(queue, leased=1, failed=1)
        (record,) = queue.records(State.FAILED)
        assert record.failure.cause == "lost"
        assert record.task.param == "a"

    # Giving back

    def test_a_failed_attempt_is_counted(self, queue):
        queue.put(["a"])
        for attempt in (1, 2, 3):
            leases = queue.lease(1, LONG)
            assert leases[0].task.attempt == attempt
            queue.nack(leases)

    def test_a_task_given_back_unrun_keeps_its_number(self, queue):
        queue.put(["a"])
        queue.nack(queue.lease(1, LONG), attempted=False)
        assert queue.lease(1, LONG)[0].task.attempt == 1

    def test_a_task_given_back_keeps_its_id_and_place(self, queue):
        self.needs(queue, "keeps_place", "numbered")
        queue.put("abc")
        before = queue.lease(1, LONG)[0].task
        queue.nack(queue.lease(1, LONG))
        after = queue.lease(1, LONG)[0].task
        assert (before.number, after.number) == (1, 2)
        assert after.id == Task.of("b").id

    @timely
    def test_a_delayed_task_waits_for_its_time(self, queue):
        queue.put(["a"])
        queue.nack(queue.lease(1, self.TTL), delay=6 * self.TTL)
        assert self.now(queue) == []
        self.expect(queue, delayed=1)
        self.advance(5.6 * self.TTL)
        assert self.now(queue) == []
        self.advance(self.TTL)
        self.expect(queue, waiting=1)
        leases = queue.lease(1, self.TTL)
        assert params(leases) == ["a"]
        assert leases[0].task.attempt == 2

    # Setting aside

    def test_a_failed_task_is_kept_with_its_reason(self, queue):
        reason = Failure("exit 3", "it broke\nhere", "last\nwords é", 12.5)
        queue.put(["a", "b"])
        lease, _ = queue.lease(2, LONG)
        queue.fail([(lease, reason)])
        self.expect(queue, leased=1, failed=1)
        (record,) = queue.records(State.FAILED)
        assert record.failure == reason
        assert record.task.param == lease.task.param
        assert record.state is State.FAILED

    @timely
    def test_a_failed_task_does_not_come_back_by_itself(self, queue):
        queue.put(["a"])
        queue.fail([(queue.lease(1, self.TTL)[0], Failure("exit 1", ""))])
        self.lapse(queue)
        assert self.now(queue) == []
        self.expect_drained(queue)

    def test_an_output_that_is_not_text_does_not_stop_a_failure(self, queue):
        queue.put(["a"])
        queue.fail([(queue.lease(1, LONG)[0], Failure("exit 1", "\udcff", "\udcff"))])
        self.expect(queue, failed=1)

    def test_retry_makes_failed_tasks_new(self, queue):
        queue.put("abc")
        for lease in queue.lease(3, LONG):
            queue.fail([(lease, Failure("exit 1", ""))])
        assert queue.retry([Task.of("b").id]) == 1
        assert params(self.rest(queue, 1)) == ["b"]
        assert queue.retry() == 2
        leases = self.rest(queue, 2)
        assert params(leases) == unordered("a", "c")
        assert [lease.task.attempt for lease in leases] == [1, 1]

    def test_retry_picks_from_failures_that_came_together(self, queue):
        queue.put("abc")
        queue.fail([(lease, Failure("exit 1", "")) for lease in queue.lease(3, LONG)])
        assert queue.retry([Task.of("b").id, Task.of("z").id]) == 1
        assert params(self.rest(queue, 1)) == ["b"]
        self.expect(queue, leased=1, failed=2)
        assert queue.retry() == 2

    def test_retry_of_nothing_is_nothing(self, queue):
        queue.put(["a"])
        assert queue.retry() == 0
        assert queue.retry([Task.of("a").id]) == 0

    # Looking

    def test_every_task_is_counted_in_one_state(self, queue):
        self.needs(queue, "counts")
        queue.put(range(10))
        self.expect(queue, waiting=10)
        leases = queue.lease(8, LONG)
        self.expect(queue, waiting=2, leased=8)
        queue.ack(leases[:3])
        self.expect(queue, waiting=2, leased=5, done=3)
        queue.fail([(leases[3], Failure("exit 1", ""))])
        self.expect(queue, waiting=2, leased=4, done=3, failed=1)
        queue.nack(leases[4:6], delay=LONG)
        queue.nack([leases[6]])
        self.expect(queue, waiting=3, delayed=2, leased=1, done=3, failed=1)
        assert queue.stats().total == 10
        assert not queue.stats().drained

    def test_a_leased_task_keeps_the_queue_from_being_drained(self, queue):
        queue.put(["a"])
        leases = queue.lease(1, LONG)
        stats = queue.stats()
        assert stats.leased is None or not stats.drained
        queue.ack(leases)
        self.expect_drained(queue)

    def test_a_delayed_task_keeps_the_queue_from_being_drained(self, queue):
        queue.put(["a"])
        queue.nack(queue.lease(1, LONG), delay=LONG)
        stats = queue.stats()
        assert stats.leased is None or not stats.drained

    def test_tasks_are_listed_by_state(self, queue):
        self.needs(queue, "lists")
        self._one_of_each(queue)
        for state, param in EACH.items():
            records = list(queue.records(state))
            assert [(r.state, r.task.param) for r in records] == [(state, param)]
        assert Counter(r.state for r in queue.records()) == Counter(EACH.keys())

    def _one_of_each(self, queue):
        queue.put("abcde")
        a, b, c, _ = queue.lease(4, LONG)
        queue.ack([a])
        queue.fail([(b, Failure("exit 1", "no"))])
        queue.nack([c], delay=LONG)

    def test_a_task_is_found_by_number_by_id_and_by_enough_of_its_id(self, queue):
        self.needs(queue, "lists")
        self._one_of_each(queue)
        for number, (state, param) in enumerate(EACH.items(), start=1):
            key = Task.of(param).id
            for found in (queue.find(str(number)), queue.find(key), queue.find(key[:9])):
                assert (found.task.param, found.state) == (param, state)
                assert found.task.number == number

    def test_what_is_not_there_is_not_found(self, queue):
        self.needs(queue, "lists")
        queue.put("ab")
        for key in ("3", "0", Task.of("c").id, "", "no such thing", "'"):
            assert queue.find(key) is None

    def test_failed_tasks_are_listed_by_every_queue(self, queue):
        queue.put("abcd")
        a, b, *rest = queue.lease(4, LONG)
        queue.fail([(a, Failure("exit 1", "é")), (b, Failure("exit 2", ""))])
        for _ in range(2):
            records = {r.task.param: r.failure.cause for r in queue.records(State.FAILED)}
            assert records == {a.task.param: "exit 1", b.task.param: "exit 2"}
        record = queue.find(a.task.id)
        assert (record.state, record.failure.error) == (State.FAILED, "é")
        assert queue.find(a.task.id[:9]).task.id == a.task.id
        assert queue.ack(rest) == []

    # Forgetting

    def test_failed_tasks_are_purged_by_every_queue(self, queue):
        queue.put("ab")
        queue.fail([(lease, Failure("exit 1", "")) for lease in queue.lease(1, LONG)])
        assert queue.purge(State.FAILED) == 1
        assert list(queue.records(State.FAILED)) == []
        assert queue.retry() == 0
        self.expect(queue, waiting=1)

    @pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.DELAYED, State.WAITING])
    def test_purge_forgets_one_state(self, queue, state):
        self.needs(queue, "lists")
        self._one_of_each(queue)
        assert queue.purge(state) == 1
        assert list(queue.records(state)) == []
        assert queue.stats().total == 4
        assert queue.put([EACH[state]]) == 1

    def test_leased_tasks_are_never_purged(self, queue):
        self.needs(queue, "lists")
        self._one_of_each(queue)
        assert queue.purge(State.LEASED) == 0
        assert queue.purge() == 4
        self.expect(queue, leased=1)

    def test_a_queue_goes_on_after_a_purge(self, queue):
        self.needs(queue, "lists")
        queue.put("abc")
        leases = queue.lease(2, LONG)
        assert queue.purge() == 1
        assert queue.ack(leases) == []
        assert queue.put("abcd") == 2
        assert params(self.rest(queue, 2)) == ["c", "d"]

    # Several at once

    def test_two_queue_objects_never_share_a_lease(self, queue):
        self.needs(queue, "shared")
        other = self.another()
        queue.put(range(20))
        mine, theirs = [], []
        for _ in range(10):
            mine += params(queue.lease(1, LONG))
            theirs += params(other.lease(1, LONG))
        assert sorted(mine + theirs) == list(range(20))
        assert self.now(queue) == self.now(other) == []

    def test_what_one_puts_another_leases(self, queue):
        self.needs(queue, "shared")
        other = self.another()
        assert self.now(other) == []
        queue.put(["a"])
        leases = other.lease(1, LONG)
        assert params(leases) == ["a"]
        self.expect(queue, leased=1)
        other.ack(leases)
        self.expect(queue, done=1)

    def test_two_put_the_same_and_nothing_is_doubled(self, queue):
        self.needs(queue, "shared", "unique")
        other = self.another()
        assert queue.put([1, 2]) + other.put([2, 3]) + queue.put([1, 2, 3, 4]) == 4
        assert params(self.rest(other, 4)) == [1, 2, 3, 4]

    def test_two_who_put_at_the_same_time_double_nothing(self, queue):
        self.needs(queue, "shared", "unique")
        added = []

        def fill():
            # it is real time that passes while one waits for the other
            mine = self.make(self._path)
            added.append(mine.put(range(3000)))
            mine.close()

        threads = [threading.Thread(target=fill) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(added) == 3000
        assert sorted(r.task.number for r in queue.records()) == list(range(1, 3001))

    @timely
    def test_another_takes_a_lease_that_lapsed(self, queue):
        self.needs(queue, "shared", "redelivers")
        other = self.another()
        queue.put(["a"])
        old = queue.lease(1, self.TTL)
        assert self.now(other) == []
        self.lapse(other)
        new = other.lease(1, self.TTL)
        assert params(new) == ["a"]
        assert queue.extend(old, self.TTL) == old
        assert queue.ack(old) == old
        assert other.ack(new) == []
        self.expect(queue, done=1)

    @timely
    def test_nobody_takes_a_lease_that_is_extended(self, queue):
        self.needs(queue, "shared")
        other = self.another()
        queue.put(["a"])
        leases = queue.lease(1, self.TTL)
        for _ in range(6):
            assert self.now(other) == []
            self.advance(self.TTL / 3)
            assert queue.extend(leases, self.TTL) == []
        assert queue.ack(leases) == []

    @timely
    def test_a_delay_set_by_one_holds_for_another(self, queue):
        self.needs(queue, "shared")
        other = self.another()
        queue.put(["a"])
        queue.nack(queue.lease(1, self.TTL), delay=6 * self.TTL)
        assert self.now(other) == []
        self.advance(7 * self.TTL)
        assert params(other.lease(1, self.TTL)) == ["a"]

    def test_closing_gives_up_nothing_that_was_not_acknowledged(self, queue):
        self.needs(queue, "durable")
        queue.put(range(3000))
        leases = queue.lease(5, self.TTL)
        lost = queue.ack(leases[:2])
        done = params(lease for lease in leases[:2] if lease not in lost)
        self._queues.remove(queue)
        queue.close()
        queue = self.another()
        found = []
        silent = 0
        for _ in range(100):
            leases = queue.lease(100, LONG, self.patience)
            found += params(leases)
            assert queue.ack(leases) == []
            if not leases:
                # whatever comes twice comes within two lapses
                silent += len(found) + len(done) >= 3000
                if silent > 2:
                    break
                self.advance(self.TTL)
        assert sorted(found + done) == list(range(3000))
        self.expect_drained(queue)

    def test_a_queue_remembers_everything_when_it_is_opened_again(self, queue):
        self.needs(queue, "durable", "lists")
        self._one_of_each(queue)
        queue = self.another()
        assert Counter(r.state for r in queue.records()) == Counter(EACH.keys())
        assert queue.put("abcdef") == 1
        assert queue.find("6").task.param == "f"

    def test_waiting_ends_when_a_task_is_put(self):
        queue = self.open()

        def put():
            mine = self.make(self._path) if queue.guarantees.shared else queue
            mine.put(["a"])
            if mine is not queue:
                mine.close()

        thread = threading.Timer(0.05, put)
        thread.start()
        leases = queue.lease(1, LONG, wait=LONG)
        thread.join()
        assert params(leases) == ["a"]

    def test_waiting_ends_when_a_delay_does(self):
        queue = self.open()
        queue.put(["a"])
        queue.nack(queue.lease(1, LONG), delay=0.05)
        assert params(queue.lease(1, LONG, wait=LONG)) == ["a"]

    def test_waiting_ends_when_nothing_comes(self):
        assert self.open().lease(1, LONG, wait=0.02) == []

    def test_a_dead_process_loses_its_leases_at_once(self):
        queue = self.open()
        self.needs(queue, "shared", "durable")
        queue.put(["a"])
        minion = Minion(queue.url, self._path, 0, hold=True)
        minion.wait_for_a_lease()
        assert self.now(queue) == []
        minion.kill()
        assert params(queue.lease(1, LONG, wait=LONG)) == ["a"]

    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_storm_of_kills_loses_nothing_and_repeats_nothing_acknowledged(self, seed):
        queue = self.open()
        self.needs(queue, "shared", "durable")
        storm(queue, self._path, seed, self.STORM)


class Minion:
    """A process that drains a queue, and writes down what it leased and acknowledged."""

    def __init__(self, url, folder, number, *, hold=False):
        self.events = folder / f"events-{number}"
        self.killed = False
        script = Path(__file__).with_name("queue_minion.py")
        command = [sys.executable, str(script), url, str(self.events), str(number)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            [*command, *(["hold"] if hold else [])],
            env=environment,
            stdout=subprocess.PIPE,
        )

    def wait_for_a_lease(self):
        """Block until it has leased something, has found that nothing is left, or has ended."""
        return self.process.stdout.read(1)

    def kill(self):
        self.killed = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self):
        # it may only now say that it has leased something
        code = self.process.wait()
        self.process.stdout.close()
        return code

    def read(self):
        """Its events: what, task, when it asked for the lease, when it wrote this (one clock)."""
        if not self.events.exists():
            return
        text = self.events.read_bytes().decode()
        for line in text[: text.rfind("\n") + 1].splitlines():
            what, task, began, written = line.split()
            yield what, task, int(began), int(written)


def storm(queue, folder, seed, tasks=2000, minions=4, kills=12):
    """Drain a queue with minions that are killed at random, and check what they did."""
    chance = random.Random(seed)
    queue.put(range(tasks))
    numbers = itertools.count(1)
    everyone = [Minion(queue.url, folder, next(numbers)) for _ in range(minions)]
    running = list(everyone)
    try:
        for _ in range(kills):
            victim = running.pop(chance.randrange(minions))
            victim.wait_for_a_lease()
            threading.Event().wait(chance.uniform(0, 0.05))
            victim.kill()
            running.append(Minion(queue.url, folder, next(numbers)))
            everyone.append(running[-1])
        (folder / OVER).touch()
        assert [minion.end() for minion in running] == [0] * minions
    finally:
        for minion in running:
            minion.process.kill()
            minion.end()
    assert sum(minion.killed for minion in everyone) == kills
    check(everyone, tasks)
    until(lambda: queue.stats().drained)
    stats = queue.stats()
    left = (stats.waiting, stats.delayed, stats.leased, stats.failed)
    assert not any(left), stats
    assert stats.done in {tasks, None}
    if queue.guarantees.counts:
        assert (*left, stats.done) == (0, 0, 0, 0, tasks)


def check(everyone, tasks):
    """Find whoever leased what was acknowledged, or what a living minion held."""
    leased = defaultdict(list)
    acknowledged = {}
    for minion in everyone:
        held = {}
        for what, task, began, written in minion.read():
            if what == "leased":
                held[task, began] = written
                leased[task].append((written, began, minion))
            elif what == "returned":
                leased[task].remove((held[task, began], began, minion))
            else:
                assert task not in acknowledged, f"task {task} was acknowledged twice"
                acknowledged[task] = written
    assert len(leased) == tasks
    for task, runs in leased.items():
        # who asked first may have waited longest: the answers came in the order of the leases
        runs.sort(key=lambda run: run[0])
        assert all(began <= acknowledged.get(task, began) for _, began, _ in runs), (
            f"task {task} was leased after it was acknowledged"
        )
        assert all(minion.killed for _, _, minion in runs[:-1]), (
            f"task {task} was leased from a minion that lived"
        )
