import io

import pytest
from rich.console import Console

from event_samples import T0, event, write_events
from maniple.queue import QueueStats
from maniple.stats.draw import draw
from maniple.stats.frame import read_frame
from maniple.stats.summary import summarise

QUEUE = ("sqlite:q.db", QueueStats(waiting=70, delayed=2, leased=3, done=20, failed=5))


@pytest.fixture
def summary(tmp_path):
    events = [
        event({"x": i}, at=i, took=0.1 + i / 10, uid=f"m{i % 3}", nodename=f"node-{i % 2}")
        for i in range(40)
    ]
    events += [
        event(
            {"x": 99}, at=40, error="Traceback\nValueError: [red]bad[/red] \x1b[5m", cause="exit 3"
        )
    ]
    write_events(tmp_path, *events)
    return summarise(read_frame(tmp_path), T0 + 45)


def text(drawing, **console):
    stream = io.StringIO()
    Console(file=stream, width=80, **{"markup": False, "highlight": False, **console}).print(
        drawing
    )
    return stream.getvalue()


def test_no_events_are_told_with_the_folder(tmp_path):
    summary = summarise(read_frame(tmp_path), T0)
    assert "no events yet in minion-report;" in text(draw(summary, directory="minion-report"))


def test_the_drawing_shows_counts_rate_durations_machines_and_failures(summary):
    shown = text(draw(summary, [QUEUE], directory="minion-report", now=T0 + 45))
    assert "40 done · 1 failed" in shown
    assert "4 minions on 2 machines" in shown
    for section in ("rate", "durations", "machines", "failures by cause", "last failures"):
        assert section in [line.strip() for line in shown.splitlines()]
    assert "node-0" in shown
    assert "exit 3" in shown


def test_a_queue_with_a_known_total_has_a_progress_bar_and_time_left(summary):
    shown = text(draw(summary, [QUEUE], now=T0 + 45))
    assert "25.0 % of 100" in shown
    assert "70 waiting · 2 delayed · 3 leased · 20 done · 5 failed" in shown
    assert "━" * 15 in shown
    assert " left" in shown


def test_a_queue_that_does_not_know_its_total_says_so(summary):
    unknown = ("execo:sweeps", QueueStats(None, None, 1, 4, None))
    shown = text(draw(summary, [unknown]))
    assert "total not known" in shown
    assert "? waiting · ? delayed · 1 leased · 4 done · ? failed" in shown


def test_a_bar_is_full_only_when_all_is_done(tmp_path):
    summary = summarise(read_frame(tmp_path), T0)
    almost = text(draw(summary, [("q:", QueueStats(1, 0, 0, 99_999, 0))]))
    full = text(draw(summary, [("q:", QueueStats(0, 0, 0, 100_000, 0))]))
    assert ("┈" in almost, "┈" in full) == (True, False)
    assert ("99.9 %" in almost, "100 %" in full) == (True, True)


def test_it_fits_eighty_columns(summary):
    shown = text(
        draw(summary, [QUEUE, ("sqlite:" + "q" * 200, QUEUE[1])], directory="d" * 200, now=T0)
    )
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_markup_and_escape_sequences_of_messages_have_no_effect(summary):
    shown = text(draw(summary), markup=True, force_terminal=False)
    assert "ValueError: [red]bad[/red] [5m" in shown
    assert "\x1b" not in shown


def test_colours_are_used_on_a_terminal_only(summary):
    assert "\x1b[" in text(draw(summary), force_terminal=True, _environ={"TERM": "xterm"})
    assert "\x1b[3" not in text(
        draw(summary), force_terminal=True, _environ={"TERM": "xterm", "NO_COLOR": "1"}
    )


def test_skipped_lines_are_told(tmp_path):
    (tmp_path / "m").write_bytes(b"damaged\n")
    assert "1 line was torn" in text(draw(summarise(read_frame(tmp_path), T0)))


def test_many_machines_are_cut_to_the_busiest(tmp_path):
    write_events(tmp_path, *(event(i, uid=f"m{i}", nodename=f"node-{i}") for i in range(12)))
    assert "and 4 more" in text(draw(summarise(read_frame(tmp_path), T0)))
