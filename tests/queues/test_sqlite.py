"""What the SQLite queue does beyond what every queue does."""

import os
import random
import signal
import sqlite3
from pathlib import Path

import pytest

from maniple.queue import MAX_LAPSES, Failure, State
from maniple.queues import sqlite as module
from maniple.queues.sqlite import SqliteQueue
from maniple.queues.sqlite_file import boot_clock

TTL = 10.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "q.db")


@pytest.fixture
def queue(path, clock):
    queue = SqliteQueue(path, clock=clock, wall=clock)
    yield queue
    queue.close()


def params(leases):
    return [lease.task.param for lease in leases]


def rows(path, sql):
    with sqlite3.connect(path) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def in_child(work):
    """Run work in a forked process, which is killed as it stands when the work is done."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


# Ranges


def test_a_batch_is_one_row_and_done_tasks_are_none(queue, path):
    queue.put(range(1000))
    leases = queue.lease(100, TTL)
    assert len(rows(path, "SELECT * FROM leases")) == 1
    queue.ack(leases)
    assert rows(path, "SELECT * FROM leases") == []
    assert queue.stats().done == 100


@pytest.mark.parametrize("seed", range(30))
def test_acknowledgements_in_any_order_leave_exactly_the_others(queue, clock, seed):
    chance = random.Random(seed)
    queue.put(range(40))
    leases = queue.lease(20, TTL) + queue.lease(20, TTL)
    chance.shuffle(leases)
    done = leases[: chance.randint(1, 39)]
    left = list(done)
    while left:
        size = chance.randint(1, 8)
        assert queue.ack(left[:size]) == []
        del left[:size]
    stats = queue.stats()
    assert (stats.done, stats.leased, stats.waiting) == (len(done), 40 - len(done), 0)
    clock.now += TTL
    rest = sorted(set(range(40)) - set(params(done)))
    assert sorted(params(queue.lease(99, TTL))) == rest
    assert queue.stats().done == len(done)


def test_parts_of_a_split_range_are_renewed_together(queue, clock):
    queue.put(range(9))
    leases = queue.lease(9, TTL)
    queue.ack([leases[4]])
    clock.now += TTL / 2
    assert queue.extend(leases[:4] + leases[5:], TTL) == []
    clock.now += TTL / 2 + 1
    assert queue.lease(9, TTL) == []


def test_an_acknowledged_task_cannot_be_acknowledged_again(queue):
    queue.put(range(3))
    leases = queue.lease(3, TTL)
    queue.ack(leases[:1])
    assert queue.ack(leases) == leases[:1]


# Lapses


def test_only_the_task_that_ran_counts_a_lapse(queue, clock):
    queue.put(range(4))
    queue.lease(2, TTL)
    queue.lease(2, TTL)
    clock.now += TTL
    queue.lease(4, TTL)
    lapses = rows(queue._file.path, "SELECT first, lapses FROM leases ORDER BY first")
    assert lapses == [(1, 1), (2, 0), (3, 0), (4, 0)]


def test_a_task_that_kills_its_minions_takes_no_other_with_it(queue, clock):
    queue.put(range(5))
    for _ in range(MAX_LAPSES + 1):
        assert len(queue.lease(5, TTL)) == 5
        clock.now += TTL
    assert params(queue.lease(9, TTL)) == [1, 2, 3, 4]
    [record] = queue.records(State.FAILED)
    assert record.task.param == 0
    assert record.failure.cause == "lost"
    assert f"{MAX_LAPSES + 1} times" in record.failure.error


def test_the_other_boot_of_the_machine_lapses_all_leases(queue, path, clock, monkeypatch):
    queue.put(range(3))
    queue.lease(2, TTL)
    queue.nack(queue.lease(1, TTL), delay=99999.0)
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    clock.now = 3.0
    later = SqliteQueue(path, clock=clock)
    assert sorted(params(later.lease(9, TTL))) == [0, 1, 2]
    later.close()


# Notes


def test_a_killed_process_runs_nothing_again_that_it_noted(path):
    queue = SqliteQueue(path)
    queue.put(range(10))

    def work():
        mine = SqliteQueue(path)
        leases = mine.lease(6, 3600.0)
        assert mine.jot(leases[:2])
        assert mine.jot([leases[3]])

    in_child(work)
    # at once: nobody waits for the lease of a dead process to lapse
    assert sorted(params(queue.lease(99, TTL, wait=5.0))) == [2, 4, 5, *range(6, 10)]
    assert queue.stats().done == 3
    assert not os.listdir(f"{path}-done") if os.path.isdir(f"{path}-done") else True
    queue.close()


def test_a_note_that_was_cut_short_does_not_count(path):
    queue = SqliteQueue(path)
    queue.put(range(4))

    def work():
        mine = SqliteQueue(path)
        leases = mine.lease(4, 3600.0)
        mine.jot(leases[:2])
        os.write(mine._journal._fd, b"\x03\x00\x00")

    in_child(work)
    assert sorted(params(queue.lease(9, TTL, wait=5.0))) == [2, 3]
    queue.close()


def test_notes_count_after_a_reboot_too_and_are_cleaned_up(path, monkeypatch):
    queue = SqliteQueue(path)
    queue.put(range(4))
    queue.jot(queue.lease(3, 3600.0)[:2])
    # the process is gone with its machine: nobody closes this queue
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    monkeypatch.setattr("maniple.owner._boot", lambda: "b00t")
    monkeypatch.setattr("maniple.owner._cached", None)
    later = SqliteQueue(path)
    assert sorted(params(later.lease(9, TTL))) == [2, 3]
    later.close()
    assert not os.path.exists(f"{path}-done")


def test_notes_that_have_been_acknowledged_are_forgotten(queue, path):
    queue.put(range(3))
    leases = queue.lease(3, TTL)
    queue.jot(leases)
    assert len(os.listdir(f"{path}-done")) == 1
    queue.ack(leases)
    assert os.stat(Path(f"{path}-done", os.listdir(f"{path}-done")[0])).st_size == 0


def test_nothing_but_the_database_is_left_when_all_is_closed(path, tmp_path):
    queue = SqliteQueue(path)
    queue.put(range(3))

    def work():
        mine = SqliteQueue(path)
        mine.jot(mine.lease(3, 3600.0))

    in_child(work)
    assert queue.lease(1, TTL, wait=0.5) == []
    leases = queue.lease(1, TTL)
    queue.jot(leases)
    queue.ack(leases)
    queue.close()
    assert os.listdir(tmp_path) == ["q.db"]


def test_notes_of_a_process_that_lives_are_left_alone(queue, path):
    queue.put(range(2))
    leases = queue.lease(2, TTL)
    queue.jot(leases[:1])
    SqliteQueue(path).close()
    assert len(os.listdir(f"{path}-done")) == 1
    queue.ack(leases)


def test_where_notes_cannot_be_kept_the_minion_is_told(queue, path):
    queue.put(range(2))
    Path(f"{path}-done").write_text("in the way")
    assert not queue.jot(queue.lease(2, TTL))


# Numbers


def test_numbers_go_on_after_a_purge(queue):
    queue.put("abc")
    queue.ack(queue.lease(3, TTL))
    assert queue.purge() == 3
    assert queue.stats().total == 0
    assert queue.put("abcd") == 4
    leases = queue.lease(9, TTL)
    assert params(leases) == list("abcd")
    assert [lease.task.number for lease in leases] == [4, 5, 6, 7]
    assert queue.stats().leased == queue.stats().total == 4


def test_a_stale_lease_means_no_task_of_after_a_purge(queue, path, clock):
    queue.put("ab")
    stale = queue.lease(2, TTL)
    clock.now += TTL
    other = SqliteQueue(path, clock=clock)
    other.ack(other.lease(2, TTL))
    other.purge()
    other.put("xy")
    other.nack(other.lease(2, TTL))
    assert queue.ack(stale) == stale
    assert queue.extend(stale, TTL) == stale
    assert sorted(params(other.lease(9, TTL))) == ["x", "y"]
    other.close()


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_agree_with_the_lists_whatever_happens(path, clock, seed):
    chance = random.Random(seed)
    queue = SqliteQueue(path, clock=clock, wall=clock)
    held = []
    for step in range(60):
        what = chance.randrange(9)
        if what < 2:
            queue.put(chance.sample(range(60), 8))
        elif what < 4:
            held += queue.lease(chance.randint(1, 6), TTL)
        elif what == 4:
            chance.shuffle(held)
            queue.ack([held.pop() for _ in range(min(len(held), 4))])
        elif what == 5 and held:
            queue.nack([held.pop()], chance.choice([0.0, 5.0]), attempted=chance.random() < 0.5)
        elif what == 6 and held:
            queue.fail([(held.pop(), Failure("exit 1", "no"))])
        elif what == 7:
            clock.now += chance.choice([0.1, 1.0, TTL])
        elif chance.random() < 0.3:
            queue.purge(chance.choice([None, State.DONE, State.FAILED, State.WAITING]))
        elif chance.random() < 0.5:
            queue.retry()
        listed = [record.state for record in queue.records()]
        stats = queue.stats()
        for state in State:
            count = listed.count(state)
            assert getattr(stats, state.value) == count, (step, what, state)
            assert len(list(queue.records(state))) == count, (step, what, state)
    queue.close()


# Lists


def test_long_lists_are_complete_and_in_order(queue):
    queue.put(range(3000))
    leases = queue.lease(1500, TTL)
    queue.ack(leases[::2])
    numbers = [record.task.number for record in queue.records()]
    assert numbers == list(range(1, 3001))
    assert [r.task.param for r in queue.records(State.LEASED)] == list(range(1, 1500, 2))
    assert [r.task.param for r in queue.records(State.DONE)] == list(range(0, 1500, 2))
    assert [r.task.param for r in queue.records(State.WAITING)] == list(range(1500, 3000))


def test_a_list_may_be_walked_while_the_queue_is_used(queue):
    queue.put(range(1000))
    seen = 0
    for record in queue.records(State.WAITING):
        seen += 1
        if record.task.number % 100 == 1:
            queue.ack(queue.lease(1, TTL))
    assert seen == 1000


@pytest.mark.parametrize("key", ["", "x", "²", "9" * 40, "0" * 33, "-1", "zz"])
def test_a_key_that_means_nothing_finds_nothing(queue, key):
    queue.put(["a"])
    assert queue.find(key) is None


def test_ids_that_are_none_are_not_retried(queue):
    queue.put(["a"])
    queue.fail([(lease, Failure("exit 1", "no \udce9")) for lease in queue.lease(1, TTL)])
    [record] = queue.records(State.FAILED)
    assert queue.retry(["nonsense", "", record.task.id[:8]]) == 0
    assert queue.retry([record.task.id, record.task.id]) == 1


# Cost


def plans(queue, work):
    """Collect the query plans of all statements that some work runs."""
    connection = queue._file._connection
    statements = set()
    connection.set_trace_callback(statements.add)
    work()
    connection.set_trace_callback(None)
    found = {}
    for statement in statements:
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            found[statement] = [line[3] for line in plan]
    return found


def test_no_call_of_a_minion_reads_a_table_from_end_to_end(queue, clock):
    queue.put(range(50))

    def work():
        leases = queue.lease(10, TTL)
        queue.extend(leases, TTL)
        queue.ack(leases[::2])
        queue.nack([leases[1]])
        queue.nack([leases[3]], 5.0)
        queue.fail([(leases[5], Failure("exit 1", "no"))])
        clock.now += TTL
        queue.lease(10, TTL)
        queue.stats()

    found = plans(queue, work)
    assert len(found) > 10
    scans = {
        (line, statement)
        for statement, lines in found.items()
        for line in lines
        if line.startswith("SCAN") and line.split()[1] not in {"leases", "state", "CONSTANT"}
    }
    # `max(seq)` looks at the last row only, which SQLite calls a search
    assert not scans


# Many processes


def test_processes_that_fill_and_drain_at_once_lose_nothing(path, tmp_path):
    SqliteQueue(path).close()
    fillers, drainers = 2, 3

    def fill(which):
        queue = SqliteQueue(path)
        for start in range(0, 600, 100):
            queue.put({"n": n} for n in range(start + which * 50, start + which * 50 + 100))
        queue.close()

    def drain(which):
        queue = SqliteQueue(path)
        with open(tmp_path / f"done{which}", "w") as log:
            while not done.exists() or not queue.stats().drained:
                leases = queue.lease(7, 30.0, 0.02)
                log.writelines(f"{lease.task.param['n']}\n" for lease in leases)
                assert queue.ack(leases) == []
        queue.close()

    done = tmp_path / "filled"

    def start(work, which):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(which)
                code = 0
            finally:
                os._exit(code)
        return pid

    filling = [start(fill, which) for which in range(fillers)]
    draining = [start(drain, which) for which in range(drainers)]
    assert [os.waitpid(pid, 0)[1] for pid in filling] == [0] * fillers
    done.touch()
    assert [os.waitpid(pid, 0)[1] for pid in draining] == [0] * drainers
    ran = [int(n) for w in range(drainers) for n in (tmp_path / f"done{w}").read_text().split()]
    assert sorted(ran) == list(range(650))


def test_time_is_counted_from_the_boot_of_the_machine():
    assert 0 < boot_clock() <= boot_clock()
