import json
import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_samples import T0, event, write_events
from maniple.queue import QueueStats
from maniple.stats.frame import Frame, read_frame
from maniple.stats.scan import Line
from maniple.stats.summary import percentile, remaining_time, summarise


def summary_of(tmp_path, *events, now=T0 + 1000, **options):
    write_events(tmp_path, *events)
    return summarise(read_frame(tmp_path), now, **options)


def frame_of(times):
    frame = Frame()
    frame.extend([Line("m", start, end) for start, end in times])
    return frame


def test_no_events_give_zeros():
    summary = summarise(Frame(), T0)
    assert (summary.events, summary.done, summary.failed, summary.minions) == (0, 0, 0, 0)
    assert summary.durations is summary.rate is summary.first_start is None


def test_tasks_are_counted_once_however_often_they_ran(tmp_path):
    summary = summary_of(
        tmp_path,
        event(1, task="t1", error="no", at=0),
        event(1, task="t1", attempt=2, at=2),
        event(2, task="t2", error="no", at=4),
        event(2, task="t2", attempt=2, error="no", at=6),
        event(3, task="t3", at=8),
    )
    assert summary.events == 5
    assert (summary.done, summary.failed) == (2, 1)
    assert summary.failed_attempts == 3
    assert summary.retried == 2
    assert summary.params == 3


def test_without_task_ids_every_event_is_a_task(tmp_path):
    summary = summary_of(tmp_path, event(1), event(1), event(2, error="no"))
    assert (summary.done, summary.failed, summary.params) == (2, 1, 2)


def test_a_task_that_ended_well_is_done_even_if_a_late_twin_failed(tmp_path):
    summary = summary_of(tmp_path, event(1, task="t"), event(1, task="t", at=5, error="no"))
    assert (summary.done, summary.failed) == (1, 0)


def test_throughput_is_told_overall_and_for_the_last_window(tmp_path):
    events = [event(i, at=i, took=1) for i in (0, 1, 97, 98, 99)]
    summary = summary_of(tmp_path, *events, now=T0 + 100, window=10)
    assert summary.elapsed == 100
    assert summary.throughput == pytest.approx(0.05)
    assert summary.recent_throughput == pytest.approx(0.3)
    assert summary.busy == pytest.approx(5)


def test_a_sweep_younger_than_the_window_is_measured_since_its_start(tmp_path):
    summary = summary_of(tmp_path, event(1), event(2, at=1), now=T0 + 4, window=60)
    assert summary.recent_throughput == pytest.approx(0.5)


def test_minions_are_active_when_they_ended_something_lately(tmp_path):
    summary = summary_of(
        tmp_path,
        event(1, uid="a", at=0),
        event(2, uid="b", at=95),
        event(3, uid="c", nodename="node-2", at=98),
        now=T0 + 100,
        window=10,
    )
    assert (summary.minions, summary.active_minions, summary.machines) == (3, 2, 2)


def test_machines_and_minions_tell_how_busy_they_were(tmp_path):
    summary = summary_of(
        tmp_path,
        event(1, uid="a", at=0, took=2),
        event(2, uid="a", at=8, took=2, error="no"),
        event(3, uid="b", nodename="node-2", at=0, took=5),
    )
    machine = {each.name: each for each in summary.per_machine}
    assert machine["node-1"].busy_fraction == pytest.approx(0.4)
    assert machine["node-2"].busy_fraction == 1.0
    assert (machine["node-1"].events, machine["node-1"].failed) == (2, 1)
    assert [each.uid for each in summary.per_minion] == ["a", "b"]
    assert summary.per_minion[0].busy == pytest.approx(4)


def test_failures_are_counted_by_cause_the_most_frequent_first(tmp_path):
    causes = ["timeout", "exit 3", "exit 3"]
    summary = summary_of(tmp_path, *(event(1, cause=cause, error=cause) for cause in causes))
    assert list(summary.causes.items()) == [("exit 3", 2), ("timeout", 1)]


def test_the_last_failures_come_with_param_and_message(tmp_path):
    events = [event({"x": i}, at=i, error=f"Traceback\nValueError: {i}") for i in range(8)]
    failures = summary_of(tmp_path, *events).last_failures
    assert [each.message for each in failures] == [f"ValueError: {i}" for i in (7, 6, 5, 4, 3)]
    assert bytes(failures[0].param) == b'{"x":7}'


def test_the_slowest_attempts_come_first(tmp_path):
    summary = summary_of(
        tmp_path, *(event(i, took=took) for i, took in enumerate([3, 1, 9, 9, 2, 5, 4]))
    )
    assert [each.duration for each in summary.slowest] == [9, 9, 5, 4, 3]
    assert [bytes(each.param) for each in summary.slowest[:3]] == [b"2", b"3", b"5"]


def test_steps_have_their_mean(tmp_path):
    summary = summary_of(tmp_path, event(1, took=1), event(2, took=3))
    assert summary.steps["process"].count == 2
    assert summary.steps["process"].mean == pytest.approx(2)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60))
def test_percentiles_are_exact(values):
    ordered = sorted(values)
    cuts = statistics.quantiles(ordered, n=100, method="inclusive")
    for hundredth in (50, 90, 99):
        assert percentile(ordered, hundredth / 100) == pytest.approx(cuts[hundredth - 1], abs=1e-9)


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=40))
def test_every_duration_is_in_one_bin_of_the_histogram(durations):
    figures = summarise(frame_of([(0.0, took) for took in durations]), 0.0).durations
    assert sum(each.count for each in figures.histogram) == len(durations)
    assert len(figures.histogram) <= 16
    for left, right in zip(figures.histogram, figures.histogram[1:], strict=False):
        assert left.high == right.low
    assert figures.min == min(durations)
    assert figures.max == max(durations)


def test_round_durations_begin_their_bin():
    figures = summarise(frame_of([(0.0, took) for took in (0.1, 1.0, 10.0)]), 0.0).durations
    lows = [each.low for each in figures.histogram if each.count]
    assert lows == pytest.approx([0.1, 1.0, 10.0])


@given(st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 1e5)), min_size=1, max_size=40))
def test_every_event_is_in_one_bin_of_the_rate_and_all_busy_time_in_the_activity(rows):
    summary = summarise(frame_of([(T0 + at, T0 + at + took) for at, took in rows]), T0)
    rate = summary.rate
    assert sum(rate.ok) == len(rows)
    assert len(rate.ok) == len(rate.failed) <= 60
    (minion,) = summary.per_minion
    assert len(minion.activity) == len(rate.ok)
    assert all(0 <= share <= 1 for share in minion.activity)


def test_the_rate_counts_ends_in_bins_of_equal_width(tmp_path):
    events = [event(i, at=i, took=0.5, error="no" if i == 3 else None) for i in range(10)]
    rate = summary_of(tmp_path, *events).rate
    ends = [int((i + 0.5) / rate.width) for i in range(10)]
    assert [index for index, count in enumerate(rate.ok) if count] == [
        e for i, e in enumerate(ends) if i != 3
    ]
    assert rate.failed[ends[3]] == 1


def test_an_attempt_that_spans_several_bins_is_activity_in_each(tmp_path):
    summary = summary_of(
        tmp_path, event(1, at=0, took=1), event(2, at=10, took=20), event(3, at=30, took=0)
    )
    activity = summary.per_minion[0].activity
    assert sum(activity) * summary.rate.width == pytest.approx(21, abs=0.1)


def test_a_summary_is_valid_json_whatever_the_params_hold():
    frame = Frame()
    for param in (b"NaN", b'"\xff"', b'{"x": 1}'):
        frame.extend([Line("m", 0.0, 1.0, msgspec.Raw(param), error="no")])
    written = json.loads(msgspec.json.encode(summarise(frame, 2.0)))
    assert [each["param"] for each in written["slowest"]] == ["NaN", "\ufffd", {"x": 1}]


def test_time_left_follows_from_the_recent_rate_and_the_share_of_retries(tmp_path):
    summary = summary_of(
        tmp_path,
        event(1, task="a", at=0, error="no"),
        event(1, task="a", at=1, attempt=2),
        now=T0 + 2,
    )
    queue = ("sqlite:q", QueueStats(waiting=9, delayed=0, leased=1, done=1, failed=0))
    assert summary.recent_throughput == pytest.approx(1)
    assert remaining_time(summary, [queue]) == pytest.approx(20)


def test_time_left_is_unknown_without_a_queue_or_without_a_recent_end(tmp_path):
    queue = ("sqlite:q", QueueStats(waiting=9, delayed=0, leased=1, done=1, failed=0))
    summary = summary_of(tmp_path, event(1))
    assert remaining_time(summary, []) is None
    assert remaining_time(summary, [queue]) is None
    assert remaining_time(summarise(Frame(), T0), [queue]) is None
