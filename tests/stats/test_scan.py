import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_samples import event, write_events
from maniple.errors import StorageError
from maniple.stats import scan
from maniple.stats.scan import Scanner, decode_line, read_events

OLD = {"uid": "m", "generation": 1, "start": 1.0, "end": 2.5, "param": 7, "error": None,
       "atomic_actions": [], "nodename": "n"}  # fmt: skip


def params(scanner):
    return [json.loads(bytes(line.param)) for batch in scanner.read() for line in batch]


def old_line(**fields):
    return json.dumps({**OLD, **fields}).encode() + b"\n"


def test_lines_of_the_earlier_tool_are_understood_whatever_the_file_is_called(tmp_path):
    (tmp_path / "host.example-12").write_bytes(old_line(param={"a": 1}, oar_job_id="42"))
    (tmp_path / "m.json").write_bytes(old_line(param=2, oar_job_id=None, atomic_actions=None))
    assert params(Scanner(tmp_path)) == [{"a": 1}, 2]
    assert [each.oar_job_id for each in read_events(tmp_path)] == ["42", ""]


def test_unknown_keys_are_ignored(tmp_path):
    (tmp_path / "m").write_bytes(old_line(colour="blue"))
    assert params(Scanner(tmp_path)) == [7]


def test_a_folder_that_does_not_exist_holds_no_events(tmp_path):
    assert params(Scanner(tmp_path / "later")) == []


def test_a_single_file_may_be_read_as_well(tmp_path):
    (tmp_path / "m").write_bytes(old_line())
    assert params(Scanner(tmp_path / "m")) == [7]


def test_hidden_files_and_folders_are_left_alone(tmp_path):
    (tmp_path / ".hidden").write_bytes(old_line())
    (tmp_path / "folder").mkdir()
    scanner = Scanner(tmp_path)
    assert params(scanner) == []
    assert scanner.damaged == 0


@pytest.mark.parametrize(
    "damage",
    [b"\0\0\0", b'{"uid":"m","sta', b"null", b"[1]", b'{"uid":1}', b"\xff\xfe", b"{" * 5000],
)
def test_a_damaged_line_is_counted_and_skipped(tmp_path, damage):
    (tmp_path / "m").write_bytes(old_line(param=1) + damage + b"\n" + old_line(param=2))
    scanner = Scanner(tmp_path)
    assert params(scanner) == [1, 2]
    assert scanner.damaged == 1


def test_what_pythons_json_writes_beyond_json_is_understood(tmp_path):
    (tmp_path / "m").write_bytes(old_line(param=[float("inf")]) + old_line(error="\udcff"))
    scanner = Scanner(tmp_path)
    assert params(scanner) == [[float("inf")], 7]
    assert scanner.damaged == 0


def test_empty_lines_are_no_damage(tmp_path):
    (tmp_path / "m").write_bytes(b"\n" + old_line() + b"\n\n" + b"bad\n \n")
    scanner = Scanner(tmp_path)
    assert params(scanner) == [7]
    assert scanner.damaged == 1


def test_only_what_was_added_is_read_the_next_time(tmp_path):
    file = tmp_path / "m"
    file.write_bytes(old_line(param=1))
    scanner = Scanner(tmp_path)
    assert params(scanner) == [1]
    assert params(scanner) == []
    with file.open("ab") as more:
        more.write(old_line(param=2))
    (tmp_path / "other").write_bytes(old_line(param=3))
    assert params(scanner) == [2, 3]


def test_a_line_that_is_being_written_counts_as_torn_until_it_is_whole(tmp_path):
    file = tmp_path / "m"
    whole = old_line(param=1)
    file.write_bytes(whole[:20])
    scanner = Scanner(tmp_path)
    assert (params(scanner), scanner.damaged) == ([], 1)
    with file.open("ab") as more:
        more.write(whole[20:])
    assert (params(scanner), scanner.damaged) == ([1], 0)


def test_a_last_line_without_its_newline_is_read_once(tmp_path):
    file = tmp_path / "m"
    file.write_bytes(old_line(param=1).rstrip())
    scanner = Scanner(tmp_path)
    assert params(scanner) == [1]
    with file.open("ab") as more:
        more.write(b"\n" + old_line(param=2))
    assert params(scanner) == [2]
    assert scanner.damaged == 0


def test_a_file_that_was_removed_replaced_or_cut_makes_the_scan_stale(tmp_path):
    file = tmp_path / "m"
    file.write_bytes(old_line())
    scanner = Scanner(tmp_path)
    params(scanner)
    assert not scanner.stale()
    file.write_bytes(b"")
    assert scanner.stale()
    file.write_bytes(old_line() * 2)
    assert not scanner.stale()
    (tmp_path / "new").write_bytes(old_line() * 2)
    os.replace(tmp_path / "new", file)
    assert scanner.stale()
    file.unlink()
    assert scanner.stale()


def test_files_longer_than_a_chunk_lose_nothing_at_its_edges(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "CHUNK_BYTES", 100)
    write_events(tmp_path, *(event("x" * number) for number in range(0, 400, 7)))
    assert [len(each) for each in params(Scanner(tmp_path))] == list(range(0, 400, 7))


def test_a_folder_that_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match=r"cannot read events from .*loop"):
        list(Scanner(tmp_path / "loop").read())


@given(st.integers(0), st.data())
def test_no_cut_of_a_line_is_taken_for_an_event(number, data):
    whole = old_line(param={"x": number}).rstrip()
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert decode_line(whole) is not None
    assert decode_line(whole[:cut]) is None
