import pytest

from event_samples import event, write_events
from maniple.event import Step
from maniple.stats.frame import Follower, read_frame


def test_a_frame_has_a_row_per_event_and_a_column_per_field(tmp_path):
    write_events(
        tmp_path,
        event({"x": 1}, uid="a", nodename="n1", task="t1"),
        event({"x": 2}, uid="a", nodename="n1", task="t2", attempt=3, error="E: boom"),
    )
    frame = read_frame(tmp_path)
    assert len(frame) == 2
    assert frame.params == [b'{"x":1}', b'{"x":2}']
    assert list(frame.ok) == [1, 0]
    assert list(frame.attempts) == [1, 3]
    assert (frame.uids, frame.nodes) == (["a"], ["n1"])
    assert frame.failures == {1: ("E", "E: boom")}


def test_attempts_of_one_task_share_its_number_within_a_queue(tmp_path):
    queues = ["sqlite:a", "sqlite:a", "sqlite:b"]
    write_events(tmp_path, *(event(1, task="t", queue=queue) for queue in queues))
    frame = read_frame(tmp_path)
    one, again, elsewhere = frame.tasks
    assert one == again != elsewhere
    assert frame.queues == ["sqlite:a", "sqlite:b"]


def test_an_event_without_a_task_is_a_task_of_its_own(tmp_path):
    write_events(tmp_path, event(1), event(1))
    assert len(set(read_frame(tmp_path).tasks)) == 2


@pytest.mark.parametrize(
    ("cause", "error", "expected"),
    [
        ("timeout", "timeout after 3 s", "timeout"),
        ("", "Traceback ...\n  File ...\nValueError: too big", "ValueError"),
        ("", "numpy.linalg.LinAlgError: singular matrix\n", "LinAlgError"),
        ("", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("", "exit 3", "exit 3"),
        ("", "could not open: no such file", "could not open: no such file"),
        ("", "", "no message"),
    ],
)
def test_the_cause_is_the_events_own_or_the_exception_in_its_last_line(
    tmp_path, cause, error, expected
):
    write_events(tmp_path, event(1, cause=cause, error=error))
    assert read_frame(tmp_path).failures[0].cause == expected


def test_a_clock_that_was_set_back_gives_no_negative_duration(tmp_path):
    write_events(tmp_path, event(1, at=10, took=-5))
    frame = read_frame(tmp_path)
    assert frame.ends == frame.starts
    assert frame.steps == {"process": (1, 0.0)}


def test_steps_are_summed_by_name(tmp_path):
    steps = [Step("setup", 1.0, 1.5), Step("process", 1.5, 4.5)]
    write_events(tmp_path, event(1, atomic_actions=steps), event(2, atomic_actions=steps))
    assert read_frame(tmp_path).steps == {"setup": (2, 1.0), "process": (2, 6.0)}


def test_a_follower_adds_what_was_written_since(tmp_path):
    follower = Follower(tmp_path / "events")
    assert len(follower.refresh()) == 0
    write_events(tmp_path / "events", event(1, uid="a"))
    assert len(follower.refresh()) == 1
    write_events(tmp_path / "events", event(2, uid="a"), event(3, uid="b"))
    assert follower.refresh().params == [b"1", b"2", b"3"]


def test_a_follower_begins_anew_when_the_files_were_removed(tmp_path):
    write_events(tmp_path, event(1, uid="old"))
    follower = Follower(tmp_path)
    follower.refresh()
    (tmp_path / "old.jsonl").unlink()
    write_events(tmp_path, event(2, uid="new"))
    assert follower.refresh().params == [b"2"]
