"""execo's sweep folders as queues, beyond what every queue must do."""

import os
import subprocess
import sys
from collections import defaultdict

import pytest

from conformance import queue_suite
from conformance.queue_suite import QueueConformance
from maniple import owner
from maniple.errors import QueueError, StorageError
from maniple.queue import Failure, State
from maniple.queues.execo import ExecoQueue
from maniple.task import Task
from maniple.urls import open_queue
from sweeps import ParamSweeper, clean_environment, make_sweep, status, sweep

TTL = 300.0


class TestExeco(QueueConformance):
    def make(self, tmp_path, **time):
        return ExecoQueue(str(tmp_path / "sweeps"), **time)

    @pytest.fixture(autouse=True)
    def _slow(self, monkeypatch):
        # execo takes so long to load that the storm may be over before a minion says a word
        end = queue_suite.Minion.end

        def wait_first(minion):
            minion.process.wait()
            return end(minion)

        monkeypatch.setattr(queue_suite.Minion, "end", wait_first)
        monkeypatch.setattr(queue_suite, "check", check)


def check(everyone, tasks):
    """As the suite's, without an order among the runs of a task.

    execo syncs its files four times a task, so a call of `lease` may begin before a minion took a
    task that died with it, and end with this very task.
    """
    runs = defaultdict(list)
    acknowledged = {}
    for minion in everyone:
        for what, task, began, written in minion.read():
            if what == "leased":
                runs[task].append((began, minion))
            elif what == "returned":
                runs[task].remove((began, minion))
            else:
                assert task not in acknowledged
                acknowledged[task] = written
    assert len(runs) == tasks
    for task, mine in runs.items():
        assert all(began <= acknowledged.get(task, began) for began, _ in mine)
        assert sum(not minion.killed for _, minion in mine) <= 1


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sweeps"


@pytest.fixture
def opened(folder):
    queues = []

    def opens(**options):
        queues.append(ExecoQueue(str(folder), create=False, **options))
        return queues[-1]

    yield opens
    for queue in queues:
        queue.close()


# Opening


def test_an_existing_sweep_is_a_queue(folder, opened):
    make_sweep(folder, sweep({"a": [1, 2], "b": ["x"]}))
    leases = opened().lease(9, TTL)
    assert [lease.task.param for lease in leases] == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]


def test_the_default_folder_is_the_one_of_execos_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_sweep("sweeps", [1])
    queue = open_queue("execo:", create=False)
    assert queue.stats().waiting == 1
    queue.close()


def test_a_missing_folder_is_said_and_not_made(folder, opened):
    with pytest.raises(QueueError, match=r"there is no folder .*sweeps"):
        opened()
    assert not folder.exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_of_another_kind_is_refused_and_left_as_it_was(tmp_path, create):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(QueueError, match="not the folder of a ParamSweeper"):
        ExecoQueue(str(tmp_path), create=create)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_refused(tmp_path, create):
    (tmp_path / "sweeps").write_text("")
    with pytest.raises(QueueError, match="is a file"):
        ExecoQueue(str(tmp_path / "sweeps"), create=create)


def test_a_sweep_whose_params_were_not_saved_says_what_to_do(folder, opened):
    ParamSweeper(str(folder), sweeps=[1, 2])
    with pytest.raises(QueueError, match="save_sweeps=True"):
        opened()


@pytest.mark.parametrize("damage", [b"no pickle", b"\x80\x04"])
def test_a_damaged_sweep_is_one_line(folder, opened, damage):
    make_sweep(folder, [1])
    (folder / "sweeps").write_bytes(damage)
    with pytest.raises((QueueError, StorageError), match=r"damaged|cannot be used") as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_without_the_library_the_extra_is_named(folder):
    make_sweep(folder, [1])
    script = (
        "import sys; sys.modules['execo_engine'] = None\n"
        "from maniple.urls import open_queue\n"
        f"open_queue({f'execo:{folder}'!r})\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert "pip install 'maniple[execo]'" in ran.stderr.splitlines()[-1]


# Params


class Shape:
    """A class of a user's without a text of its own."""

    def __init__(self, sides):
        self.sides = sides

    def __eq__(self, other):
        return self.sides == other.sides

    def __hash__(self):
        return hash(self.sides)


@pytest.mark.parametrize(
    ("original", "param"),
    [
        (("a", 1), ["a", 1]),
        (float("inf"), "inf"),
        (frozenset([3, 1]), [1, 3]),
        (1 + 2j, "(1+2j)"),
        (None, None),
        (sweep({"x": [(1, 2)]})[0], {"x": [1, 2]}),
        (sweep({1: [2]})[0], {"1": 2}),
    ],
    ids=repr,
)
def test_what_a_sweep_holds_becomes_plain_and_the_same_is_marked_done(
    folder, opened, original, param
):
    make_sweep(folder, [original, "other"])
    queue = opened()
    (lease,) = [lease for lease in queue.lease(2, TTL) if lease.task.param == param]
    assert queue.original(lease) == original
    assert queue.ack([lease]) == []
    assert status(folder).done == {original}


def test_numbers_of_numpy_are_numbers(folder, opened):
    numpy = pytest.importorskip("numpy")
    make_sweep(folder, sweep({"x": numpy.arange(2), "y": [numpy.float64(0.5)]}))
    params = [lease.task.param for lease in opened().lease(9, TTL)]
    assert params == [{"x": 0, "y": 0.5}, {"x": 1, "y": 0.5}]


def test_objects_without_a_text_of_their_own_keep_their_task(folder, opened):
    make_sweep(folder, [Shape(3), Shape(4)])
    first, second = opened().records(), opened().records()
    assert {record.task.id for record in first} == {record.task.id for record in second}


# Beside other tools


def test_what_another_tool_has_in_progress_is_left_alone(folder, opened):
    other = make_sweep(folder, ["a", "b"])
    taken = other.get_next()
    queue = opened()
    (lease,) = queue.lease(9, TTL)
    assert queue.original(lease) != taken
    queue.ack([lease])
    assert queue.lease(9, TTL) == []
    assert queue.foreign() == 1
    assert queue.stats().drained
    assert queue.find(Task.of(taken).id).state is State.LEASED


def test_what_another_tool_has_in_progress_runs_again_when_it_is_named(folder, opened):
    taken = make_sweep(folder, ["a", "b"]).get_next()
    queue = opened()
    assert queue.retry() == 0
    assert queue.retry([Task.of(taken).id]) == 1
    assert queue.stats().waiting == 2


def test_what_another_tool_has_done_is_done(folder, opened):
    other = make_sweep(folder, ["a", "b"])
    queue = opened()
    done = other.get_next()
    other.done(done)
    assert queue.stats().done == 1
    assert queue.find(Task.of(done).id).state is State.DONE
    assert len(queue.lease(9, TTL)) == 1


def test_another_tool_sees_what_we_took_and_did(folder, opened):
    make_sweep(folder, ["a", "b", "c"])
    queue = opened()
    a, b = queue.lease(2, TTL)
    queue.ack([a])
    assert status(folder) == ({"c"}, {queue.original(b)}, {queue.original(a)})


def test_params_that_another_tool_adds_are_seen(folder, opened):
    make_sweep(folder, ["a"])
    queue = opened()
    queue.ack(queue.lease(9, TTL))
    ParamSweeper(str(folder)).set_sweeps(["a", "b"], save_sweeps=True)
    assert [lease.task.param for lease in queue.lease(9, TTL)] == ["b"]


def test_a_failed_param_is_skipped_for_execo_and_kept_by_us(folder, opened):
    make_sweep(folder, ["a", "b"])
    queue = opened()
    (lease,) = queue.lease(1, TTL)
    queue.fail([(lease, Failure("exit 1", "no"))])
    assert status(folder).in_progress == set()
    for someone in (queue, opened()):
        assert someone.stats().failed == 1
    assert [lease.task.param for lease in opened().lease(9, TTL)] == ["b"]


def test_a_failed_param_that_somebody_puts_back_is_leased_by_who_failed_it(folder, opened):
    make_sweep(folder, ["a"])
    queue = opened()
    queue.fail([(queue.lease(1, TTL)[0], Failure("exit 1", "no"))])
    assert opened().retry() == 1
    assert len(queue.lease(1, TTL)) == 1


# Stranded params


class Elsewhere:
    """The identity of a process on another machine: nobody here can tell if it lives."""

    def __init__(self, monkeypatch):
        self._name = "0-0.0-1-1-elsewhere"
        self._patch = monkeypatch

    def __enter__(self):
        self._patch.setattr(owner, "_cached", self._name)

    def __exit__(self, *_):
        self._patch.setattr(owner, "_cached", None)


def test_a_silent_owner_on_another_machine_is_watched_for_its_whole_lease(
    folder, opened, monkeypatch
):
    make_sweep(folder, ["a"])
    with Elsewhere(monkeypatch):
        away = opened(clock=lambda: 5.0)
    leases = away.lease(1, TTL)
    now = [1e6]
    queue = opened(clock=lambda: now[0])
    assert queue.lease(1, TTL) == []
    now[0] += 0.9 * TTL
    away.extend(leases, TTL)
    assert queue.lease(1, TTL) == []
    now[0] += 0.9 * TTL
    assert queue.lease(1, TTL) == []
    now[0] += 0.2 * TTL
    assert len(queue.lease(1, TTL)) == 1
    assert away.ack(leases) == leases


HOLDER = """
import sys, time
from maniple.urls import open_queue
queue = open_queue(sys.argv[1], create=False)
leases = queue.lease(1, 3600.0)
print(leases[0].task.param, flush=True)
time.sleep(600)
"""


def test_the_param_of_a_killed_process_runs_again_at_once(folder, opened):
    make_sweep(folder, ["a"])
    queue = opened()
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLDER, queue.url],
        stdout=subprocess.PIPE,
        env=clean_environment(),
    )
    with holder:
        assert holder.stdout.readline() == b"a\n"
        assert queue.lease(1, TTL) == []
        holder.kill()
    (lease,) = queue.lease(1, TTL)
    assert (lease.task.param, lease.task.attempt) == ("a", 1)


def test_a_death_between_our_note_and_execos_loses_nothing(folder, opened):
    make_sweep(folder, ["a"])
    queue, other = opened(), opened()
    (lease,) = queue.lease(1, TTL)
    ParamSweeper(str(folder)).cancel("a")
    # execo has lost it, the note says who has it: as long as the owner lives it is not taken
    assert other.lease(1, TTL) == []
    assert queue.ack([lease]) == []
    assert status(folder).done == {"a"}


def test_a_death_between_execos_word_and_our_note_does_not_repeat_what_is_done(folder, opened):
    make_sweep(folder, ["a", "b"])
    now = [0.0]
    queue = opened(clock=lambda: now[0])
    (lease,) = queue.lease(1, TTL)
    ParamSweeper(str(folder)).done(queue.original(lease))
    now[0] = 2 * TTL
    assert [lease.task.param for lease in queue.lease(9, TTL)] == ["b"]
    assert queue.stats().done == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(folder, opened):
    make_sweep(folder, [1])
    folder.chmod(0o500)
    with pytest.raises(QueueError, match="permission"):
        opened()
    folder.chmod(0o700)
