"""What the drop-in package survives: real processes, killed for real."""

import os
import signal
import sys
import time

import pytest

from maniple import proctree
from maniple.urls import open_queue
from sweeps import Minion, make_sweep, run, status


def alive(pid):
    return proctree._alive(pid)


@pytest.fixture
def leftover():
    """End the programs of minions that were killed: nobody else does."""
    groups = []
    yield groups.append
    for group in groups:
        os.killpg(group, signal.SIGKILL)


WORK = "echo $$; sleep 600; echo"


def gone(pid):
    """Wait for the end of a process; the suite's time limit is the deadline."""
    while alive(pid):
        time.sleep(0.01)
    return True


def test_the_param_of_a_killed_minion_runs_again_elsewhere(tmp_path, leftover):
    make_sweep(tmp_path / "sweeps", ["a"])
    with Minion(WORK, cwd=tmp_path) as first:
        leftover(int(first.line()))
        first.kill()
    assert status(tmp_path / "sweeps").in_progress == {"a"}
    assert run("minionize", "echo", cwd=tmp_path).stdout == "a\n"
    assert status(tmp_path / "sweeps") == (set(), set(), {"a"})


def test_a_minion_that_finds_nothing_waits_for_what_another_may_leave(tmp_path, leftover):
    make_sweep(tmp_path / "sweeps", ["a"])
    with Minion(WORK, cwd=tmp_path) as first:
        leftover(int(first.line()))
        with Minion("echo", cwd=tmp_path) as second:
            first.kill()
            assert second.line() == "a"
            assert second.end()[0] == 0


def test_the_param_of_a_minion_that_fell_silent_goes_to_another_when_its_lease_lapses(
    tmp_path, leftover
):
    make_sweep(tmp_path / "sweeps", ["a"])
    with Minion(WORK, cwd=tmp_path, MINION_LEASE="0.5") as first:
        leftover(int(first.line()))
        first.process.send_signal(signal.SIGSTOP)
        assert run("minionize", "echo", cwd=tmp_path).stdout == "a\n"


def test_a_lease_is_renewed_while_a_param_is_at_work(tmp_path):
    # the shortest that is long enough for a minion that gets no processor for a moment
    for number, lease in enumerate((0.3, 2, 10)):
        folder = tmp_path / str(number)
        folder.mkdir()
        make_sweep(folder / "sweeps", ["a"])
        options = {"MINION_LEASE": str(lease)}
        work = f"echo started; sleep {5 * lease}; echo end"
        with Minion(work, cwd=folder, **options) as first:
            assert first.line() == "started"
            stolen = run("minionize", "echo", cwd=folder, **options).stdout
            assert first.line() == "end a"
        if not stolen:
            break
    assert stolen == ""


TREE = """
import os, subprocess, sys, time
# a child in a session of its own, a child that ignores TERM, an orphan
subprocess.Popen([sys.executable, "deaf.py"], start_new_session=True)
subprocess.Popen([sys.executable, "deaf.py"])
subprocess.Popen(["sh", "-c", f"setsid {sys.executable} deaf.py &"]).wait()
os.write(1, b"%d\\n" % os.getpid())
time.sleep(600)
"""

DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(600)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_descendants_and_gives_the_param_back_at_once(tmp_path, number, code):
    (tmp_path / "tree.py").write_text(TREE)
    (tmp_path / "deaf.py").write_text(DEAF)
    make_sweep(tmp_path / "sweeps", ["a"])
    options = {"MINION_LEASE": "3600", "MINION_REPORTER": "json"}
    with Minion(sys.executable, "tree.py", cwd=tmp_path, **options) as minion:
        pids = [int(minion.line()) for _ in range(4)]
        ended, errors = minion.end(number)
    assert (ended, errors) == (code, "")
    assert all(gone(pid) for pid in pids)
    assert status(tmp_path / "sweeps") == ({"a"}, set(), set())
    assert not (tmp_path / "minion-report").exists()
    assert run("minionize", "echo", cwd=tmp_path).stdout == "a\n"


def test_a_signal_gives_the_task_of_any_queue_back_as_not_attempted(tmp_path):
    url = f"sqlite:{tmp_path / 'q.db'}"
    queue = open_queue(url)
    queue.put(["a"])
    with Minion("echo started; sleep 600; echo", cwd=tmp_path, MINION_ENGINE=url) as minion:
        assert minion.line() == "started"
        assert minion.end(signal.SIGTERM) == (143, "")
    (lease,) = queue.lease(1, 30.0, 60.0)
    assert lease.task.attempt == 1
    queue.close()


def test_a_signal_ends_a_minion_that_waits_for_input(tmp_path):
    with Minion("echo", cwd=tmp_path, MINION_ENGINE="file") as minion:
        minion.say("1\n")
        assert minion.line() == "1"
        assert minion.end(signal.SIGINT) == (130, "")


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path):
    code = "import signal, os; signal.signal(2, signal.SIG_IGN); os.execvp('minionize', ['minionize', 'echo'])"
    with Minion("-c", code, cwd=tmp_path, command=None, MINION_ENGINE="file") as minion:
        minion.say("1\n")
        assert minion.line() == "1"
        minion.process.send_signal(signal.SIGINT)
        minion.say("2\n")
        assert minion.line() == "2"
        assert minion.end()[0] == 0


SCRIPT = """
import os, subprocess, sys, threading, time
from minionize import Callback, Engine, EntryPoint, FuncCallback, minionizer

def sleeps(param):
    print("started", flush=True)
    time.sleep(600)

def swallows(param):
    told = False
    while True:
        try:
            if not told:
                told = True
                print("started", flush=True)
            time.sleep(600)
        except BaseException:
            pass

def is_deaf(param):
    import hashlib
    print("started", flush=True)
    # a call that does not come back to Python for minutes
    hashlib.pbkdf2_hmac("sha512", b"word", b"salt", 1 << 30)

def has_a_pool(param):
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(abs, range(4))
        print("started", flush=True)
        pool.map(time.sleep, [600, 600])

def terminates_children(param):
    import multiprocessing
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join()
        assert child.exitcode == -15, child.exitcode
    print("started", flush=True)

def interrupts_itself(param):
    raise KeyboardInterrupt

minionizer(FuncCallback(globals()[sys.argv[1]])).run()
"""


@pytest.mark.parametrize("function", ["sleeps", "swallows", "is_deaf", "has_a_pool"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_function_cannot_outlive_a_signal(tmp_path, function, number, code):
    (tmp_path / "script.py").write_text(SCRIPT)
    url = f"sqlite:{tmp_path / 'q.db'}"
    queue = open_queue(url)
    queue.put(["a"])
    with Minion("script.py", function, cwd=tmp_path, command=None, MINION_ENGINE=url) as minion:
        assert minion.line() == "started"
        below = proctree.descendants(minion.process.pid)
        ended, errors = minion.end(number)
    assert ended == code
    assert "Traceback" not in errors
    assert all(gone(pid) for pid in below)
    (lease,) = queue.lease(1, 30.0, 60.0)
    assert lease.task.attempt == 1
    queue.close()


def test_the_signals_of_a_functions_own_children_are_not_ours(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["script.py", "terminates_children"]
    options = {"MINION_ENGINE": "file", "MINION_REPORTER": "json"}
    with Minion(*words, cwd=tmp_path, command=None, **options) as minion:
        minion.say("1\n2\n")
        assert [minion.line(), minion.line()] == ["started", "started"]
        assert minion.end() == (0, "")


def test_a_keyboard_interrupt_that_a_function_raises_is_its_failure(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["script.py", "interrupts_itself"]
    with Minion(*words, cwd=tmp_path, command=None, MINION_ENGINE="file") as minion:
        minion.say("1\n2\n")
        code, errors = minion.end()
    assert code == 0
    assert errors.count("Traceback") == 2


def test_a_broken_engine_is_one_line_and_not_a_traceback(tmp_path):
    (tmp_path / "q.db").write_text("this is no database, and long enough to be one" * 100)
    ran = run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="sqlite:q.db")
    assert ran.returncode in {2, 3}
    assert ran.stderr.count("\n") == 1


def test_processes_that_were_there_before_are_left_alone(tmp_path):
    code = (
        "import subprocess, sys\n"
        "from minionize import *\n"
        "mine = subprocess.Popen(['sleep', '600'])\n"
        "print(mine.pid, flush=True)\n"
        "class Work(ProcessCallback):\n"
        "    def to_cmd(self, param): return 'echo $$; exec sleep 600'\n"
        "minionizer(Work()).run()\n"
    )
    with Minion("-c", code, cwd=tmp_path, command=None, MINION_ENGINE="file") as minion:
        mine = int(minion.line())
        minion.say("1\n")
        theirs = int(minion.line())
        minion.process.send_signal(signal.SIGTERM)
        assert minion.process.wait() == 143
        assert gone(theirs)
        assert alive(mine)
        os.kill(mine, signal.SIGKILL)
