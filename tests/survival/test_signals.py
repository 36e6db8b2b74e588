"""Ctrl-C, SIGTERM and SIGHUP: everything ends, leases go back at once, nothing is marked done."""

import os
import pty
import signal
import subprocess
import time

import pytest

from support import is_alive, minions, until

Q = "sqlite:q.db"
PROMPT = 30.0
"""Seconds for what takes two on an idle machine; the tasks would go on for minutes."""
TREE = 'echo $$ >> pids; sleep 300 & setsid sleep 301 & touch "started-$1"; wait'
URLS = ["sqlite:q.db", "dir:q"]


def busy(shell, url, **options):
    """Start two minions on endless tasks that have children of their own."""
    shell.maniple("sweep", "x=1..5", "-q", url)
    process = shell.start("run", "-q", url, "-j", 2, "--", "sh", "-c", TREE, "sh", "{x}", **options)
    until(lambda: len(list(shell.folder.glob("started-*"))) == 2)
    return process


def ended_in_order(shell, url, process, code, began):
    """Check the end; the clock starts at the signal."""
    out, err = process.communicate(timeout=300)
    took = time.monotonic() - began
    assert process.returncode == code, err
    assert "Traceback" not in (out or "") + (err or "")
    until(lambda: not shell.alive())
    assert took < PROMPT
    stats = shell.stats(url)
    assert (stats["waiting"], stats["leased"], stats["done"], stats["failed"]) == (5, 0, 0, 0)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_all_tasks_and_gives_their_leases_back(shell, url, number, code):
    process = busy(shell, url)
    os.kill(process.pid, number)
    ended_in_order(shell, url, process, code, time.monotonic())


def test_a_cluster_that_signals_every_process_is_no_different(shell):
    process = busy(shell, Q)
    began = time.monotonic()
    for pid in shell.alive():
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    _, err = process.communicate(timeout=300)
    assert time.monotonic() - began < PROMPT
    assert process.returncode in {1, 143}
    assert "Traceback" not in err
    assert not [pid for pid in shell.alive() if is_alive(pid) and pid == process.pid]
    assert shell.stats()["done"] == 0
    assert shell.stats()["leased"] == 0


def test_ctrl_c_in_a_terminal(shell):
    shell.maniple("sweep", "x=1..5", "-q", Q)
    ours, theirs = pty.openpty()

    def take_terminal():
        import fcntl
        import termios

        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = shell.start(
        "run",
        "-q",
        Q,
        "-j",
        2,
        "--",
        "sh",
        "-c",
        TREE,
        "sh",
        "{x}",
        stdin=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    until(lambda: len(list(shell.folder.glob("started-*"))) == 2)
    os.write(ours, b"\x03")
    ended_in_order(shell, Q, process, 130, time.monotonic())
    os.close(ours)


STUBBORN = 'trap "" INT TERM HUP; touch "started-$1"; while :; do sleep 0.2; done'


def test_a_stubborn_task_is_ended_too(shell):
    shell.maniple("sweep", "x=1..5", "-q", Q)
    process = shell.start("run", "-q", Q, "-j", 2, "--", "sh", "-c", STUBBORN, "sh", "{x}")
    until(lambda: len(list(shell.folder.glob("started-*"))) == 2)
    process.send_signal(signal.SIGINT)
    ended_in_order(shell, Q, process, 130, time.monotonic())


def test_a_second_ctrl_c_ends_everything_at_once(shell):
    process = busy(shell, Q)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    until(lambda: not shell.alive())
    assert shell.stats()["done"] == 0
    # whatever was not given back is known to be lost with its minion
    again = shell.maniple("run", "-q", Q, "--", "true")
    assert again.returncode == 0
    assert shell.stats()["done"] == 5


def test_a_signal_while_the_crew_is_still_starting_ends_it(shell):
    process = shell.start("run", "x=1..3", "-j", 200, "--", "sleep", "300")
    until(lambda: minions(process.pid))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "Traceback" not in err


def test_a_signal_while_input_is_awaited_ends_the_run(shell):
    process = shell.start("run", "-j", 1, "--", "touch", stdin=subprocess.PIPE)
    process.stdin.write("a\n")
    process.stdin.flush()
    until((shell.folder / "a").exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert "Traceback" not in process.stderr.read()


def test_a_minion_that_is_told_to_leave_gives_its_task_back(shell):
    shell.maniple("sweep", "x=1..5", "-q", Q)
    process = shell.start("run", "-q", Q, "-j", 1, "--", "sh", "-c", TREE, "sh", "{x}")
    until(lambda: list(shell.folder.glob("started-*")))
    (minion,) = minions(process.pid)
    os.kill(minion, signal.SIGTERM)
    ended_in_order(shell, Q, process, 143, time.monotonic())


def test_a_hang_up_is_ignored_under_nohup(shell):
    process = shell.start(
        "run",
        "x=1",
        "-j",
        1,
        "--",
        "sh",
        "-c",
        "touch started; while [ ! -e go ]; do sleep 0.02; done; touch done",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    until((shell.folder / "started").exists)
    process.send_signal(signal.SIGHUP)
    (shell.folder / "go").touch()
    assert shell.finish(process)[0] == 0
    assert (shell.folder / "done").exists()


def test_an_interrupted_sweep_can_be_filled_again(shell):
    process = shell.start("sweep", "x=1..3000000", "-q", Q)
    until((shell.folder / "q.db").exists)
    process.send_signal(signal.SIGINT)
    code, _, err = shell.finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert shell.maniple("sweep", "x=1..10", "-q", Q).returncode == 0
