import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from event_samples import event, write_events
from maniple.cli.status import status
from maniple.errors import QueueError, StorageError, UsageError
from maniple.task import Task
from maniple.urls import open_queue

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MANIPLE_QUEUE", raising=False)
    monkeypatch.delenv("MANIPLE_REPORT", raising=False)


@pytest.fixture
def queue(tmp_path):
    """A queue of five tasks: one done, one leased, three waiting."""
    url = f"sqlite:{tmp_path / 'q.db'}"
    opened = open_queue(url)
    opened.put([Task.of(number) for number in range(5)])
    done, _held = (opened.lease(1, 600)[0] for _ in range(2))
    opened.ack([done])
    yield url
    opened.close()


def run(*words):
    return CliRunner().invoke(status, words, catch_exceptions=False)


def as_json(*words):
    return json.loads(run(*words, "--json").stdout)


def test_the_default_folder_is_drawn():
    write_events("minion-report", event(1), event(2, error="ValueError: no"))
    result = run()
    assert result.exit_code == 0
    assert "1 done · 1 failed" in result.output


def test_the_folder_may_be_given_or_named_by_the_environment(monkeypatch):
    write_events("a", event(1))
    write_events("b", event(1), event(2))
    assert as_json("a")["events"] == 1
    monkeypatch.setenv("MANIPLE_REPORT", "b")
    assert as_json()["events"] == 2
    assert as_json("a")["events"] == 1


def test_an_empty_folder_gives_zeros(tmp_path):
    (tmp_path / "minion-report").mkdir()
    shown = as_json()
    assert (shown["events"], shown["done"], shown["failed"], shown["queues"]) == (0, 0, 0, [])
    assert "no events yet in minion-report" in run().output


def test_neither_events_nor_a_queue_is_an_error_that_says_what_to_do():
    with pytest.raises(
        UsageError, match=r"no events at minion-report .* give the folder"
    ) as caught:
        run()
    assert caught.value.exit_code == 2


def test_json_counts_the_tasks_of_a_queue(queue):
    shown = as_json("-q", queue)
    expected = {
        "url": queue,
        "waiting": 3,
        "delayed": 0,
        "leased": 1,
        "done": 1,
        "failed": 0,
        "total": 5,
    }
    assert shown["queues"] == [expected]
    assert shown["queue"] == expected


def test_several_queues_are_listed_and_none_is_the_one(queue, tmp_path):
    other = f"sqlite:{tmp_path / 'other.db'}"
    open_queue(other).close()
    shown = as_json("-q", queue, "-q", other)
    assert [each["url"] for each in shown["queues"]] == [queue, other]
    assert "queue" not in shown


def test_the_environment_names_a_queue(queue, monkeypatch):
    monkeypatch.setenv("MANIPLE_QUEUE", queue)
    assert as_json()["queue"]["total"] == 5


def test_queues_that_events_name_are_found(queue):
    write_events("minion-report", event(1, queue=queue))
    assert as_json()["queue"]["url"] == queue


@pytest.mark.parametrize("gone", ["sqlite:gone.db", "memory:", "file:-", "nonsense:x", "plain"])
def test_queues_that_events_name_and_that_cannot_be_seen_are_left_out(gone):
    write_events("minion-report", event(1, queue=gone))
    assert as_json()["queues"] == []
    assert not os.path.exists("gone.db")


def test_a_queue_that_is_named_must_exist():
    write_events("minion-report", event(1))
    with pytest.raises(QueueError, match=r"gone\.db"):
        run("-q", "sqlite:gone.db")


def test_a_page_is_written_and_the_place_told(queue):
    write_events("minion-report", event(1))
    result = run("-q", queue, "--html", "page.html")
    assert result.output == "wrote page.html\n"
    assert Path("page.html").read_text().startswith("<!DOCTYPE html>")


def test_with_json_standard_output_holds_nothing_else():
    write_events("minion-report", event(1))
    result = run("--json", "--html", "page.html")
    assert json.loads(result.stdout)["events"] == 1
    assert result.stderr == "wrote page.html\n"


def test_a_page_that_cannot_be_written_is_one_clear_error():
    write_events("minion-report", event(1))
    with pytest.raises(
        StorageError, match=r"cannot write the page nowhere/page\.html: No such file"
    ):
        run("--html", "nowhere/page.html")
    assert os.listdir() == ["minion-report"]


def test_watching_ends_when_the_queue_is_drained(tmp_path):
    url = f"sqlite:{tmp_path / 'drained.db'}"
    opened = open_queue(url)
    opened.put([Task.of(1)])
    opened.ack(opened.lease(1, 60))
    opened.close()
    result = run("-q", url, "--watch", "1000")
    assert result.exit_code == 0
    assert "100 % of 1" in result.output


def test_watching_goes_on_until_ctrl_c_and_sees_what_is_new():
    write_events("minion-report", event(1))
    code = "from maniple.cli.status import status; status()"
    words = [sys.executable, "-c", code, "--json", "--watch", "0.01"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as watch:
        try:
            assert json.loads(watch.stdout.readline())["events"] == 1
            write_events("minion-report", event(2))
            while json.loads(watch.stdout.readline())["events"] != 2:
                pass
            watch.send_signal(signal.SIGINT)
            _, complaint = watch.communicate(timeout=60)
        finally:
            watch.kill()
    assert (watch.returncode, complaint) == (0, b"")


def test_importing_the_command_loads_neither_rich_nor_the_statistics():
    code = (
        "import sys, maniple.cli.status;"
        "print([name for name in sys.modules if name.startswith(('rich', 'maniple.stats', 'msgspec'))])"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    ).stdout
    assert out == b"[]\n"
