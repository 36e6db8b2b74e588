"""`maniple.map`: a function over many params, in processes."""

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

import maniple
from maniple import proctree
from maniple.errors import ManipleError, UsageError
from maniple.sweep.map import TaskFailedError
from support import children as children_of
from support import until

SOURCES = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def _leaves_no_process():
    before = set(children_of(os.getpid()))
    yield
    gc.collect()
    # an orphan that this process adopts may need a moment to be gone
    until(lambda: set(children_of(os.getpid())) <= before)


def run_python(script, **options):
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        **options,
    )


def test_results_come_in_the_order_of_the_params():
    def slow_first(param):
        time.sleep(0.1 if param == 0 else 0)
        return param * param

    assert list(maniple.map(slow_first, range(200), jobs=3)) == [n * n for n in range(200)]


def test_or_as_they_come(tmp_path):
    gate = tmp_path / "gate"

    def function(param):
        while param == 0 and not gate.exists():
            time.sleep(0.001)
        return param

    results = maniple.map(function, range(4), jobs=2, ordered=False)
    first = next(results)
    assert first != 0
    gate.touch()
    assert sorted([first, *results]) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_there_may_be_fewer_params_than_jobs(count):
    assert list(maniple.map(abs, range(count), jobs=5)) == list(range(count))


def test_the_number_of_jobs_is_that_of_processors_unless_told():
    assert list(maniple.map(abs, [-1])) == [1]
    with pytest.raises(UsageError, match="jobs must be at least 1"):
        maniple.map(abs, [1], jobs=0)
    with pytest.raises(UsageError, match="'raise' or 'return'"):
        maniple.map(abs, [1], errors="ignore")


def test_several_jobs_are_several_processes(tmp_path):
    def meet(param):
        (tmp_path / str(param)).touch()
        deadline = time.monotonic() + 20
        while len(os.listdir(tmp_path)) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        return os.getpid()

    assert len({*maniple.map(meet, range(3), jobs=3), os.getpid()}) == 4


def test_lambdas_closures_and_methods_are_functions():
    offset = 5
    assert list(maniple.map(lambda p: p + offset, [1, 2], jobs=2)) == [6, 7]
    assert list(maniple.map("-".join, [["a", "b"]], jobs=1)) == ["a-b"]


def test_params_are_any_python_objects():
    params = [{1, 2}, b"bytes", 1 + 2j, None, Path("x"), float("inf")]
    assert list(maniple.map(lambda p: p, params, jobs=2)) == params


def test_large_params_and_results_pass():
    assert (
        list(maniple.map(lambda p: p * 2, [b"x" * 3_000_000] * 3, jobs=2)) == [b"x" * 6_000_000] * 3
    )


def test_a_param_that_cannot_be_pickled_is_named():
    with pytest.raises(UsageError, match="param number 3 cannot be pickled"):
        list(maniple.map(abs, [1, 2, lambda: 3], jobs=1))


def test_an_endless_iterator_is_read_as_the_work_goes_on():
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield number

    with maniple.map(abs, endless(), jobs=2, window=50) as results:
        assert list(itertools.islice(results, 300)) == list(range(300))
    assert len(read) <= 350


@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_results_are_kept_than_the_window_holds(tmp_path, ordered):
    read = []

    def function(param):
        while param == 0 and not (tmp_path / "gate").exists():
            time.sleep(0.001)
        return param

    def endless():
        for number in itertools.count():
            read.append(number)
            if number == 19:
                (tmp_path / "gate").touch()
            yield number

    with maniple.map(function, endless(), jobs=2, window=20, ordered=ordered) as results:
        next(results)
        assert len(read) <= 21


def test_an_error_of_the_params_reaches_the_caller_and_ends_the_work():
    def params():
        yield from range(20)
        raise RuntimeError("no more")

    results = maniple.map(abs, params(), jobs=2)
    with pytest.raises(RuntimeError, match="no more"):
        list(results)
    assert list(results) == []


# Errors


def failing(param):
    if param == 2:
        raise ValueError("bad 2")
    return param


def test_an_exception_is_raised_in_its_place_with_its_traceback():
    results = maniple.map(failing, range(5), jobs=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="bad 2") as caught:
        next(results)
    text = "".join(traceback.format_exception(caught.value))
    assert "in failing" in text
    assert list(results) == []


def test_or_returned_in_its_place():
    found = list(maniple.map(failing, range(5), jobs=2, errors="return"))
    assert [found[n] for n in (0, 1, 3, 4)] == [0, 1, 3, 4]
    assert isinstance(found[2], ValueError)


def leaving(param):
    match param:
        case "exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "stop":
            raise StopIteration
        case "close":
            raise GeneratorExit
        case "die":
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), 9)
    return param


@pytest.mark.parametrize("what", ["exit", "interrupt", "stop", "close", "die", "kill"])
def test_what_would_end_the_caller_unseen_is_an_error(what):
    with pytest.raises(TaskFailedError) as caught:
        list(maniple.map(leaving, ["a", what, "b"], jobs=1))
    assert isinstance(caught.value, ManipleError)
    found = list(maniple.map(leaving, ["a", what, "b"], jobs=1, errors="return"))
    assert [found[0], type(found[1]), found[2]] == ["a", TaskFailedError, "b"]


def test_a_call_may_take_so_long_and_no_longer():
    # the shortest that is enough for a call that does nothing, however busy the machine is
    for timeout in (0.2, 2, 20):
        calls = maniple.map(time.sleep, [0, 600, 0], jobs=1, timeout=timeout, errors="return")
        first, long, last = calls
        assert f"{timeout:g} s" in str(long)
        if first is last is None:
            break
    assert first is last is None


def test_a_failed_call_may_be_tried_again(tmp_path):
    def function(param):
        with open(tmp_path / "log", "a") as log:
            log.write(f"{param}\n")
        tries = (tmp_path / "log").read_text().split().count(str(param))
        if param == 1 and tries < 3:
            os._exit(1)
        if param == 2:
            raise ValueError("always")
        return tries

    found = list(maniple.map(function, range(4), jobs=1, retries=2, errors="return"))
    assert found[:2] == [1, 3]
    assert isinstance(found[2], ValueError)
    assert found[3] == 1
    assert (tmp_path / "log").read_text().split().count("2") == 3


# Ends


def test_results_that_are_dropped_half_way_leave_no_process():
    results = maniple.map(lambda p: os.getpid(), itertools.count(), jobs=2)
    pids = {next(results) for _ in range(10)}
    del results
    gc.collect()
    assert not any(map(proctree._alive, pids))


def test_results_that_are_closed_have_come_to_their_end():
    results = maniple.map(time.sleep, [0, 600], jobs=2)
    next(results)
    results.close()
    results.close()
    assert list(results) == []


def test_a_map_in_a_map():
    def outer(param):
        return sum(maniple.map(lambda p: p * param, range(10), jobs=2))

    assert list(maniple.map(outer, range(4), jobs=2)) == [0, 45, 90, 135]


def test_a_map_in_a_map_ends_with_it(tmp_path):
    def inner(param):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(600)

    def outer(param):
        return list(maniple.map(inner, range(2), jobs=2))

    results = maniple.map(outer, [1], jobs=1)
    while len(os.listdir(tmp_path)) < 2:
        time.sleep(0.001)
    results.close()
    deadline = time.monotonic() + 20
    while any(proctree._alive(int(pid)) for pid in os.listdir(tmp_path)):
        assert time.monotonic() < deadline


def test_threads_may_map_at_the_same_time():
    found = {}

    def work(which):
        found[which] = list(maniple.map(lambda p: p + which, range(100), jobs=2))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {which: list(range(which, which + 100)) for which in range(4)}


def test_results_may_be_read_after_the_thread_that_asked_for_them_has_ended():
    made = []
    thread = threading.Thread(target=lambda: made.append(maniple.map(abs, range(50), jobs=2)))
    thread.start()
    thread.join()
    assert list(made[0]) == list(range(50))


def test_an_exit_with_results_unread_is_quiet_and_quick():
    done = run_python(
        "import maniple, time\n"
        "results = maniple.map(time.sleep, [0] * 5 + [600] * 5, jobs=2)\n"
        "next(results)\nclass Keep: pass\nKeep.cycle = (Keep, results)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_interrupt_ends_the_processes_too(tmp_path):
    script = (
        "import maniple, os, sys, time\n"
        f"def work(p): open('{tmp_path}/pid', 'w').write(f'{{os.getpid()}} '); time.sleep(600)\n"
        "list(maniple.map(work, range(4), jobs=1))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith(" "):
        time.sleep(0.001)
    process.send_signal(2)
    error = process.communicate(timeout=60)[1]
    assert "KeyboardInterrupt" in error
    assert process.returncode == -2
    assert not proctree._alive(int((tmp_path / "pid").read_text()))
