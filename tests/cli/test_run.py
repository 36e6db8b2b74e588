"""`maniple run`: params in, commands out."""

import json
import os
import signal
import subprocess

import pytest

from support import MANIPLE, is_alive, one_line, until

Q = "sqlite:q.db"


def test_a_queue_is_filled_and_then_emptied(shell):
    assert shell.maniple("sweep", "x=1..200", "-q", Q).returncode == 0
    result = shell.maniple(
        "run", "-q", Q, "-j", 2, "--", "sh", "-c", 'echo "$1" >> log', "sh", "{x}"
    )
    assert result.returncode == 0, result.stderr
    assert sorted(shell.lines("log"), key=int) == [str(x) for x in range(1, 201)]
    stats = shell.stats()
    assert (stats["done"], stats["waiting"], stats["leased"], stats["failed"]) == (200, 0, 0, 0)


def test_params_may_stand_on_the_line_itself(shell):
    result = shell.maniple("run", "x=1..2", "y=a,b", "-j", 1, "--", "echo", "{x}-{y}")
    assert result.stdout == "1-a\n1-b\n2-a\n2-b\n"
    assert result.returncode == 0


def test_lines_of_standard_input_are_the_params_when_nothing_else_is_named(shell):
    result = shell.maniple("run", "-j", 1, "--", "echo", "got", input="1\n2 3\n\n1\n")
    assert result.stdout == "got 1\ngot 2 3\ngot 1\n"


@pytest.mark.parametrize("words", [["x=1..2"], ["-q", Q], ["--dry-run", "x=1"], ["-q", "file:p"]])
def test_standard_input_is_left_alone_when_params_or_a_queue_are_named(shell, words):
    shell.maniple("sweep", "x=1", "-q", Q)
    (shell.folder / "p").write_text("1\n")
    script = f'"{MANIPLE}" run {" ".join(words)} --quiet -- sh -c "cat; true" > /dev/null; cat'
    assert shell.command("sh", "-c", script, input="mine\n").stdout == "mine\n"


def test_a_file_of_lines_can_be_the_queue(shell):
    (shell.folder / "p.txt").write_text("a\nb\n")
    result = shell.maniple("run", "-q", "file:p.txt", "-j", 1, "--", "echo")
    assert result.stdout == "a\nb\n"


def test_the_first_task_runs_before_the_input_has_ended(shell):
    process = shell.start("run", "-j", 2, "--quiet", "--", "touch", stdin=subprocess.PIPE)
    process.stdin.write("first\n")
    process.stdin.flush()
    until((shell.folder / "first").exists)
    process.stdin.write("second\n")
    process.stdin.flush()
    until((shell.folder / "second").exists)
    assert process.poll() is None
    assert shell.finish(process)[0] == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{}"], "<a b/c.txt>"),
        (["{path}", "{n}"], "<a b/c.txt><7>"),
        ([], "<a b/c.txt>"),
        (["{/}", "{//}", "{.}", "{/.}"], "<c.txt><a b><a b/c><c>"),
        (["{#}", "{%}"], "<1><1>"),
        (["{1}"], "<a b/c.txt>"),
        (["{{path}}", "${path}", "{ print $1 }"], "<{path}><${path}><{ print $1 }><a b/c.txt>"),
    ],
)
def test_placeholders_and_appended_params(shell, words, expected):
    params = ["n=7"] if "{n}" in words else []
    result = shell.maniple(
        "run",
        "path=a b/c.txt",
        *params,
        "-j",
        1,
        "--",
        "sh",
        "-c",
        'printf "<%s>" "$@"',
        "sh",
        *words,
    )
    assert result.stdout == expected, result.stderr


def test_a_param_is_a_word_whatever_it_holds(shell):
    (shell.folder / "precious").touch()
    evil = "a; rm -rf precious $(rm precious) `rm precious` '\"\\ * ~"
    result = shell.maniple("run", "--", "printf", "%s\n", input=evil + "\n")
    assert result.stdout == evil + "\n"
    assert (shell.folder / "precious").exists()


def test_shell_runs_the_words_as_a_script_and_quotes_the_params(shell):
    (shell.folder / "precious").touch()
    evil = "it's; rm precious $HOME"
    for script in ("echo {} | tr a-z A-Z", 'echo "{}" | tr a-z A-Z', "echo '{}' | tr a-z A-Z"):
        result = shell.maniple("run", "--shell", "--", script, input=evil + "\n")
        assert result.stdout == evil.upper() + "\n", result.stderr
    assert (shell.folder / "precious").exists()


def test_the_environment_tells_a_program_its_task(shell):
    script = 'echo "$MANIPLE_PARAM $MANIPLE_NUMBER $MANIPLE_ATTEMPT $MANIPLE_SLOT"'
    result = shell.maniple("run", "x=5", "-j", 1, "--", "sh", "-c", script)
    assert result.stdout == '{"x":5} 1 1 1\n'


def test_a_dry_run_prints_the_commands_quoted_and_takes_nothing(shell):
    shell.maniple("sweep", "x=1", "y=a b", "-q", Q)
    result = shell.maniple("run", "-q", Q, "--dry-run", "--", "touch", "{y}")
    assert result.stdout == "touch 'a b'\n"
    assert shell.stats()["waiting"] == 1
    assert not (shell.folder / "a b").exists()
    shell_form = shell.maniple("run", "y=a b", "--dry-run", "--shell", "--", "echo {y} | wc")
    assert shell_form.stdout == "echo 'a b' | wc\n"


def test_a_time_limit_ends_the_task_and_all_that_comes_of_it(shell):
    script = "sleep 300 & setsid sleep 301 & (setsid sleep 302 &) ; echo $$ > pid; sleep 303"
    for limit in ("500ms", "5s", "50s"):
        result = shell.maniple("run", "x=1", "--timeout", limit, "--", "sh", "-c", script)
        assert result.returncode == 1
        assert "time limit" in result.stderr
        # a busy machine may need all of that to start them
        if shell.lines("pid"):
            break
    assert not is_alive(int(shell.lines("pid")[0]))
    until(lambda: not shell.alive())


def test_a_task_that_ignores_a_polite_signal_is_ended_all_the_same(shell):
    script = 'trap "" TERM INT HUP; while :; do sleep 1; done'
    result = shell.maniple("run", "x=1", "--timeout", "300ms", "--", "sh", "-c", script)
    assert result.returncode == 1
    assert not shell.alive()


def test_what_a_task_leaves_in_the_background_ends_with_the_run(shell):
    result = shell.maniple(
        "run", "x=1..3", "--", "sh", "-c", "setsid sleep 300 > /dev/null 2>&1 & true"
    )
    assert result.returncode == 0
    assert not [pid for pid in shell.alive() if pid]


def test_failed_attempts_are_retried_and_the_task_runs_once_more_only_until_it_succeeds(shell):
    script = 'echo "$MANIPLE_ATTEMPT" >> log; [ "$MANIPLE_ATTEMPT" = 3 ]'
    result = shell.maniple(
        "run", "x=1", "--retries", 5, "--backoff", "50ms", "--", "sh", "-c", script
    )
    assert result.returncode == 0, result.stderr
    assert shell.lines("log") == ["1", "2", "3"]


def test_pauses_between_retries_grow(shell):
    script = "date +%s.%N >> log; false"
    result = shell.maniple(
        "run", "x=1", "--retries", 2, "--backoff", "400ms", "--", "sh", "-c", script
    )
    assert result.returncode == 1
    first, second, third = map(float, shell.lines("log"))
    # a pause is 0.6 to 1 times its nominal length
    assert second - first >= 0.24
    assert third - second >= 0.48


def failing(quick):
    """A script that fails: so often soon, and later slowly, for whoever counts may be late."""
    return f"echo >> failed; [ $(wc -l < failed) -le {quick} ] && sleep .05 || sleep 1; false"


def test_halt_first_starts_no_more_tasks(shell):
    shell.maniple("sweep", "x=1..1000", "-q", Q)
    result = shell.maniple("run", "-q", Q, "-j", 1, "--halt", "first", "--", "sh", "-c", failing(1))
    assert result.returncode == 1
    stats = shell.stats()
    assert 1 <= stats["failed"] < 20
    assert stats["waiting"] > 900
    assert stats["leased"] == 0
    assert "stopped with" in result.stderr


@pytest.mark.parametrize(("halt", "least", "most"), [("5", 5, 40), ("10%", 10, 50)])
def test_halt_after_so_many_or_such_a_share(shell, halt, least, most):
    shell.maniple("sweep", "x=1..100", "-q", Q)
    result = shell.maniple(
        "run", "-q", Q, "-j", 1, "--halt", halt, "--", "sh", "-c", failing(least)
    )
    assert result.returncode == 1
    assert least <= shell.stats()["failed"] <= most


def test_halt_never_runs_all(shell):
    shell.maniple("sweep", "x=1..20", "-q", Q)
    assert shell.maniple("run", "-q", Q, "--halt", "never", "--", "false").returncode == 1
    assert shell.stats()["failed"] == 20


def test_two_runs_at_once_share_a_queue_and_run_each_task_once(shell):
    shell.maniple("sweep", "x=1..600", "-q", Q)
    words = ("run", "-q", Q, "-j", 2, "--quiet", "--", "sh", "-c", 'echo "$1" >> log', "sh", "{x}")
    runs = [shell.start(*words) for _ in range(2)]
    assert [shell.finish(run)[0] for run in runs] == [0, 0]
    assert sorted(shell.lines("log"), key=int) == [str(x) for x in range(1, 601)]


def test_params_may_be_added_to_a_queue_in_the_same_breath(shell):
    first = shell.maniple("run", "x=1..3", "-q", Q, "--", "true")
    second = shell.maniple("run", "x=1..5", "-q", Q, "-j", 1, "--", "echo")
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stdout == "4\n5\n"


def test_a_queue_with_nothing_left_is_all_well(shell):
    shell.maniple("run", "x=1", "-q", Q, "--", "true")
    result = shell.maniple("run", "-q", Q, "--", "false")
    assert result.returncode == 0
    assert one_line(result.stderr).startswith("maniple: 0 tasks done")


def test_results_are_json_lines_with_the_params_beside_them(shell):
    script = 'echo "{\\"y\\": $1}"; [ $1 != 2 ]'
    result = shell.maniple(
        "run", "x=1..2", "-j", 1, "--results", "r.jsonl", "--", "sh", "-c", script, "sh", "{x}"
    )
    assert result.returncode == 1
    good, bad = map(json.loads, shell.lines("r.jsonl"))
    assert (good["param"], good["result"], good["exit"], good["error"]) == (
        {"x": 1},
        {"y": 1},
        0,
        None,
    )
    assert (bad["param"], bad["result"], bad["exit"]) == ({"x": 2}, {"y": 2}, 1)
    assert "exit status 1" in bad["error"]


def test_results_are_csv_with_a_column_for_each_field(shell):
    shell.maniple("run", "x=1..50", "y=a", "-j", 4, "--results", "r.csv", "--", "echo", "v{x}")
    head, *rows = shell.lines("r.csv")
    assert head.startswith("x,y,result,error,exit,seconds")
    assert sorted(row.split(",")[:3] for row in rows) == sorted(
        [str(x), "a", f"v{x}"] for x in range(1, 51)
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["x=1", "--", "true"], 0),
        (["x=1", "--", "false"], 1),
        (["x=1", "--", "no-such-command"], 1),
        (["x=1"], 2),
        (["-q", "sqlite:missing.db", "--", "true"], 2),
        (["x=1", "--results", "nowhere/r.csv", "--", "true"], 3),
    ],
)
def test_exit_codes(shell, words, code):
    assert shell.maniple("run", *words).returncode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_codes_of_signals(shell, number, code):
    process = shell.start("run", "x=1", "--", "sh", "-c", "touch started; sleep 60")
    until((shell.folder / "started").exists)
    os.kill(process.pid, number)
    assert shell.finish(process)[0] == code
