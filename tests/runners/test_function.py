"""The runner for functions: whatever a function does ends one attempt, and every task runs once."""

import ctypes
import faulthandler
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from maniple import proctree
from maniple.runner import Cancel, Context
from maniple.runners import child
from maniple.runners.board import ROOM, SLOTS
from maniple.runners.function import FunctionRunner
from maniple.task import Task
from support import children as children_of
from support import until

SOURCES = Path(__file__).parents[2] / "src"


@pytest.fixture
def context():
    context = Context(cancel=Cancel())
    yield context
    context.cancel.close()


@pytest.fixture
def runner_of():
    made = []

    def make(function, **options):
        made.append(FunctionRunner(function, **options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()
        runner.close()


def collected(runner, context, count, timeout=30.0):
    """Collect so many attempts; param and outcome of each."""
    ended = []
    deadline = time.monotonic() + timeout
    while len(ended) < count and time.monotonic() < deadline:
        ended += runner.collect(context, 0.2)
    assert len(ended) == count
    return [(task.param, outcome) for task, outcome in ended]


def run(runner, context, params):
    tasks = [Task.of(param, salt=n) for n, param in enumerate(params)]
    runner.submit(tasks)
    return collected(runner, context, len(tasks))


def noted(path):
    return Counter(path.read_text().split()) if path.exists() else Counter()


def note(path, word):
    with open(path, "a") as file:
        file.write(f"{word}\n")


# Results


def test_results_come_in_order(runner_of, context):
    found = run(runner_of(lambda p: p * 2), context, range(1000))
    assert [(p, outcome.value) for p, outcome in found] == [(n, n * 2) for n in range(1000)]
    assert all(outcome.ok and outcome.start <= outcome.end for _, outcome in found)


def test_the_function_runs_in_another_process_and_all_tasks_in_the_same(runner_of, context):
    pids = {
        outcome.value for _, outcome in run(runner_of(lambda p: os.getpid()), context, range(50))
    }
    assert len(pids) == 1
    assert os.getpid() not in pids


@pytest.mark.parametrize("size", [0, 1, ROOM - 30, ROOM, ROOM + 1, 70_000, 3_000_000])
def test_results_and_params_have_any_size(runner_of, context, size):
    runner = runner_of(lambda p: p.encode() * 2)
    for _, outcome in run(runner, context, ["x" * size, "y" * size, "z"]):
        assert outcome.ok
    runner.submit([Task.of("a" * size)])
    [(_, outcome)] = collected(runner, context, 1)
    assert outcome.value == b"a" * size * 2


def test_hundreds_of_large_ones_do_not_block_each_other(runner_of, context):
    found = run(runner_of(lambda p: p), context, [{"n": n, "x": "x" * 9000} for n in range(400)])
    assert [outcome.value["n"] for _, outcome in found] == list(range(400))


def test_any_number_of_tasks_may_be_handed_over_at_once(runner_of, context):
    assert len(run(runner_of(lambda p: None), context, range(5 * SLOTS))) == 5 * SLOTS


# Exceptions


class OnlyHereError(Exception):
    """An exception that pickles and does not load: it wants two arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("I cannot say")

    def __reduce__(self):
        raise RuntimeError("nor travel")


class Bomb:
    """Loads with a bang."""

    def __reduce__(self):
        return (exec, ("raise SystemExit(0)",))


def raising(param):
    if param == "value":
        raise ValueError("a bad value")
    if param == "two":
        raise OnlyHereError("this", "that")
    if param == "mute":
        raise UnspeakableError
    if param == "lambda":
        error = ValueError("holds a function")
        error.what = lambda: 1
        raise error
    if param == "bomb":
        error = ValueError("holds a bomb")
        error.what = Bomb()
        raise error
    if param == "exit":
        sys.exit(0)
    if param == "interrupt":
        raise KeyboardInterrupt
    return param


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("value", "ValueError"),
        ("two", "OnlyHereError"),
        ("mute", "UnspeakableError"),
        ("lambda", "ValueError"),
        ("bomb", "ValueError"),
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
    ],
)
def test_an_exception_fails_its_task_with_the_traceback(runner_of, context, what, cause):
    found = run(runner_of(raising), context, ["first", what, "last"])
    assert [outcome.ok for _, outcome in found] == [True, False, True]
    failed = found[1][1]
    assert failed.cause == cause
    assert isinstance(failed.value, BaseException)
    assert "in raising" in failed.error
    assert cause in failed.error


def test_an_exception_that_can_travel_is_the_same_here(runner_of, context):
    [(_, outcome)] = run(runner_of(raising), context, ["value"])
    assert type(outcome.value) is ValueError
    assert outcome.value.args == ("a bad value",)


def test_a_very_long_error_is_kept(runner_of, context):
    def function(param):
        raise ValueError("x" * 100_000)

    assert len(run(runner_of(function), context, [1])[0][1].error) > 100_000


def test_a_result_that_cannot_be_pickled_fails_its_task(runner_of, context):
    found = run(runner_of(lambda p: (lambda: p) if p == 1 else p), context, range(3))
    assert [outcome.ok for _, outcome in found] == [True, False, True]
    assert "pickle" in found[1][1].error


def test_a_result_that_cannot_be_unpickled_fails_its_task(runner_of, context):
    found = run(runner_of(lambda p: Bomb() if p == 1 else p), context, range(3))
    assert [outcome.ok for _, outcome in found] == [True, False, True]
    assert found[1][1].cause == "SystemExit"
    assert "cannot be unpickled" in found[1][1].error


def test_a_param_that_cannot_be_decoded_fails_its_task(runner_of, context):
    runner = runner_of(lambda p: p, decode=pickle.loads)
    runner.submit([Task("", b"nonsense"), Task("", pickle.dumps(7))])
    ended = []
    while len(ended) < 2:
        ended += runner.collect(context, 0.2)
    assert [outcome.ok for _, outcome in ended] == [False, True]


# Deaths


def dying(log):
    def function(param):
        faulthandler.disable()  # the deaths are meant, and what it would print is long
        note(log, param["n"])
        match param.get("die"):
            case "exit 0":
                os._exit(0)
            case "exit 3":
                os._exit(3)
            case "SIGSEGV":
                ctypes.string_at(0)
            case "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            case "SIGABRT":
                os.abort()
        return param["n"]

    return function


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["exit 0", "exit 3", "SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_death_fails_one_task_and_every_task_runs_once(runner_of, context, tmp_path, how, capfd):
    params = [{"n": n, **({"die": how} if n % 7 == 3 else {})} for n in range(40)]
    found = run(runner_of(dying(tmp_path / "log")), context, params)
    for n, (param, outcome) in enumerate(found):
        assert param["n"] == n
        assert (outcome.ok, outcome.cause) == ((False, how) if n % 7 == 3 else (True, None))
    assert noted(tmp_path / "log") == {str(n): 1 for n in range(40)}
    capfd.readouterr()


def test_kills_from_outside_at_any_moment_cost_one_attempt_each(runner_of, context, tmp_path):
    log = tmp_path / "log"
    runner = runner_of(lambda p: note(log, p))
    chance = random.Random(7)
    tasks, ended, kills = [], [], 0
    while len(ended) < len(tasks) or kills < 20:
        if len(ended) == len(tasks):
            # the child may have been quicker than we
            more = [Task.of(n) for n in range(len(tasks), len(tasks) + 3000)]
            runner.submit(more)
            tasks += more
        ended += runner.collect(context, 0.001)
        if runner._child and kills < 60 and chance.random() < 0.5:
            os.kill(runner._child, signal.SIGKILL)
            kills += 1
    failed = {str(task.param) for task, outcome in ended if not outcome.ok}
    assert [task.param for task, _ in ended] == list(range(len(tasks)))
    assert len(failed) <= kills
    ran = noted(log)
    assert {n for n, times in ran.items() if times > 1} == set()
    assert {str(n) for n in range(len(tasks))} - set(ran) <= failed


def test_a_child_that_dies_before_it_can_start_is_not_restarted_for_ever(
    runner_of, context, monkeypatch, capfd
):
    def become(parent, *, lasting):
        os._exit(9)

    monkeypatch.setattr(child, "_become_child", become)
    found = run(runner_of(lambda p: p), context, range(3))
    assert [outcome.cause for _, outcome in found] == ["exit 9"] * 3
    capfd.readouterr()


# Time


def test_a_call_that_takes_too_long_is_ended_alone(runner_of, tmp_path):
    def function(param):
        note(tmp_path / "log", param)
        if param == 2:
            time.sleep(600)
        return param

    context = Context(cancel=Cancel())
    runner = runner_of(function)
    runner.submit([Task.of(n) for n in range(5)])
    found = collected(runner, context, 2)
    # only one of them is to be late, however busy the machine is
    until(lambda: noted(tmp_path / "log")["2"])
    context.time_limit = 0.3
    found += collected(runner, context, 1)
    context.time_limit = None
    found += collected(runner, context, 2)
    assert [outcome.cause for _, outcome in found] == [None, None, "time limit", None, None]
    assert "0.3 s" in found[2][1].error
    assert noted(tmp_path / "log") == {str(n): 1 for n in range(5)}
    context.cancel.close()


def test_a_cancel_returns_to_the_minion_at_once(runner_of, context):
    runner = runner_of(lambda p: time.sleep(600))
    runner.submit([Task.of(1)])
    context.cancel.request()
    assert runner.collect(context, 60.0) == []
    assert runner.stop() == []


def test_stop_returns_what_had_ended(runner_of, context, tmp_path):
    go = tmp_path / "two have ended"

    def function(param):
        if param == 2:
            go.touch()
            time.sleep(600)
        return param

    runner = runner_of(function)
    runner.submit([Task.of(n) for n in range(5)])
    while not go.exists():
        time.sleep(0.001)
    assert [task.param for task, _ in runner.stop()] == [0, 1]


# Taking back


def test_what_is_withdrawn_never_runs(runner_of, context, tmp_path):
    gate, log = tmp_path / "gate", tmp_path / "log"

    def function(param):
        note(log, param)
        while not gate.exists():
            time.sleep(0.001)

    runner = runner_of(function)
    runner.submit([Task.of(n) for n in range(300)])
    while not log.exists():
        time.sleep(0.001)
    assert [task.param for task in runner.withdraw()] == list(range(1, 300))
    gate.touch()
    assert [p for p, _ in collected(runner, context, 1)] == [0]
    assert run(runner, context, ["next"])[0][1].ok
    assert noted(log) == {"0": 1, "next": 1}


def test_a_race_for_thousands_of_tasks_loses_none_and_runs_none_twice(runner_of, context, tmp_path):
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    runner = runner_of(lambda p: os.write(log, b"%d\n" % p))
    chance = random.Random(3)
    waiting = [Task.of(n) for n in range(6000)]
    back, done, withdrawn = [], [], 0
    while waiting or runner.pending:
        if waiting and runner.pending < 100:
            runner.submit([waiting.pop() for _ in range(min(len(waiting), chance.randint(1, 60)))])
        done += [task.param for task, _ in runner.collect(context, 0.0)]
        if chance.random() < 0.5:
            back = runner.withdraw()
            withdrawn += len(back)
            waiting += back
    os.close(log)
    assert withdrawn > 50
    assert sorted(done) == list(range(6000))
    assert noted(tmp_path / "log") == {str(n): 1 for n in range(6000)}


def test_another_thread_may_take_tasks_back(runner_of, context, tmp_path):
    runner = runner_of(lambda p: p)
    over = threading.Event()
    back = []

    def keep_taking():
        while not over.is_set():
            back.extend(runner.withdraw())

    thread = threading.Thread(target=keep_taking)
    thread.start()
    done = []
    for start in range(0, 2000, 20):
        runner.submit([Task.of(n) for n in range(start, start + 20)])
        while runner.pending:
            done += [task.param for task, _ in runner.collect(context, 0.01)]
    over.set()
    thread.join()
    assert sorted(done + [task.param for task in back]) == list(range(2000))


# What functions do to their process


def test_what_a_function_prints_is_printed_once(tmp_path):
    script = (
        "import sys, os\nsys.stdout.write('before ')\nimport maniple\n"
        "list(maniple.map(lambda x: print('in', x), range(3), jobs=1))\nprint('after')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        timeout=60,
    )
    assert done.stdout.split() == ["before", "in", "0", "in", "1", "in", "2", "after"]
    assert done.stderr == ""


def test_a_function_that_forks_and_returns_twice_returns_once(runner_of, context, tmp_path):
    def function(param):
        note(tmp_path / "log", param)
        if param % 3 == 0:
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            elif param % 2:
                sys.exit(0)
        return param

    found = run(runner_of(function), context, range(12))
    assert [outcome.value for _, outcome in found] == list(range(12))
    assert noted(tmp_path / "log") == {str(n): 1 for n in range(12)}


def test_daemons_of_a_function_end_with_its_process(runner_of, context, tmp_path):
    def function(param):
        subprocess.Popen(["sleep", "600"])
        daemon = subprocess.Popen(
            ["setsid", "sh", "-c", "sleep 600 & echo $!"], stdout=subprocess.PIPE
        )
        return int(daemon.stdout.readline())

    runner = runner_of(function)
    [(_, outcome)] = run(runner, context, [1])
    assert proctree._alive(outcome.value)
    runner.close()
    deadline = time.monotonic() + 20
    while proctree._alive(outcome.value):
        assert time.monotonic() < deadline


def test_a_function_that_closes_all_files_costs_no_task(runner_of, context):
    def function(param):
        if param % 5 == 2:
            os.closerange(3, 256)
        return param

    found = run(runner_of(function), context, range(20))
    assert [outcome.value for _, outcome in found] == list(range(20))


def test_a_large_result_after_all_files_were_closed_is_a_failure(runner_of, context):
    def function(param):
        os.closerange(3, 256)
        return b"x" * 100_000

    [(_, outcome)] = run(runner_of(function), context, [1])
    assert not outcome.ok
    assert "handed over" in outcome.error


def test_a_function_that_closes_its_output_costs_nothing(runner_of, context):
    def function(param):
        sys.stdout = None
        return param

    assert all(outcome.ok for _, outcome in run(runner_of(function), context, range(3)))


def test_a_function_that_ignores_signals_can_be_ended(runner_of, context):
    def function(param):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(600)

    context.time_limit = 0.2
    [(_, outcome)] = run(runner_of(function, grace=0.05), context, [1])
    assert outcome.cause == "time limit"


def test_a_leak_is_ended_between_two_tasks(runner_of, context, monkeypatch):
    monkeypatch.setattr("maniple.runners.function.LOOK_SECONDS", 0.0)
    kept = []

    def function(param):
        kept.append(b"x" * 3_000_000)
        return os.getpid()

    runner = runner_of(function, recycle=20_000_000)
    pids = []
    for start in range(0, 60, 5):
        pids += [outcome.value for _, outcome in run(runner, context, range(start, start + 5))]
    assert 2 < len(set(pids)) < 30


def test_hundreds_of_deaths_leave_no_open_file_and_no_zombie(runner_of, context):
    runner = runner_of(lambda p: os._exit(1) if p % 2 else p)
    run(runner, context, range(2))
    before = set(os.listdir("/proc/self/fd"))
    children = set(children_of(os.getpid()))
    run(runner, context, range(200))
    runner.stop()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1
    assert set(children_of(os.getpid())) <= children


@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "another thread"])
def test_the_child_dies_with_its_minion(tmp_path, thread):
    script = f"""
import os, signal, threading, time
from maniple.runners.function import FunctionRunner
from maniple.runner import Cancel, Context
from maniple.task import Task
def function(param):
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
def work():
    runner.submit([Task.of(1)])
runner = FunctionRunner(function)
if {thread}:
    threads = threading.Thread(target=work); threads.start(); threads.join()
else:
    work()
path = {str(tmp_path / "pid")!r}
while not (os.path.exists(path) and open(path).read()): time.sleep(0.01)
time.sleep(0.05)
print(os.stat("/proc/" + open(path).read()) and "alive", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "alive\n")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while proctree._alive(pid):
        assert time.monotonic() < deadline
