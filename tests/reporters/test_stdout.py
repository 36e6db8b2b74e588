import contextlib
import io
import time

import msgspec
import pytest

from event_samples import T0, event
from maniple.errors import StorageError
from maniple.reporter import Reporter
from maniple.reporters.stdout import StdoutReporter


def lines_of(*events):
    stream = io.StringIO()
    reporter = StdoutReporter(stream)
    assert isinstance(reporter, Reporter)
    for each in events:
        reporter.report(each)
    reporter.close()
    return stream.getvalue().splitlines()


def test_a_line_tells_time_minion_param_duration_and_ok():
    (line,) = lines_of(event({"x": 1}, took=0.25))
    clock = time.strftime("%H:%M:%S", time.localtime(T0))
    assert line == f'{clock}  minion-1  {{"x":1}}  0.250 s  ok'


def test_a_failure_shows_the_last_line_of_its_message():
    error = "Traceback (most recent call last):\n  ...\nValueError: too big\n"
    (line,) = lines_of(event(1, error=error))
    assert line.endswith("failed: ValueError: too big")


def test_a_failure_without_a_message_shows_its_cause():
    (line,) = lines_of(event(1, error="", cause="timeout"))
    assert line.endswith("failed: timeout")


def test_a_param_may_come_as_json_or_as_any_object():
    shown = [
        line.split("  ")[2]
        for line in lines_of(event(msgspec.Raw(b"[1,2]")), event({3, 4}), event(object))
    ]
    assert shown == ["[1,2]", "[3,4]", "<class 'object'>"]


def test_without_a_stream_it_prints_to_standard_output(capsys):
    reporter = StdoutReporter()
    reporter.report(event("a"))
    assert capsys.readouterr().out == ""
    reporter.flush()
    assert '"a"' in capsys.readouterr().out


def test_a_param_that_the_stream_cannot_show_is_escaped():
    raw = io.BytesIO()
    reporter = StdoutReporter(io.TextIOWrapper(raw, encoding="ascii"))
    reporter.report(event("é"))
    reporter.flush()
    assert b"\\xe9" in raw.getvalue()


def test_a_stream_that_takes_no_more_is_one_clear_error_and_costs_its_lines_only():
    stream = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    reporter = StdoutReporter(stream)
    reporter.report(event())
    with pytest.raises(StorageError, match=r"cannot print events to /dev/full: No space left"):
        reporter.flush()
    reporter.flush()
    with contextlib.suppress(OSError):
        stream.close()


def test_a_closed_stream_is_one_clear_error():
    stream = io.StringIO()
    stream.close()
    reporter = StdoutReporter(stream)
    reporter.report(event())
    with pytest.raises(StorageError, match=r"cannot print events to the stream: .*closed"):
        reporter.flush()
