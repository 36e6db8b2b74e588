"""The runner for programs: what they get, what they leave, and that nothing of them stays."""

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from maniple import proctree
from maniple.errors import UsageError
from maniple.runner import Cancel, Context
from maniple.runners import process
from maniple.runners.process import KEPT_OUTPUT, LONGEST_VARIABLE, ProcessRunner
from maniple.task import Task
from support import children as children_of


@pytest.fixture
def cancel():
    cancel = Cancel()
    yield cancel
    cancel.close()


@pytest.fixture
def context(cancel):
    return Context(cancel=cancel)


@pytest.fixture
def shell(context):
    """Run a script for a param; options go to the runner."""
    opened = []

    def run(script, param=0, ctx=context, **options):
        runner = ProcessRunner(
            lambda p, number, slot: ["sh", "-c", script, "sh", str(p)], **options
        )
        opened.append(runner)
        return runner.run(Task.of(param), ctx)

    yield run
    for runner in opened:
        runner.close()


def words_of(*words):
    return lambda p, number, slot: list(words)


def until(what, timeout=20.0):
    """Wait for something that must come."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.005)
    raise AssertionError("it never came")


def alive(pid):
    return proctree._alive(pid)


def pid_in(path):
    return until(lambda: path.exists() and path.read_text().strip() and int(path.read_text()))


# How it ended


def test_a_program_that_ends_well_is_done(shell):
    outcome = shell("exit 0")
    assert (outcome.ok, outcome.exit_code, outcome.cause, outcome.error) == (True, 0, None, None)
    assert outcome.start <= outcome.end


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_an_exit_status_is_a_failure_and_its_cause(shell, code):
    outcome = shell(f"exit {code}")
    assert (outcome.ok, outcome.exit_code, outcome.cause) == (False, code, f"exit {code}")


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "INT"])
def test_a_signal_is_a_failure_and_its_cause(shell, name):
    outcome = shell(f"kill -{name} $$; sleep 60")
    assert (outcome.ok, outcome.cause) == (False, f"SIG{name}")
    assert outcome.exit_code == -signal.Signals[f"SIG{name}"]


def test_the_last_line_it_printed_is_in_the_error(shell):
    assert shell("echo first; echo why >&2; exit 2").error == "exit status 2: why"
    assert shell("echo only here; exit 2").error == "exit status 2: only here"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["no-such-program"], "not found"),
        (["/no/such/program"], "not found"),
        (["/etc/passwd"], "not executable"),
        (["/"], "not executable"),
        (["echo", "a\0b"], "cannot start"),
        (["echo", "x" * 200_000], "too long"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_command_that_cannot_be_started_says_why(context, words, cause):
    runner = ProcessRunner(words_of(*words))
    outcome = runner.run(Task.of(1), context)
    assert (outcome.ok, outcome.cause) == (False, cause)
    assert outcome.error
    assert "\n" not in outcome.error
    runner.close()


def test_a_program_that_appears_later_is_found_then(context, tmp_path):
    program = tmp_path / "late"
    runner = ProcessRunner(words_of(str(program)))
    assert runner.run(Task.of(1), context).cause == "not found"
    program.write_text("echo a script without an interpreter\n")
    program.chmod(0o755)
    outcome = runner.run(Task.of(1), context)
    assert (outcome.ok, outcome.stdout) == (True, b"a script without an interpreter\n")
    program.write_text("#!/bin/sh\necho with one\n")
    assert runner.run(Task.of(1), context).stdout == b"with one\n"
    program.unlink()
    assert runner.run(Task.of(1), context).cause == "not found"
    runner.close()


def test_a_param_that_makes_no_command_fails_its_task_only(context):
    def command(param, number, slot):
        raise UsageError("there is no {y}")

    runner = ProcessRunner(command)
    outcome = runner.run(Task.of(1), context)
    assert (outcome.ok, outcome.cause, outcome.error) == (False, "UsageError", "there is no {y}")
    runner.close()


# What it gets


def test_words_are_passed_as_they_are(context):
    nasty = ["; rm -rf *", "$(x)", "a b", "", "'\"\\", "é\n"]
    runner = ProcessRunner(
        words_of(sys.executable, "-c", "import sys; print(sys.argv[1:])", *nasty)
    )
    assert runner.run(Task.of(1), context).stdout.decode() == f"{nasty}\n"
    runner.close()


def test_the_environment_tells_of_the_task(cancel):
    names = ["PARAM", "TASK", "NUMBER", "ATTEMPT", "SLOT"]
    script = "echo " + " ".join(f'"$MANIPLE_{name}"' for name in names) + ' "$MINE" "$HOME"'
    runner = ProcessRunner(
        words_of("sh", "-c", script), environment={"PATH": os.environ["PATH"], "MINE": "é"}
    )
    made = Task.of({"x": "ü"})
    outcome = runner.run(Task(made.id, made.data, 3, 17), Context(cancel=cancel, slot=2))
    assert outcome.stdout.decode() == f'{{"x":"ü"}} {made.id} 17 3 2 é \n'
    runner.close()


def test_a_param_too_long_for_a_variable_is_in_a_file(shell):
    long = "x" * LONGEST_VARIABLE
    script = 'test -z "$MANIPLE_PARAM" && cat "$MANIPLE_PARAM_FILE"; echo; echo $MANIPLE_PARAM_FILE'
    context = Context(cancel=Cancel())
    runner = ProcessRunner(words_of("sh", "-c", script))
    first = runner.run(Task.of({"p": long + "1"}), context).stdout.decode().split()
    second = runner.run(Task.of({"p": long}), context).stdout.decode().split()
    assert (first[0], second[0]) == (f'{{"p":"{long}1"}}', f'{{"p":"{long}"}}')
    assert runner.run(Task.of(1), context).stdout.strip() == b""
    runner.close()
    assert not os.path.exists(second[1])


def test_standard_input_is_empty(shell):
    assert shell("cat; echo end").stdout == b"end\n"


def test_it_runs_in_the_folder_of_the_context_and_we_stay_where_we_are(cancel, tmp_path):
    here = os.getcwd()
    runner = ProcessRunner(words_of("pwd"))
    outcome = runner.run(Task.of(1), Context(cancel=cancel, directory=str(tmp_path)))
    assert outcome.stdout.decode().strip() == os.path.realpath(tmp_path)
    gone = Context(cancel=cancel, directory=str(tmp_path / "no"))
    assert not runner.run(Task.of(1), gone).ok
    assert os.getcwd() == here
    runner.close()


def test_signals_are_as_usual_in_it(shell):
    outcome = shell("kill -INT $$; echo still here")
    assert outcome.cause == "SIGINT"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        assert shell("kill -TERM $$; echo still here").cause == "SIGTERM"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


# Output


def test_output_is_kept_as_bytes_and_apart(shell):
    outcome = shell(r"printf 'a\000\377b'; printf 'err' >&2")
    assert (outcome.stdout, outcome.stderr) == (b"a\0\xffb", b"err")


def test_of_a_large_output_the_end_is_kept(shell):
    outcome = shell("head -c 3000000 /dev/zero; echo end")
    assert len(outcome.stdout) == KEPT_OUTPUT
    assert outcome.stdout.endswith(b"end\n")


def test_output_of_one_task_is_not_in_the_next(context):
    runner = ProcessRunner(lambda p, number, slot: ["sh", "-c", "test $0 = quiet || echo $0", p])
    printed = [runner.run(Task.of(p), context).stdout for p in ("long line", "b", "quiet", "c")]
    assert printed == [b"long line\n", b"b\n", b"", b"c\n"]
    runner.close()


def test_whoever_takes_the_output_gets_all_of_it(shell):
    taken = []

    def take(task, outcome, stdout, stderr):
        size = os.fstat(stdout).st_size
        taken.append((size, os.pread(stdout, 3, 0), stderr))

    shell("printf abc; head -c 3000000 /dev/zero", output=take)
    shell("true", output=take)
    assert taken == [(3_000_003, b"abc", None)]


def test_live_output_is_our_own(capfd, shell):
    outcome = shell("echo out; echo err >&2", live=True)
    assert (outcome.stdout, outcome.stderr) == (b"", b"")
    assert capfd.readouterr() == ("out\n", "err\n")


# Its end


@pytest.fixture(params=["pidfd", "no pidfd"])
def way(request, monkeypatch):
    """Both ways to wait: with process descriptors and without."""
    if request.param == "no pidfd":
        monkeypatch.delattr(process.os, "pidfd_open", raising=False)


@pytest.mark.usefixtures("way")
def test_what_a_program_leaves_behind_ends_with_it(shell, tmp_path):
    outcome = shell(f"sleep 600 & echo $! > {tmp_path}/pid; (trap '' TERM HUP; sleep 600) & exit 0")
    assert outcome.ok
    until(lambda: not alive(pid_in(tmp_path / "pid")))


@pytest.mark.usefixtures("way")
def test_a_program_that_runs_too_long_is_ended_with_all_it_started(shell, cancel, tmp_path):
    context = Context(cancel=cancel, time_limit=0.1)
    script = (
        f"sleep 600 & echo $! > {tmp_path}/pid; setsid sleep 600 & echo $! > {tmp_path}/other; wait"
    )
    outcome = shell(script, ctx=context)
    assert (outcome.ok, outcome.cause, outcome.interrupted) == (False, "time limit", False)
    assert "0.1 s" in outcome.error
    assert outcome.end - outcome.start >= 0.1
    for name in ("pid", "other"):
        if (tmp_path / name).exists() and (tmp_path / name).read_text():
            until(lambda name=name: not alive(pid_in(tmp_path / name)))


@pytest.mark.usefixtures("way")
def test_a_cancel_interrupts_and_kills_what_ignores_a_polite_word(shell, cancel, tmp_path):
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 600; done"
    asker = threading.Thread(target=lambda: (pid_in(tmp_path / "pid"), cancel.request()))
    asker.start()
    outcome = shell(script, grace=0.05)
    asker.join()
    assert (outcome.interrupted, outcome.ok) == (True, False)
    assert not alive(pid_in(tmp_path / "pid"))


def test_a_polite_program_may_clean_up_when_it_is_cancelled(shell, cancel, tmp_path):
    script = (
        f"trap 'echo bye > {tmp_path}/bye; exit 0' TERM; echo $$ > {tmp_path}/pid;"
        " while :; do sleep 0.01; done"
    )
    asker = threading.Thread(target=lambda: (pid_in(tmp_path / "pid"), cancel.request()))
    asker.start()
    outcome = shell(script, grace=20.0)
    asker.join()
    assert outcome.interrupted
    assert (tmp_path / "bye").read_text() == "bye\n"


def test_after_a_cancel_nothing_starts_to_stay(shell, cancel):
    cancel.request()
    assert shell("sleep 600").interrupted


def test_the_minion_is_told_which_group_runs(shell, cancel):
    groups, called = [], []
    context = Context(cancel=cancel, running=groups.append, meanwhile=lambda: called.append(1))
    outcome = shell("echo $$", ctx=context)
    assert groups == [-os.getpid(), int(outcome.stdout), 0]
    assert called == [1]


def test_an_error_of_the_minion_ends_the_program(shell, cancel, tmp_path):
    def meanwhile():
        pid_in(tmp_path / "pid")
        raise OSError("the queue is gone")

    with pytest.raises(OSError, match="the queue is gone"):
        shell(
            f"echo $$ > {tmp_path}/pid; sleep 600", ctx=Context(cancel=cancel, meanwhile=meanwhile)
        )
    assert not alive(pid_in(tmp_path / "pid"))


def test_hundreds_of_tasks_leave_no_open_file_and_no_zombie(context):
    runner = ProcessRunner(lambda p, number, slot: ["true" if p % 3 else "no-such-program"])
    runner.run(Task.of(1), context)
    before = set(os.listdir("/proc/self/fd"))
    children = children_of(os.getpid())
    for number in range(500):
        runner.run(Task.of(number), context)
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing itself
    assert set(children_of(os.getpid())) <= set(children)
    runner.close()
    runner.close()


def test_no_file_stays_in_the_temporary_folder(context, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runner = ProcessRunner(words_of("sh", "-c", "echo x"))
    runner.run(Task.of("y" * 100_000), context)
    runner.close()
    assert list(Path(tmp_path).iterdir()) == []
