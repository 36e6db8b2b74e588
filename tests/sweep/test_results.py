import csv
import json
import os
import resource
import signal

import pytest

from maniple.errors import StorageError, UsageError
from maniple.runner import Outcome
from maniple.sweep.results import ResultFile
from maniple.task import Task


def outcome(printed=b"", *, code=0, error=None):
    return Outcome(ok=not code, start=1.0, end=1.5, stdout=printed, exit_code=code, error=error)


def test_json_lines_hold_the_param_beside_the_result(tmp_path):
    path = tmp_path / "r.jsonl"
    results = ResultFile(str(path))
    results.write(Task.of({"x": 1}), outcome(b'{"y": 2}\n'))
    results.write(Task.of("text"), outcome(b"plain \xff\n", code=3, error="exit status 3"))
    assert path.read_bytes() == b""
    results.close()
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "param": {"x": 1},
        "result": {"y": 2},
        "error": None,
        "exit": 0,
        "seconds": 0.5,
        "attempt": 1,
        "number": 0,
    }
    assert (second["param"], second["result"], second["exit"]) == ("text", "plain \ufffd", 3)


def test_csv_has_a_column_for_each_field_and_one_header(tmp_path):
    path = tmp_path / "r.csv"
    for x in (1, 2):
        results = ResultFile(str(path))
        results.write(Task.of({"x": x, "error": "a,b", "z": [1, None]}), outcome(b"ok"))
        results.close()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["x"] for row in rows] == ["1", "2"]
    assert rows[0]["param.error"] == "a,b"
    assert rows[0]["z"] == "[1, null]"
    assert rows[0]["error"] == ""
    assert rows[0]["result"] == "ok"


def test_a_row_that_was_cut_short_is_closed_before_the_next(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"param":1}\n{"par')
    results = ResultFile(str(path))
    results.write(Task.of(2), outcome())
    results.close()
    assert [line[:10] for line in path.read_text().splitlines()] == [
        '{"param":1',
        '{"par',
        '{"param":2',
    ]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.jsonl or \.csv"):
        ResultFile(str(tmp_path / "r.txt"))


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        ResultFile(str(tmp_path / "nowhere" / "r.csv"))


@pytest.fixture
def small_files():
    """Files of this process may not grow beyond 400 bytes, as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_rows_that_do_not_fit_are_taken_back_whole_and_written_later(tmp_path, small_files, ending):
    path = tmp_path / f"r.{ending}"
    results = ResultFile(str(path))
    for x in range(20):
        results.write(Task.of({"x": x}), outcome(b"something"))
    for _ in range(2):
        # rows are kept: an error never turns into a success by asking again
        with pytest.raises(StorageError, match="the tasks are not lost"):
            results.flush()
        assert path.stat().st_size == 0
    small_files()
    results.close()
    if ending == "csv":
        assert [int(row["x"]) for row in csv.DictReader(path.read_text().splitlines())] == list(
            range(20)
        )
    else:
        assert [json.loads(line)["param"]["x"] for line in path.read_text().splitlines()] == list(
            range(20)
        )


def test_params_of_another_kind_are_an_error_each_time_and_never_dropped(tmp_path):
    results = ResultFile(str(tmp_path / "r.csv"))
    results.write(Task.of({"x": 1}), outcome())
    results.flush()
    results.write(Task.of({"y": 1}), outcome())
    for _ in range(2):
        with pytest.raises(StorageError, match="no column 'y'"):
            results.flush()
    with pytest.raises(StorageError, match="no column 'y'"):
        results.close()


def test_processes_append_whole_rows(tmp_path):
    path = tmp_path / "r.jsonl"
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                results = ResultFile(str(path))
                for x in range(200):
                    results.write(Task.of({"x": x}), outcome(b"v" * 500))
                    results.flush()
            finally:
                os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert sorted(
        json.loads(line)["param"]["x"] for line in path.read_text().splitlines()
    ) == sorted([*range(200)] * 3)
