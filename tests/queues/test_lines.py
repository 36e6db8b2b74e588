"""Lines of a file or of standard input as tasks, read as they are needed."""

import os
import threading

import pytest

from maniple.errors import NotSupportedError, ParamError, QueueError, UsageError
from maniple.queue import Failure
from maniple.queues.lines import LinesQueue
from maniple.task import Task
from maniple.urls import open_queue

TTL = 60.0


@pytest.fixture
def pipe():
    read, write = os.pipe()
    ends = {"read": read, "write": write}
    yield ends
    for end in ends.values():
        if end is not None:
            os.close(end)


def finish(pipe):
    os.close(pipe["write"])
    pipe["write"] = None


def params(leases):
    return [lease.task.param for lease in leases]


def file_of(tmp_path, data):
    path = tmp_path / "params.txt"
    path.write_bytes(data)
    return str(path)


def drain(queue):
    found = []
    while leases := queue.lease(3, TTL):
        found += params(leases)
        assert queue.ack(leases) == []
    return found


def test_each_line_is_a_task(tmp_path):
    queue = open_queue("file:" + file_of(tmp_path, b"a\nb c\n{x}\n"))
    leases = queue.lease(9, TTL)
    assert params(leases) == ["a", "b c", "{x}"]
    assert [lease.task.number for lease in leases] == [1, 2, 3]


def test_line_ends_are_cut_and_empty_lines_are_skipped(tmp_path):
    assert drain(LinesQueue(file_of(tmp_path, b"a\r\n\n\r\n  b \nlast"))) == ["a", "  b ", "last"]


def test_an_empty_file_is_a_drained_queue(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b""))
    assert queue.lease(1, TTL) == []
    assert queue.stats().drained


def test_equal_lines_run_once_each(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b"a\na\na\n"))
    leases = queue.lease(9, TTL)
    assert params(leases) == ["a", "a", "a"]
    assert len({lease.task.id for lease in leases}) == 3


def test_a_line_has_the_same_id_each_time(tmp_path):
    path = file_of(tmp_path, b"a\nb\n")
    first, second = ([lease.task.id for lease in LinesQueue(path).lease(2, TTL)] for _ in range(2))
    assert first == second == [Task.of("a", salt=1).id, Task.of("b", salt=2).id]


def test_bytes_that_are_not_text_survive(tmp_path):
    (name,) = drain(LinesQueue(file_of(tmp_path, b"caf\xe9.txt\n")))
    assert os.fsencode(name) == b"caf\xe9.txt"


def test_a_line_may_be_longer_than_what_is_read_at_once(tmp_path):
    long = "x" * 1_000_000
    assert drain(LinesQueue(file_of(tmp_path, f"a\n{long}\nb\n".encode()))) == ["a", long, "b"]


def test_lines_may_be_json(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b'{"x": 1}\n[1, 2]\n"a"\n'), decoder="json")
    assert drain(queue) == [{"x": 1}, [1, 2], "a"]


def test_a_line_that_is_no_json_is_named_and_the_others_go_on(tmp_path):
    path = file_of(tmp_path, b'1\n\n{"x": \n2\nNaN\n3\n')
    queue = LinesQueue(path, decoder="json")
    found, errors = [], []
    while not queue.stats().drained:
        try:
            leases = queue.lease(10, TTL)
        except ParamError as error:
            errors.append(str(error))
        else:
            found += params(leases)
            queue.ack(leases)
    assert found == [1, 2, 3]
    assert [error.split(" of ")[0] for error in errors] == ["line 3", "line 5"]
    assert all(path in error and "\n" not in error for error in errors)


def test_the_first_task_is_leased_before_the_input_has_ended(pipe):
    queue = LinesQueue(source=pipe["read"])
    os.write(pipe["write"], b"a\nb")
    assert params(queue.lease(9, TTL)) == ["a"]
    assert queue.lease(9, TTL) == []
    os.write(pipe["write"], b"c\n")
    assert params(queue.lease(9, TTL)) == ["bc"]


def test_the_queue_is_not_drained_while_the_input_is_open(pipe):
    queue = LinesQueue(source=pipe["read"])
    assert not queue.stats().drained
    os.write(pipe["write"], b"a\n")
    queue.ack(queue.lease(1, TTL))
    assert not queue.stats().drained
    finish(pipe)
    assert queue.lease(1, TTL) == []
    assert queue.stats().drained


def test_waiting_ends_when_a_line_arrives(pipe):
    queue = LinesQueue(source=pipe["read"])
    timer = threading.Timer(0.05, os.write, (pipe["write"], b"a\n"))
    timer.start()
    assert params(queue.lease(1, TTL, wait=300.0)) == ["a"]
    timer.join()


def test_waiting_ends_when_a_delay_does_though_the_input_is_silent(pipe):
    queue = LinesQueue(source=pipe["read"])
    os.write(pipe["write"], b"a\n")
    queue.nack(queue.lease(1, TTL), delay=0.05)
    assert params(queue.lease(1, TTL, wait=300.0)) == ["a"]


def test_no_more_is_read_than_needed(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b"a\n" * 10))
    assert len(queue.lease(3, TTL)) == 3
    assert len(list(queue.records())) == 3


def test_tasks_are_given_back_and_set_aside_as_in_any_queue(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b"a\nb\n"))
    a, b = queue.lease(2, TTL)
    queue.nack([a])
    queue.fail([(b, Failure("exit 1", "no"))])
    (again,) = queue.lease(9, TTL)
    assert (again.task.param, again.task.attempt) == ("a", 2)
    assert queue.extend([again], TTL) == []
    assert queue.ack([again]) == []
    assert queue.find("2").failure.cause == "exit 1"
    stats = queue.stats()
    assert (stats.waiting, stats.done, stats.failed) == (0, 1, 1)
    assert queue.retry() == 1
    assert params(queue.lease(9, TTL)) == ["b"]


def test_what_was_read_is_forgotten_on_request(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b"a\n"))
    queue.nack(queue.lease(1, TTL))
    assert queue.purge() == 1
    assert queue.lease(1, TTL) == []


def test_nothing_can_be_put(tmp_path):
    with pytest.raises(NotSupportedError, match="cannot add tasks to"):
        LinesQueue(file_of(tmp_path, b"")).put(["a"])


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(QueueError, match="cannot read params from .*nowhere: No such file"):
        LinesQueue(str(tmp_path / "nowhere"))


def test_a_folder_is_no_file_of_lines(tmp_path):
    with pytest.raises(QueueError, match="it is a folder"):
        LinesQueue(str(tmp_path))


def test_an_unknown_decoder_is_named(tmp_path):
    with pytest.raises(UsageError, match="no decoder 'xml'.*identity, json"):
        LinesQueue(file_of(tmp_path, b""), decoder="xml")


def test_closing_closes_the_file_once(tmp_path):
    queue = LinesQueue(file_of(tmp_path, b"a\n"))
    queue.close()
    queue.close()


def test_a_closed_queue_leaves_a_source_open(pipe):
    LinesQueue(source=pipe["read"]).close()
    assert os.fstat(pipe["read"])
