"""What a queue in a shared folder does beyond the conformance suite."""

import errno
import os

import pytest

from maniple.errors import ParamError, QueueError, StorageError
from maniple.queue import MAX_LAPSES, Failure, State
from maniple.queues.folder import SHARE_AFTER, SUSPECT_LAPSES, FolderQueue
from maniple.urls import open_queue
from queues.crashing import Disk

TTL = 10.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "q")


@pytest.fixture
def queue(path, clock):
    return FolderQueue(path, clock=clock, chunk=4)


def params(leases):
    return [lease.task.param for lease in leases]


# Opening


def test_a_folder_is_made_with_all_that_leads_to_it(tmp_path):
    queue = open_queue(f"dir:{tmp_path}/a/b")
    assert queue.url == f"dir:{tmp_path}/a/b"
    assert queue.put(["x"]) == 1


def test_an_empty_folder_becomes_a_queue(tmp_path):
    assert FolderQueue(str(tmp_path)).put(["x"]) == 1


def test_a_queue_that_does_not_exist_is_named_with_what_to_do(path):
    with pytest.raises(QueueError, match="there is no queue in .*maniple sweep"):
        FolderQueue(path, create=False)
    assert not os.path.exists(path)


def test_an_empty_folder_is_no_queue_unless_it_may_become_one(tmp_path):
    with pytest.raises(QueueError, match="there is no queue in"):
        FolderQueue(str(tmp_path), create=False)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(QueueError, match="is not a maniple queue, and not empty"):
        FolderQueue(str(tmp_path))
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "q").write_text("")
    with pytest.raises(QueueError, match="is no folder"):
        FolderQueue(str(tmp_path / "q"))


def test_a_path_through_a_file_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="cannot open a queue in .*: Not a directory"):
        FolderQueue(str(tmp_path / "file" / "q"))


def test_a_url_without_a_path_is_refused():
    with pytest.raises(QueueError, match="dir:PATH"):
        open_queue("dir:")


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "other", "version": 1}', '{"kind": 1'])
def test_a_marker_of_something_else_is_no_queue(tmp_path, text):
    (tmp_path / "maniple.json").write_text(text)
    with pytest.raises(QueueError, match="is not a maniple queue"):
        FolderQueue(str(tmp_path))


def test_a_queue_of_a_later_version_asks_for_an_upgrade(queue, path):
    marker = os.path.join(path, "maniple.json")
    with open(marker, "w") as file:
        file.write('{"kind": "maniple queue folder", "version": 99}')
    with pytest.raises(QueueError, match=r"later maniple \(format 99.*upgrade"):
        FolderQueue(path)


# Filling


def test_files_grow_with_the_queue(path, clock):
    # what waits for long to be written is written in smaller files
    queue = FolderQueue(path, clock=clock)
    queue.put(range(6000))
    counts = [int(name.rpartition("-")[2]) for name in sorted(os.listdir(f"{path}/ready"))]
    assert counts[:2047] == [1] * 2047
    assert counts == sorted(counts[:-1]) + counts[-1:]
    assert max(counts) == 5


def test_large_params_do_not_share_a_file(path, clock):
    queue = FolderQueue(path, clock=clock, chunk=100)
    queue.put("x" * 600_000 + str(i) for i in range(4))
    assert len(os.listdir(f"{path}/ready")) == 2


def test_what_came_before_a_bad_param_is_kept(queue):
    with pytest.raises(ParamError):
        queue.put([1, 2, object(), 4])
    assert queue.stats().waiting == 2


def test_minions_lease_while_the_rest_is_still_being_put(path, clock):
    queue, other = (FolderQueue(path, clock=clock) for _ in range(2))
    seen = []

    def slowly():
        for number in range(4):
            clock.now += 2.0
            yield number
            seen.append(len(other.lease(9, 1e6)))

    assert queue.put(slowly()) == 4
    assert sum(seen) == 4


# Sharing a file of tasks


def test_the_rest_of_a_file_goes_to_others_when_nothing_else_is_ready(queue, path, clock):
    queue.put(range(4))
    leases = queue.lease(1, TTL)
    other = FolderQueue(path, clock=clock)
    assert other.lease(1, TTL) == []
    clock.now += SHARE_AFTER + 0.1
    queue.extend(leases, TTL)
    assert params(other.lease(9, TTL)) == [1, 2, 3]
    assert queue.ack(leases) == []


def test_the_rest_of_a_file_stays_while_others_are_ready(queue, path, clock):
    queue.put(range(8))
    leases = queue.lease(1, TTL)
    clock.now += SHARE_AFTER + 0.1
    queue.extend(leases, TTL)
    assert params(FolderQueue(path, clock=clock).lease(9, TTL)) == [4, 5, 6, 7]
    assert params(queue.lease(9, TTL)) == [1, 2, 3]


def test_closing_gives_back_what_was_not_handed_out(queue, path, clock):
    queue.put(range(4))
    leases = queue.lease(1, TTL)
    queue.close()
    assert params(FolderQueue(path, clock=clock).lease(9, TTL)) == [1, 2, 3]
    assert queue.ack(leases) == []


def test_an_idle_minion_leaves_no_trace_when_it_closes(queue, path):
    queue.lease(1, TTL)
    assert len(os.listdir(f"{path}/minions")) == 1
    queue.close()
    assert os.listdir(f"{path}/minions") == []


# Deaths


def test_tasks_that_were_not_handed_out_do_not_suffer_from_a_death(path, clock):
    first = FolderQueue(path, clock=clock, chunk=20)
    first.put(range(20))
    first.lease(1, TTL)
    for _ in range(MAX_LAPSES):
        watcher = FolderQueue(path, clock=clock)
        watcher.lease(0, TTL)
        assert watcher.lease(1, TTL) == []
        clock.now += 2 * TTL
        assert params(watcher.lease(1, TTL)) == [0]
    last = FolderQueue(path, clock=clock)
    assert last.lease(1, TTL) == []
    clock.now += 2 * TTL
    assert params(last.lease(20, TTL)) == list(range(1, 20))
    assert [r.task.param for r in last.records(State.FAILED)] == [0]


def test_a_suspect_is_handed_out_alone(queue, clock):
    queue.put(range(6))
    for _ in range(SUSPECT_LAPSES):
        assert params(queue.lease(2, TTL)) == [0, 1]
        clock.now += 2 * TTL
    assert params(queue.lease(9, TTL)) == [0]
    assert params(queue.lease(9, TTL)) == [1]
    assert params(queue.lease(9, TTL)) == [2, 3, 4, 5]


def test_a_silent_minion_is_noticed_while_there_is_other_work(queue, path, clock):
    queue.put(range(40))
    queue.lease(4, TTL)
    other = FolderQueue(path, clock=clock)
    found = []
    for _ in range(6):
        leases = other.lease(4, TTL)
        found += params(leases)
        other.ack(leases)
        clock.now += TTL / 2
    assert {0, 1, 2, 3} <= set(found)
    assert len(found) < 40


# What goes wrong


def test_a_damaged_file_is_set_aside_and_told_once(queue, path, caplog):
    queue.put(range(12))
    victim = sorted(os.listdir(f"{path}/ready"))[1]
    with open(f"{path}/ready/{victim}", "r+b") as file:
        file.truncate(30)
    assert params(queue.lease(99, TTL)) == [0, 1, 2, 3, 8, 9, 10, 11]
    with pytest.raises(StorageError, match="1 damaged file.*damaged/"):
        queue.lease(99, TTL)
    assert queue.lease(99, TTL) == []
    assert victim in caplog.text
    assert len(os.listdir(f"{path}/damaged")) == 1


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", range(1, 16))
def test_a_full_disk_while_filling_is_told_and_leaves_nothing_half_written(
    queue, path, monkeypatch, step
):
    queue.put(range(5))
    disk = Disk(monkeypatch)
    disk.at(step, full)
    try:
        queue.put(range(20))
    except StorageError as error:
        assert "No space left on device; make room" in str(error)
        assert path in str(error)
    disk.off()
    queue.put(range(20))
    assert params(queue.lease(99, TTL)) == list(range(20))


def test_a_full_disk_while_acknowledging_is_told_and_the_task_comes_back(queue, clock, monkeypatch):
    queue.put(range(4))
    leases = queue.lease(4, TTL)
    disk = Disk(monkeypatch)
    for step in range(1, 4):
        disk.at(step, full)
        try:
            queue.ack(leases[:1])
        except StorageError as error:
            assert "make room" in str(error)
    disk.off()
    assert queue.ack(leases[1:]) == []
    assert queue.stats().drained or params(queue.lease(9, TTL)) == [0]


def test_a_half_written_record_is_taken_back(queue, path, clock, monkeypatch):
    queue.put(range(4))
    leases = queue.lease(4, TTL)
    disk = Disk(monkeypatch)

    def half(_, call, args):
        disk.at(1, full)
        return call(args[0], args[1][:5])

    disk.at(2, half)
    with pytest.raises(StorageError, match="make room"):
        queue.ack(leases[:2])
    disk.off()
    assert queue.ack(leases[2:3]) == []
    other = FolderQueue(path, clock=clock)
    other.lease(0, TTL)
    assert other.lease(9, TTL) == []
    clock.now += 2 * TTL
    assert params(other.lease(9, TTL)) == [0, 1, 3]


def test_a_folder_that_may_not_be_written_is_named(queue, path, monkeypatch):
    queue.put(["a"])

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    disk = Disk(monkeypatch)
    disk.at(1, read_only)
    with pytest.raises(QueueError, match="cannot use the queue in .*Read-only file system"):
        queue.lease(1, TTL)


def test_a_folder_that_was_removed_is_named(queue, path):
    queue.put(["a"])
    os.rename(path, path + ".gone")
    for call in (queue.stats, lambda: queue.put(["b"]), lambda: queue.lease(1, TTL)):
        with pytest.raises(StorageError, match=f"the queue in {path} is damaged or gone"):
            call()
    queue.close()


def test_an_interrupted_retry_leaves_failed_tasks_failed(queue, path, clock, monkeypatch):
    queue.put("ab")
    queue.fail([(lease, Failure("exit 1", "no")) for lease in queue.lease(2, TTL)])
    disk = Disk(monkeypatch)
    # the heartbeat is fresh: the first change is the claim, the second one fails
    disk.at(2, full)
    with pytest.raises(StorageError):
        queue.retry()
    disk.off()
    queue.close()
    other = FolderQueue(path, clock=clock)
    assert other.lease(9, TTL) == []
    clock.now += 100.0
    assert other.lease(9, TTL) == []
    assert [r.failure.cause for r in other.records(State.FAILED)] == ["exit 1", "exit 1"]
