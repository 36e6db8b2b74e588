"""`maniple queue`: what became of each task, and what to do about it."""

import csv
import io
import json

import pytest

from support import one_line

SCRIPT = 'echo "out of $1"; echo "trouble with $1" >&2; exit $(($1 % 2 * 3))'


@pytest.fixture(params=["sqlite:q.db", "dir:q"])
def url(request, shell):
    """A queue of six tasks, of which those with an odd x have failed twice."""
    shell.maniple("sweep", "x=1..6", "-q", request.param)
    result = shell.maniple(
        "run",
        "-q",
        request.param,
        "-j",
        1,
        "--retries",
        1,
        "--backoff",
        "0",
        "--output",
        "none",
        "--",
        "sh",
        "-c",
        SCRIPT,
        "sh",
        "{x}",
    )
    assert result.returncode == 1, result.stderr
    assert f"see them: maniple queue failed -q {request.param}" in result.stderr
    return request.param


def failed(shell, url):
    return [
        json.loads(line)
        for line in shell.maniple("queue", "failed", "-q", url, "--json").stdout.splitlines()
    ]


def test_failed_tasks_are_listed_with_attempts_cause_and_error(shell, url):
    lines = shell.maniple("queue", "failed", "-q", url).stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].split("\t") == [
        "1",
        '{"x":1}',
        "2 attempts",
        "exit 3",
        "exit status 3: trouble with 1",
    ]
    rows = failed(shell, url)
    assert [row["param"] for row in rows] == [{"x": 1}, {"x": 3}, {"x": 5}]
    assert rows[0]["output"].splitlines() == ["out of 1", "", "trouble with 1"]


def test_one_task_is_shown_by_its_number_or_its_id(shell, url):
    row = failed(shell, url)[1]
    for key in (row["number"], row["id"], row["id"][:8]):
        shown = shell.maniple("queue", "show", key, "-q", url).stdout
        assert row["id"] in shown
        assert "trouble with 3" in shown
        assert "out of 3" in shown
    as_json = json.loads(shell.maniple("queue", "show", row["id"], "--json", "-q", url).stdout)
    assert as_json == row


def test_all_failed_tasks_are_put_back_and_run_again(shell, url):
    assert shell.maniple("queue", "retry", "-q", url).stdout == "3 tasks put back\n"
    again = shell.maniple("run", "-q", url, "--", "sh", "-c", 'echo "$1" >> log', "sh", "{x}")
    assert again.returncode == 0, again.stderr
    assert sorted(shell.lines("log")) == ["1", "3", "5"]
    assert shell.stats(url)["done"] == 6


def test_one_failed_task_is_put_back(shell, url):
    number = failed(shell, url)[0]["number"]
    assert shell.maniple("queue", "retry", number, "-q", url).stdout == "1 task put back\n"
    assert shell.stats(url)["failed"] == 2


def test_only_failed_tasks_can_be_put_back(shell, url):
    result = shell.maniple("queue", "retry", "2", "-q", url)
    assert result.returncode == 2
    assert "is done, not failed" in one_line(result.stderr)


def test_tasks_are_exported_as_json_lines_or_csv(shell, url):
    rows = [
        json.loads(line) for line in shell.maniple("queue", "export", "-q", url).stdout.splitlines()
    ]
    states = {row["param"]["x"]: row["state"] for row in rows}
    assert states == {x: "failed" if x % 2 else "done" for x in range(1, 7)}
    only = shell.maniple("queue", "export", "-q", url, "--state", "failed", "-o", "failed.csv")
    assert only.returncode == 0
    table = list(csv.DictReader(io.StringIO((shell.folder / "failed.csv").read_text())))
    assert [row["param"] for row in table] == ['{"x":1}', '{"x":3}', '{"x":5}']
    assert {row["cause"] for row in table} == {"exit 3"}


def test_what_is_purged_is_new_when_it_is_filled_in_again(shell, url):
    assert (
        shell.maniple("queue", "purge", "--state", "failed", "-q", url).stdout
        == "3 tasks forgotten\n"
    )
    assert shell.stats(url)["failed"] == 0
    assert shell.maniple("sweep", "x=1..6", "-q", url).stdout.startswith("3 tasks added")
    assert shell.maniple("queue", "purge", "--all", "-q", url).stdout == "6 tasks forgotten\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["show", "99"], "no task '99' in sqlite:q.db"),
        (["retry", "zz"], "no task 'zz' in sqlite:q.db"),
        (["retry", "1"], "is waiting, not failed"),
        (["purge"], "which tasks?"),
        (["purge", "--all", "--state", "done"], "which tasks?"),
        (["purge", "--state", "leased"], "leased"),
        (["export", "-o", "nowhere/x.csv"], "nowhere/x.csv"),
        (["failed", "-q", "sqlite:missing.db"], "there is no queue missing.db"),
        (["failed", "--", "true"], "maniple queue runs nothing"),
        (["nosuch"], "nosuch"),
        (["show"], "TASK"),
    ],
)
def test_a_slip_is_one_line(shell, words, hint):
    shell.maniple("sweep", "x=1", "-q", "sqlite:q.db")
    result = shell.maniple("queue", *words, env={"MANIPLE_QUEUE": "sqlite:q.db"})
    assert result.returncode in {2, 3}
    assert hint in one_line(result.stderr)


def test_which_queue_must_be_said(shell):
    result = shell.maniple("queue", "failed")
    assert result.returncode == 2
    assert "-q sqlite:FILE" in one_line(result.stderr)
