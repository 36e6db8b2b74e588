import io
from contextlib import nullcontext

import pytest

from maniple.minion.progress import PAINT_SECONDS, PLAIN_SECONDS, Progress, duration
from maniple.queue import QueueStats


class Terminal(io.StringIO):
    def isatty(self):
        return True


def stats(waiting=0, delayed=0, leased=0, done=0, failed=0):
    return QueueStats(waiting, delayed, leased, done, failed)


def test_a_line_tells_what_is_done_how_fast_and_when_it_will_end():
    progress = Progress(io.StringIO(), nullcontext, 0.0)
    progress.line(stats(waiting=100), 0.0, more=False)
    line = progress.line(stats(waiting=57, leased=2, delayed=1, done=38, failed=2), 4.0, more=False)
    assert line == "40 of 100 tasks (40%), 2 failed, 2 in work, 1 to retry, 10.0/s, ETA 6.0 s"


def test_while_more_is_coming_there_is_no_share_and_no_eta():
    progress = Progress(io.StringIO(), nullcontext, 0.0)
    progress.line(stats(waiting=5), 0.0, more=True)
    assert progress.line(stats(waiting=5, done=5), 1.0, more=True) == "5 of 10+ tasks, 5.0/s"


def test_where_the_queue_cannot_count_only_what_has_ended_is_told():
    progress = Progress(io.StringIO(), nullcontext, 0.0)
    progress.line(stats(waiting=None), 0.0, more=False)
    line = progress.line(stats(waiting=None, leased=None, done=30, failed=2), 4.0, more=False)
    assert line == "32 tasks ended, 2 failed, 8.0/s"
    line = progress.line(stats(waiting=7, leased=None, done=30), 4.0, more=False)
    assert line.startswith("30 tasks ended, 7 waiting")


def test_the_rate_is_that_of_the_last_seconds():
    progress = Progress(io.StringIO(), nullcontext, 0.0)
    for second in range(31):
        line = progress.line(
            stats(waiting=5000, done=100 * min(second, 10)), float(second), more=False
        )
    assert "/s" not in line


def test_nothing_to_do_is_all_done():
    assert "(100%)" in Progress(io.StringIO(), nullcontext, 0.0).line(stats(), 0.0, more=False)


@pytest.mark.parametrize(
    ("stream", "pause"), [(Terminal, PAINT_SECONDS), (io.StringIO, PLAIN_SECONDS)]
)
def test_a_terminal_is_repainted_often_and_a_log_gets_a_line_now_and_then(stream, pause):
    progress = Progress(stream(), nullcontext, 100.0)
    assert not progress.due(100.0 + pause * 0.9)
    assert progress.due(100.0 + pause)
    progress.show(stats(waiting=1), 100.0 + pause, more=False)
    assert not progress.due(100.0 + pause * 1.9)


def test_a_terminal_has_one_line_that_goes_away():
    terminal = Terminal()
    progress = Progress(terminal, nullcontext, 0.0)
    progress.show(stats(waiting=1, done=1), 1.0, more=False)
    progress.clear()
    assert terminal.getvalue() == "\r\x1b[K[############............]  1 of 2 tasks (50%)\r\x1b[K"


def test_a_log_has_whole_lines():
    log = io.StringIO()
    progress = Progress(log, nullcontext, 0.0)
    progress.show(stats(waiting=1, done=1), 1.0, more=False)
    progress.clear()
    assert log.getvalue() == "maniple: 1 of 2 tasks (50%)\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0421, "42 ms"),
        (1.25, "1.2 s"),
        (42, "42 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_time_spans_are_worded_in_two_units(seconds, text):
    assert duration(seconds) == text
