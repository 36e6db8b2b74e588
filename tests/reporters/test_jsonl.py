import json
import os
import sys

import msgspec
import pytest

from event_samples import T0, event, write_events
from maniple.errors import MissingExtraError, StorageError
from maniple.reporter import Reporter
from maniple.reporters import jsonl
from maniple.reporters.jsonl import JsonlReporter


def objects(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_minion_has_its_file_with_one_object_per_line(tmp_path):
    write_events(tmp_path, event(1, uid="a"), event(2, uid="b"), event(3, uid="a"))
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "b.jsonl"]
    assert [each["param"] for each in objects(tmp_path / "a.jsonl")] == [1, 3]


def test_an_object_holds_what_the_earlier_tool_wrote(tmp_path):
    write_events(tmp_path, event({"x": 1}, error="boom"))
    (written,) = objects(tmp_path / "minion-1.jsonl")
    assert written == {
        "uid": "minion-1",
        "generation": 1,
        "start": T0,
        "end": T0 + 1,
        "param": {"x": 1},
        "error": "boom",
        "atomic_actions": [{"name": "process", "start": T0, "end": T0 + 1}],
        "nodename": "node-1",
    }


def test_nothing_is_on_disk_before_flush_and_everything_after(tmp_path):
    folder = tmp_path / "events"
    reporter = JsonlReporter(folder)
    assert isinstance(reporter, Reporter)
    reporter.flush()
    reporter.report(event(1))
    assert not folder.exists()
    reporter.flush()
    assert len(objects(folder / "minion-1.jsonl")) == 1
    reporter.close()


def test_a_later_reporter_appends(tmp_path):
    write_events(tmp_path, event(1))
    write_events(tmp_path, event(2))
    assert [each["param"] for each in objects(tmp_path / "minion-1.jsonl")] == [1, 2]


def test_a_line_torn_by_a_kill_does_not_swallow_the_next_one(tmp_path):
    file = tmp_path / "minion-1.jsonl"
    file.write_bytes(b'{"uid":"minion-1","gen')
    write_events(tmp_path, event(2))
    assert file.read_bytes().startswith(b'{"uid":"minion-1","gen\n{')
    assert [each.param for each in JsonlReporter(tmp_path).read()] == [2]


def test_a_param_that_changes_after_the_report_is_kept_as_it_was(tmp_path):
    param = {"x": 1}
    reporter = JsonlReporter(tmp_path)
    reporter.report(event(param))
    param["x"] = 2
    reporter.close()
    assert reporter.read()[0].param == {"x": 1}


def test_raw_json_is_written_as_it_is_on_one_line(tmp_path):
    write_events(tmp_path, event(msgspec.Raw(b'{\n "x": 1\n}')))
    assert objects(tmp_path / "minion-1.jsonl")[0]["param"] == {"x": 1}


@pytest.mark.parametrize("param", [10**30, "file-\udcff", ["\udcff", 2**70]])
def test_rare_params_come_back_as_they_were(tmp_path, param):
    write_events(tmp_path, event(param))
    assert JsonlReporter(tmp_path).read()[0].param == param


def test_a_param_that_json_cannot_hold_is_told_by_its_repr(tmp_path):
    class Broken:
        def __repr__(self):
            raise RuntimeError

    write_events(tmp_path, event(object), event(Broken()), event(1, error="bad \udcff name"))
    first, second, third = JsonlReporter(tmp_path).read()
    assert first.param == "<class 'object'>"
    assert second.param == "<Broken>"
    assert third.error == "bad \\udcff name"


def test_a_uid_cannot_lead_out_of_the_folder_or_hide_its_file(tmp_path):
    folder = tmp_path / "events"
    write_events(folder, event(1, uid="../up"), event(2, uid=".hidden"))
    assert os.listdir(tmp_path) == ["events"]
    assert sorted(each.uid for each in JsonlReporter(folder).read()) == ["../up", ".hidden"]


def test_a_folder_emptied_in_mid_work_is_filled_again(tmp_path):
    reporter = JsonlReporter(tmp_path / "events")
    reporter.report(event(1))
    reporter.flush()
    (tmp_path / "events" / "minion-1.jsonl").unlink()
    (tmp_path / "events").rmdir()
    reporter.report(event(2))
    reporter.close()
    assert [each.param for each in reporter.read()] == [2]


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "events").write_text("")
    reporter = JsonlReporter(tmp_path / "events")
    reporter.report(event())
    with pytest.raises(StorageError, match=r"cannot write events to .*File exists") as caught:
        reporter.flush()
    assert "\n" not in str(caught.value)


def test_events_that_met_a_full_disk_are_written_once_there_is_room(tmp_path):
    file = tmp_path / "minion-1.jsonl"
    file.symlink_to("/dev/full")
    reporter = JsonlReporter(tmp_path)
    reporter.report(event(1))
    with pytest.raises(StorageError, match="No space left on device"):
        reporter.flush()
    file.unlink()
    reporter.report(event(2))
    reporter.close()
    assert [each.param for each in reporter.read()] == [1, 2]


def test_a_disk_that_stays_full_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_PENDING", 2)
    (tmp_path / "minion-1.jsonl").symlink_to("/dev/full")
    reporter = JsonlReporter(tmp_path)
    for number in range(5):
        reporter.report(event(number))
    with pytest.raises(StorageError, match="3 events dropped"):
        reporter.flush()
    (tmp_path / "minion-1.jsonl").unlink()
    reporter.close()
    assert [each.param for each in reporter.read()] == [3, 4]


def test_read_gives_the_events_of_all_minions_in_order_of_their_end(tmp_path):
    late, early = (
        event("late", at=5, uid="a"),
        event({"x": [1]}, at=1, uid="b", task="t", attempt=2),
    )
    write_events(tmp_path, late, early)
    assert JsonlReporter(tmp_path).read() == [early, late]


def test_to_pandas_gives_a_row_per_event_and_a_column_per_field(tmp_path):
    pytest.importorskip("pandas")
    write_events(tmp_path, event(1, uid="a"), event({"x": 2}, at=3, uid="b", error="boom"))
    table = JsonlReporter(tmp_path).to_pandas()
    assert list(table["param"]) == [1, {"x": 2}]
    assert list(table["error"]) == [None, "boom"]
    assert list(table["end"] - table["start"]) == [1.0, 1.0]
    assert table["atomic_actions"][0] == [{"name": "process", "start": T0, "end": T0 + 1}]


def test_to_pandas_of_an_empty_folder_has_the_columns_and_no_rows(tmp_path):
    pytest.importorskip("pandas")
    table = JsonlReporter(tmp_path).to_pandas()
    assert len(table) == 0
    assert {"uid", "generation", "start", "end", "param", "error", "nodename"} <= set(table.columns)


def test_without_pandas_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'maniple\[pandas\]'"):
        JsonlReporter(tmp_path).to_pandas()
