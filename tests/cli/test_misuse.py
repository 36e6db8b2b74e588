"""Slips of every kind: one line that says what, where and what to do; a right exit code; no harm."""

import os
import sqlite3

import pytest

from support import one_line

Q = "sqlite:q.db"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["./a.out"], "write it after --"),
        (["-q", Q], "write it after --"),
        (["x=1", "--"], "write it after --"),
        (["x=1", "--", ""], "first word is empty"),
        (["y", "--", "true"], "neither a param"),
        (["x=1", "-j", "0", "--", "true"], "--jobs"),
        (["x=1", "-j", "1000000", "--", "true"], "--jobs"),
        (["x=1", "-j", "two", "--", "true"], "--jobs"),
        (["x=1", "--timeout", "abc", "--", "true"], "500ms"),
        (["x=1", "--timeout", "0", "--", "true"], "longer than 0"),
        (["x=1", "--timeout", "-1", "--", "true"], "no duration"),
        (["x=1", "--lease", "0s", "--", "true"], "longer than 0"),
        (["x=1", "--retries", "-1", "--", "true"], "--retries"),
        (["x=1", "--backoff", "fast", "--", "true"], "no duration"),
        (["x=1", "--halt", "200%", "--", "true"], "percentage"),
        (["x=1", "--halt", "0", "--", "true"], "percentage"),
        (["x=1", "--halt", "sometimes", "--", "true"], "percentage"),
        (["x=1", "--batch", "0", "--", "true"], "--batch"),
        (["x=1", "--output", "loud", "--", "true"], "--output"),
        (["x=1", "--results", "r.txt", "--", "true"], ".jsonl or .csv"),
        (["x=1", "--nosuch", "--", "true"], "--nosuch"),
        (["x=1", "--", "echo", "{y}"], "{y}"),
        (["x=1", "--", "echo", "{2}"], "{2}"),
        (["x=1", "--shell", "--", "echo `ls {x}`"], "backquotes"),
        (["x=1", "-q", "memory:", "--", "true"], "leave -q out"),
        (["x=1", "-q", "file:p", "--", "true"], "cannot be added"),
        (["-q", "file:missing", "--", "true"], "missing"),
        (["-q", "q.db", "--", "true"], "sqlite:q.db"),
        (["-q", "nosuch:q", "--", "true"], "nosuch"),
        (["-q", "sqlite:missing.db", "--", "true"], "maniple sweep"),
        (["-q", "dir:missing", "--", "true"], "missing"),
        (["-q", "sqlite:.", "--", "true"], "dir:"),
        (["--samples", "3", "x=1", "--", "true"], "random"),
    ],
)
def test_a_slip_of_run_is_one_line_and_runs_nothing(shell, words, hint):
    result = shell.maniple("run", *words)
    assert result.returncode == 2
    assert hint in one_line(result.stderr)
    assert not (shell.folder / "missing.db").exists()


@pytest.mark.parametrize("words", [["nosuch"], ["--nosuch"], ["run", "-q"], ["queue", "nosuch"]])
def test_what_does_not_exist_is_said_in_a_line(shell, words):
    result = shell.maniple(*words)
    assert result.returncode == 2
    assert "--help" in one_line(result.stderr)


@pytest.mark.parametrize("words", [[], ["queue"]])
def test_a_command_without_a_verb_shows_its_help(shell, words):
    result = shell.maniple(*words)
    assert "Usage: maniple" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_misspelt_placeholder_is_one_error_and_not_a_failure_of_each_task(shell):
    shell.maniple("sweep", "x=1..10", "-q", Q)
    result = shell.maniple("run", "-q", Q, "--", "echo", "{y}")
    assert result.returncode == 2
    assert "{y}" in one_line(result.stderr)
    assert shell.stats()["waiting"] == 10


def test_a_missing_command_fails_each_task_and_says_so(shell):
    result = shell.maniple("run", "x=1..2", "-q", Q, "--", "no-such-command")
    assert result.returncode == 1
    assert "there is no command 'no-such-command'" in result.stderr
    assert shell.stats()["failed"] == 2


def test_a_file_that_is_no_program_fails_its_tasks(shell):
    (shell.folder / "data").write_text("no program")
    result = shell.maniple("run", "x=1", "--", "./data")
    assert result.returncode == 1
    assert "./data" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_param_that_is_too_long_for_a_command_fails_alone(shell):
    result = shell.maniple("run", "-j", 1, "--", "echo", input="a\n" + "x" * 3_000_000 + "\nb\n")
    assert result.returncode == 1
    assert result.stdout == "a\nb\n"
    assert "too long" in result.stderr


def test_a_param_with_a_nul_fails_alone(shell):
    result = shell.maniple("run", "-j", 1, "--", "echo", input="a\nb\0c\nd\n")
    assert result.returncode == 1
    assert result.stdout == "a\nd\n"
    assert "NUL" in result.stderr


def test_a_hundred_thousand_params_in_one_word(shell):
    values = ",".join(map(str, range(20_000)))
    result = shell.maniple("run", f"x={values}", "--dry-run", "--", "echo")
    assert len(result.stdout.splitlines()) == 20_000
    lines = "\n".join(map(str, range(100_000)))
    result = shell.maniple("run", "--dry-run", "--", "echo", input=lines)
    assert result.stdout.splitlines()[-1] == "echo 99999"


@pytest.mark.parametrize("kind", ["text", "random", "other", "empty"])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "-q", Q, "--", "true"],
        ["sweep", "x=1", "-q", Q],
        ["queue", "failed", "-q", Q],
        ["queue", "export", "-q", Q],
        ["status", "-q", Q],
    ],
)
def test_a_file_that_is_no_queue_is_named_and_left_as_it_is(shell, kind, words):
    path = shell.folder / "q.db"
    if kind == "other":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    else:
        path.write_bytes(
            {"text": b"some notes", "random": bytes(range(256)) * 300, "empty": b""}[kind]
        )
    before = path.read_bytes()
    result = shell.maniple(*words)
    if kind == "empty" and words[0] == "sweep":
        assert result.returncode == 0
        return
    assert result.returncode == 2, result.stderr
    assert "q.db" in one_line(result.stderr)
    assert path.read_bytes() == before


def test_a_damaged_queue_is_named_with_what_can_be_done(shell):
    shell.maniple("sweep", "x=1..20000", "-q", Q)
    with open(shell.folder / "q.db", "r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(60 * 4096))
    for words in (["run", "-q", Q, "--no-report", "--", "true"], ["sweep", "x=1..30000", "-q", Q]):
        result = shell.maniple(*words)
        assert result.returncode == 3
        assert "Traceback" not in result.stderr
        assert "q.db is damaged" in result.stderr.splitlines()[0]
        assert result.stderr.count("damaged") == 1


def test_a_folder_that_is_no_queue_is_named(shell):
    (shell.folder / "q").mkdir()
    (shell.folder / "q" / "mine").touch()
    for words in (["run", "-q", "dir:q", "--", "true"], ["sweep", "x=1", "-q", "dir:q"]):
        result = shell.maniple(*words)
        assert result.returncode == 2
        assert "q" in one_line(result.stderr)
    assert [path.name for path in (shell.folder / "q").iterdir()] == ["mine"]


@pytest.mark.parametrize("change", ["-u HOME", "TMPDIR=/nonexistent/folder", "-i"])
def test_a_poor_environment_will_do(shell, change):
    result = shell.command("sh", "-c", f'env {change} "{shell_path()}" run x=1..2 -- /bin/echo')
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == ["1", "2"]


def shell_path():
    from support import MANIPLE

    return MANIPLE


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run x=1 -- /bin/echo", 0),
        ("sweep x=1", 2),
        ("run -q sqlite:q.db -- true", 2),
        ("status", 2),
        ("run x=1 --results r.csv -- true", 3),
        ("run x=1 --output-dir o -- true", 3),
    ],
)
def test_a_working_directory_that_is_gone(shell, words, code):
    result = shell.command(
        "sh", "-c", f'mkdir gone; cd gone; rmdir ../gone; "{shell_path()}" {words}'
    )
    assert "Traceback" not in result.stderr
    assert result.returncode in {code, 2, 3} if code else result.returncode == 0, result.stderr
    one_line(result.stderr)
