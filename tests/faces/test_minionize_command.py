"""What is typed with the drop-in package, row by row."""

import ast
import json
import subprocess
import sys
import time

import pytest

from maniple.callback.command import USAGE
from sweeps import Minion, make_sweep, run, status, sweep


def events(folder):
    return [
        json.loads(line)
        for file in sorted(folder.iterdir())
        for line in file.read_text().splitlines()
    ]


def test_a_command_runs_once_for_each_param_of_an_execo_sweep(tmp_path):
    make_sweep(tmp_path / "sweeps", ["a", "b", "c"])
    ran = run("minionize", "echo", "hello", cwd=tmp_path, MINION_ENGINE="execo")
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["hello a", "hello b", "hello c"]
    assert status(tmp_path / "sweeps").done == {"a", "b", "c"}


def test_execo_is_the_default_engine(tmp_path):
    make_sweep(tmp_path / "sweeps", [1])
    assert run("minionize", "echo", cwd=tmp_path).stdout == "1\n"


def test_a_combination_is_appended_as_the_text_of_its_dict(tmp_path):
    make_sweep(tmp_path / "sweeps", sweep({"b": ["x"], "a": [1, 2]}))
    ran = run("minionize", "printf '%s\\n'", '"', cwd=tmp_path, DRY="1")
    combinations = [line.partition('" ')[2] for line in ran.stdout.splitlines()]
    found = [ast.literal_eval(text) for text in combinations]
    assert sorted(found, key=lambda c: c["a"]) == [{"b": "x", "a": 1}, {"b": "x", "a": 2}]
    assert all(text.startswith("{'b'") for text in combinations)


def test_each_line_of_standard_input_is_a_param(tmp_path):
    ran = run("minionize", "echo", "hi", cwd=tmp_path, MINION_ENGINE="file", stdin="1\n2 x\n3")
    assert (ran.returncode, ran.stdout) == (0, "hi 1\nhi 2 x\nhi 3\n")


def test_a_command_starts_before_standard_input_ends(tmp_path):
    with Minion("echo", "got", cwd=tmp_path, MINION_ENGINE="file") as minion:
        minion.say("1\n")
        assert minion.line() == "got 1"
        minion.say("2\n")
        assert minion.line() == "got 2"
        assert minion.end()[0] == 0


def test_a_command_cannot_eat_the_params_of_standard_input(tmp_path):
    ran = run("minionize", "cat;echo", cwd=tmp_path, MINION_ENGINE="file", stdin="1\n2\n")
    assert ran.stdout == "1\n2\n"


def test_words_are_read_by_the_shell(tmp_path):
    words = ["echo $GREETING | tr a-z A-Z; echo"]
    ran = run("minionize", *words, cwd=tmp_path, MINION_ENGINE="file", GREETING="hi", stdin="1\n")
    assert ran.stdout == "HI\n1\n"


def test_every_finished_param_leaves_one_event(tmp_path):
    make_sweep(tmp_path / "sweeps", [0, 0.01])
    before = time.time()
    ran = run("minionize", "sleep", cwd=tmp_path, MINION_REPORTER="json")
    assert ran.returncode == 0, ran.stderr
    found = events(tmp_path / "minion-report")
    assert sorted(event["param"] for event in found) == [0, 0.01]
    assert [event["generation"] for event in found] == [1, 2]
    assert len({event["uid"] for event in found}) == 1
    for event in found:
        assert before <= event["start"] <= event["end"] <= time.time()
        assert event["error"] is None
        assert event["nodename"]
        assert "oar_job_id" not in event
        steps = event["atomic_actions"]
        assert [step["name"] for step in steps] == ["next", "setup", "process", "teardown"]
        assert all(step["start"] <= step["end"] for step in steps)


def test_an_event_names_the_oar_job(tmp_path):
    run(
        "minionize", "true", cwd=tmp_path, stdin="1\n",
        MINION_ENGINE="file", MINION_REPORTER="json", OAR_JOB_ID="42",
    )  # fmt: skip
    assert [event["oar_job_id"] for event in events(tmp_path / "minion-report")] == ["42"]


def test_minion_status_prints_statistics_of_the_events(tmp_path):
    options = {"MINION_ENGINE": "file", "MINION_REPORTER": "json"}
    run("minionize", "exit", cwd=tmp_path, stdin="0\n0\n3\n", **options)
    shown = run("minion-status", cwd=tmp_path, MINION_REPORTER="json")
    assert shown.returncode == 0, shown.stderr
    assert "exit 3" in shown.stdout
    counted = json.loads(
        run("minion-status", "--json", cwd=tmp_path, MINION_REPORTER="json").stdout
    )
    assert (counted["events"], counted["failed_attempts"]) == (3, 1)


def test_minion_status_works_while_minions_run(tmp_path):
    options = {"MINION_ENGINE": "file", "MINION_REPORTER": "json"}
    with Minion("echo", cwd=tmp_path, **options) as minion:
        minion.say("1\n2\n")
        # the event of the first is written before the second starts
        assert [minion.line(), minion.line()] == ["1", "2"]
        shown = run("minion-status", "--json", cwd=tmp_path, MINION_REPORTER="json")
        assert json.loads(shown.stdout)["events"] >= 1


@pytest.mark.parametrize("reporter", ["", "stdout"])
def test_minion_status_says_what_to_set_when_nothing_was_recorded(tmp_path, reporter):
    variables = {"MINION_REPORTER": reporter} if reporter else {}
    shown = run("minion-status", cwd=tmp_path, **variables)
    assert shown.returncode == 2
    assert shown.stderr.count("\n") == 1
    assert "records nothing" in shown.stderr
    assert "MINION_REPORTER=json" in shown.stderr


def test_minion_status_without_events_says_where_it_looked(tmp_path):
    shown = run("minion-status", cwd=tmp_path, MINION_REPORTER="json")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert "minion-report" in shown.stderr


def test_a_dry_run_prints_the_commands_and_runs_nothing(tmp_path):
    (tmp_path / "params").write_text("1\n2\n")
    dry = run("minionize", "touch", cwd=tmp_path, DRY="1", MINION_ENGINE="file", FILE_PATH="params")
    assert (dry.returncode, dry.stdout) == (0, "touch 1\ntouch 2\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["params"]


@pytest.mark.parametrize("value", ["1", "0", ""])
def test_any_value_of_dry_leaves_a_sweep_as_it_was(tmp_path, value):
    make_sweep(tmp_path / "sweeps", range(5))
    dry = run("minionize", "touch", cwd=tmp_path, DRY=value)
    assert dry.stdout.splitlines() == [f"touch {n}" for n in range(5)]
    assert status(tmp_path / "sweeps") == (set(range(5)), set(), set())
    assert run("minionize", "echo", cwd=tmp_path).stdout.count("\n") == 5


def test_a_dry_run_leaves_a_queue_as_it_was(tmp_path):
    from maniple.urls import open_queue

    url = f"sqlite:{tmp_path / 'q.db'}"
    queue = open_queue(url)
    queue.put([1, 2])
    assert run("minionize", "rm", cwd=tmp_path, DRY="1", MINION_ENGINE=url).stdout == "rm 1\nrm 2\n"
    assert queue.stats().waiting == 2
    queue.close()


@pytest.mark.parametrize("scheme", ["sqlite:q.db", "dir:q"])
def test_any_queue_of_ours_is_an_engine_by_its_url(tmp_path, monkeypatch, scheme):
    from maniple.urls import open_queue

    monkeypatch.chdir(tmp_path)
    queue = open_queue(scheme)
    queue.put(["a", {"x": 1}])
    ran = run("minionize", "echo", cwd=tmp_path, MINION_ENGINE=scheme)
    assert ran.stdout.splitlines() == ["a", "{x: 1}"], ran.stderr
    assert queue.stats().done == 2
    queue.close()


def test_many_minions_share_one_sweep(tmp_path):
    make_sweep(tmp_path / "sweeps", range(30))
    minions = [Minion("echo", cwd=tmp_path) for _ in range(3)]
    found = []
    for minion in minions:
        with minion:
            found += minion.process.stdout.read().split()
            assert minion.process.wait() == 0
    assert sorted(found, key=int) == [str(n) for n in range(30)]


def test_a_failing_command_is_logged_and_the_loop_goes_on(tmp_path):
    ran = run("minionize", "sh -c 'exit $0'", cwd=tmp_path, MINION_ENGINE="file", stdin="3\n0\n4\n")
    assert ran.returncode == 0
    assert "non-zero exit status 3" in ran.stderr
    assert "non-zero exit status 4" in ran.stderr
    assert "Traceback" in ran.stderr


def test_a_failed_param_is_acknowledged_too(tmp_path):
    make_sweep(tmp_path / "sweeps", ["a"])
    assert run("minionize", "false", cwd=tmp_path).returncode == 0
    assert status(tmp_path / "sweeps").done == {"a"}


def test_a_missing_program_is_a_failure_of_its_param(tmp_path):
    ran = run(
        "minionize", "./no-such", cwd=tmp_path, stdin="1\n",
        MINION_ENGINE="file", MINION_REPORTER="json",
    )  # fmt: skip
    assert ran.returncode == 0
    (event,) = events(tmp_path / "minion-report")
    assert event["cause"] == "exit 127"


def test_a_reporter_that_fails_does_not_stop_the_work(tmp_path):
    (tmp_path / "minion-report").write_text("in the way")
    options = {"MINION_ENGINE": "file", "MINION_REPORTER": "json"}
    ran = run("minionize", "echo", cwd=tmp_path, stdin="1\n2\n", **options)
    assert (ran.returncode, ran.stdout) == (0, "1\n2\n")
    assert "the reporter failed" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_without_a_command_the_usage_is_shown(tmp_path):
    ran = run("minionize", cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", USAGE + "\n")


def test_an_unknown_option_shows_the_usage(tmp_path):
    ran = run("minionize", "--fast", "true", cwd=tmp_path)
    assert ran.returncode == 2
    assert "--fast" in ran.stderr
    assert USAGE in ran.stderr


def test_help_names_every_variable(tmp_path):
    text = run("minionize", "--help", cwd=tmp_path).stdout
    for name in ("MINION_ENGINE", "MINION_REPORTER", "EXECO_PERSISTENCE_DIR", "FILE_PATH", "DRY"):
        assert name in text
    assert "minion-status" in run("minion-status", "--help", cwd=tmp_path).stdout


def test_help_loads_nothing_that_is_heavy(tmp_path):
    script = (
        "import sys; sys.argv[1:] = ['--help']; from minionize.command import minionize;"
        " minionize(); print(*sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"click", "msgspec", "logging", "yaml", "dotenv", "execo"} & set(ran.stderr.split())


def test_output_that_nobody_reads_any_more_ends_a_dry_run_quietly(tmp_path):
    make_sweep(tmp_path / "sweeps", range(3000))
    with Minion("echo", cwd=tmp_path, DRY="1") as minion:
        minion.line()
        minion.process.stdout.close()
        minion.process.stdin.close()
        assert minion.process.stderr.read() == ""
        assert minion.process.wait() == 0
