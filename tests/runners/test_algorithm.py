"""The runner for algorithms: which sandbox, which limits, and what becomes of an answer."""

import os
import random
import threading

import pytest

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.kind import Kind
from maniple.algorithm.package import Package
from maniple.errors import AlgorithmError, MissingExtraError, StorageError
from maniple.minion.book import Policy
from maniple.minion.minion import Minion
from maniple.queues.memory import MemoryQueue
from maniple.runner import Cancel, Context, Runner
from maniple.runners.algorithm import (
    AlgorithmRunner,
    algorithm_runner,
    capped,
    params_of,
    parts_of,
    run_package,
    unpacked,
)
from maniple.sweep.results import ResultFile
from maniple.task import Task
from sandboxes import PaperMakers
from small_algorithms import ADD, FOREIGN
from support import PATIENCE, until


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.fixture
def runner(cache):
    """Make runners of one module whose arguments are the task's param."""
    made = []
    blobs = Blobs(os.path.join(cache, "blobs"))
    code = Code(blobs.put(ADD), name="add@1")

    def make(call=None, **options):
        def called(task):
            return Call(code, b"[1,2]", list(task.param))

        options.setdefault("makers", PaperMakers())
        runner = AlgorithmRunner(call or called, lambda c: parts_of(c, blobs, cache), **options)
        runner.code, runner.blobs = code, blobs
        made.append(runner)
        return runner

    yield make
    for each in made:
        each.close()


@pytest.fixture
def context():
    cancel = Cancel()
    yield Context(cancel=cancel)
    cancel.close()


def test_a_task_is_a_call_and_its_value_the_result(runner, context):
    one = runner()
    assert isinstance(one, Runner)
    outcome = one.run(Task.of([]), context)
    assert (outcome.ok, outcome.value, outcome.cause, outcome.error) == (True, 3, None, None)
    assert outcome.end >= outcome.start > 1e9


def test_a_failure_tells_what_the_algorithm_said_last(runner, context):
    outcome = runner().run(Task.of(["fail"]), context)
    assert (outcome.ok, outcome.cause, outcome.exit_code) == (False, "exit 3", 3)
    assert outcome.error == "exit status 3: the reason"
    assert outcome.stderr.startswith(b"first line")


def test_the_module_says_which_sandbox_runs_it(runner, context):
    makers = PaperMakers()
    one = runner(makers=makers)
    one.run(Task.of([]), context)
    assert list(makers.made) == [Kind.WASI]
    blobs = one.blobs
    code = Code(blobs.put(FOREIGN), loader=blobs.put(b"onmessage = null"))
    two = runner(lambda task: Call(code, b"[1]"), makers=makers)
    two.run(Task.of([]), context)
    assert list(makers.made) == [Kind.WASI, Kind.LOADER]


def test_sandboxes_are_made_once_when_needed_and_closed(runner, context):
    makers = PaperMakers()
    one = runner(makers=makers)
    assert not makers.made
    for _ in range(3):
        one.run(Task.of([]), context)
    one.close()
    assert makers.made[Kind.WASI].closed
    assert len(makers.made[Kind.WASI].calls) == 3


def test_what_this_machine_cannot_run_is_a_failed_task_with_the_reason(runner, context):
    def missing():
        raise MissingExtraError("a JavaScript algorithm needs the library deno")

    one = runner(makers={Kind.WASI: missing, Kind.LOADER: missing})
    outcome = one.run(Task.of([]), context)
    assert (outcome.ok, outcome.cause) == (False, "MissingExtraError")
    assert outcome.error == "a JavaScript algorithm needs the library deno"
    foreign = Code(one.blobs.put(FOREIGN))
    outcome = runner(lambda task: Call(foreign)).run(Task.of([]), context)
    assert "imports env, which its JavaScript loader must bring" in outcome.error
    outcome = runner(lambda task: Call(Code("0" * 64, name="gone@1"))).run(Task.of([]), context)
    assert "cannot read the module of gone@1" in outcome.error


def test_a_call_that_cannot_be_made_is_a_failed_task(runner, context):
    def call(task):
        raise AlgorithmError("no such param")

    outcome = runner(call).run(Task.of([]), context)
    assert (outcome.ok, outcome.error) == (False, "no such param")


def test_a_machine_that_gives_out_ends_the_minion(runner, context):
    def call(task):
        raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        runner(call).run(Task.of([]), context)


def test_a_call_may_use_what_all_of_them_allow():
    asked = Limits(seconds=100, memory=1000, output=10, disk=10, files=10)
    assert capped(asked, None, None) == asked
    assert capped(asked, None, 7.0).seconds == 7
    most = Limits(seconds=50, memory=10, output=100, disk=100, files=1)
    assert capped(asked, most, 70.0) == Limits(seconds=50, memory=10, output=10, disk=10, files=1)
    endless = Limits(seconds=None)
    assert capped(endless, None, None).seconds is None
    assert capped(endless, Limits(seconds=None), 3.0).seconds == 3


def test_the_time_limit_of_the_minion_reaches_the_sandbox(runner, context):
    makers = PaperMakers()
    context.time_limit = 5.0
    runner(makers=makers, limits=Limits(memory=123)).run(Task.of([]), context)
    (call,) = makers.made[Kind.WASI].calls
    assert (call.limits.seconds, call.limits.memory) == (5.0, 123)


def test_every_answer_is_delivered(runner, context):
    got = []
    one = runner(deliver=lambda task, answer: got.append((task.param, answer.ok)))
    one.run(Task.of([]), context)
    one.run(Task.of(["fail"]), context)
    assert got == [([], True), (["fail"], False)]


def test_what_was_printed_is_passed_on_whole(runner, context):
    got = []

    def output(task, outcome, stdout, stderr):
        read = [None if fd is None else os.pread(fd, 100, 0) for fd in (stdout, stderr)]
        got.append(tuple(read))

    one = runner(output=output)
    for words in (["fail"], ["print"], []):
        one.run(Task.of(words), context)
    assert got == [(None, b"first line\nthe reason\n"), (b"printed\n", None)]


def test_a_minion_that_must_stop_gives_its_task_back(runner, context):
    got = []
    makers = PaperMakers()
    one = runner(makers=makers, deliver=lambda *each: got.append(each))
    thread = threading.Timer(0.05, context.cancel.request)
    thread.start()
    outcome = one.run(Task.of(["wait"]), context)
    thread.join()
    assert outcome.interrupted
    assert not got


def test_one_task_is_ended_from_another_thread(runner, context):
    makers = PaperMakers()
    one = runner(makers=makers)
    task = Task.of(["wait"])
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(one.run(task, context)))
    one.abort(task.id)
    thread.start()
    until(lambda: makers.made.get(Kind.WASI) and makers.made[Kind.WASI].running.is_set())
    one.abort("another")
    assert makers.made[Kind.WASI].running.is_set()
    one.abort(task.id)
    thread.join(PATIENCE)
    assert [(o.ok, o.interrupted, o.cause) for o in outcomes] == [(False, False, "cancelled")]
    assert one.run(Task.of([]), context).ok


def test_a_sandbox_that_has_not_begun_hears_the_word_again(runner, context):
    makers = PaperMakers()
    one = runner(makers=makers)
    one.run(Task.of([]), context)
    sandbox = makers.made[Kind.WASI]
    task = Task.of(["wait"])
    run = sandbox.run

    def late(call, parts, cancel):
        one.abort(task.id)
        return run(call, parts, cancel)

    sandbox.run = late
    assert one.run(task, context).cause == "cancelled"


def test_a_task_is_ended_even_before_its_call_is_known(runner, context):
    makers = PaperMakers()
    task = Task.of(["wait"])

    def call(task):
        one.abort(task.id)
        return Call(one.code, b"[1]", ["wait"])

    one = runner(call, makers=makers)
    assert one.run(task, context).cause == "cancelled"


def test_a_minion_empties_a_queue_with_an_algorithm(cache, monkeypatch, tmp_path):
    makers = PaperMakers()
    monkeypatch.setattr("maniple.runners.algorithm_sandboxes.MAKERS", makers)
    queue = MemoryQueue()
    queue.put([[1, 2], 5, [10]])
    results = ResultFile(str(tmp_path / "r.jsonl"))
    package = Package("add", "1", ADD)
    minion = Minion(
        queue,
        algorithm_runner(package, cache=cache),
        sink=results,
        policy=Policy(),
        rng=random.Random(1),
    )
    assert minion.run().done == 3
    results.close()
    text = (tmp_path / "r.jsonl").read_text()
    assert [line.split('"result":')[1].split(",")[0] for line in text.splitlines()] == [
        "3",
        "5",
        "10",
    ]
    assert params_of(5) == b"[5]"
    assert params_of([5, "x"]) == b'[5,"x"]'


def test_a_package_is_unpacked_where_every_minion_finds_it(cache):
    package = Package("add", "1", ADD, loader=b"js", data=b"zip")
    parts = unpacked(package, cache)
    assert parts == unpacked(package, cache)
    with open(parts.wasm, "rb") as file:
        assert file.read() == ADD
    assert sorted(os.listdir(os.path.join(cache, "blobs"))) == sorted(package.code.digests)


def test_one_call_needs_no_queue(cache, monkeypatch):
    makers = PaperMakers()
    monkeypatch.setattr("maniple.runners.algorithm_sandboxes.MAKERS", makers)
    package = Package("add", "1", ADD)
    answer = run_package(package, params=b"[4,5]", results=["/out"], cache=cache)
    assert answer.value == b"9"
    assert answer.files == {"/out": b"content of /out"}
    assert makers.made[Kind.WASI].closed
