"""The runner for algorithms with the real sandboxes of this machine."""

import json
import threading
import time

import pytest

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Limits
from maniple.algorithm.package import Package
from maniple.minion.minion import Minion
from maniple.queues.memory import MemoryQueue
from maniple.runner import Cancel, Context
from maniple.runners.algorithm import AlgorithmRunner, algorithm_runner, parts_of, run_package
from maniple.sweep.results import ResultFile
from maniple.task import Task
from small_algorithms import adding, loaded, need
from support import PATIENCE

SPIN = '(module (func (export "main") (param i32) (result i32) (loop br 0) i32.const 0))'
ECHO = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 4096))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


@pytest.fixture(autouse=True)
def sandboxes():
    need("wasmtime")
    need("deno")


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.fixture
def context():
    cancel = Cancel()
    yield Context(cancel=cancel)
    cancel.close()


def module(name, text):
    import wasmtime

    return Package(name, "1", bytes(wasmtime.wat2wasm(text)))


def many(cache, *packages, **options):
    """A runner whose tasks' params are [which package, its params]."""
    blobs = Blobs(f"{cache}/blobs")
    for package in packages:
        package.unpack(blobs, cache)

    def call(task):
        which, params = task.param
        return Call(packages[which].code, json.dumps(params).encode())

    return AlgorithmRunner(call, lambda code: parts_of(code, blobs, cache), **options)


def test_both_kinds_of_algorithms_run_in_one_minion(cache, tmp_path):
    queue = MemoryQueue()
    queue.put([[0, [1, 2]], [1, [3]], [2, ["text", None]]])
    packages = adding(), loaded("double", "return params[0] * 2;"), module("echo", ECHO)
    results = ResultFile(str(tmp_path / "r.jsonl"))
    count = Minion(queue, many(cache, *packages), sink=results).run()
    results.close()
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert (count.done, count.failed) == (3, 0), rows
    assert [row["result"] for row in rows] == [3, 6, ["text", None]]


@pytest.mark.parametrize("which", [0, 1])
def test_a_time_limit_ends_a_call_and_the_next_one_runs(cache, context, which):
    runner = many(cache, module("spin", SPIN), loaded("spin", "for (;;) {}"), adding())
    context.time_limit = 0.3
    began = time.monotonic()
    outcome = runner.run(Task.of([which, [1]]), context)
    assert time.monotonic() - began >= 0.3
    assert (outcome.ok, outcome.cause) == (False, "time limit")
    assert "0.3 s" in outcome.error
    context.time_limit = None
    assert runner.run(Task.of([2, [1, 2]]), context).value == 3
    runner.close()


@pytest.mark.parametrize("which", [0, 1])
def test_a_running_call_is_aborted_from_another_thread(cache, context, which):
    runner = many(cache, module("spin", SPIN), loaded("spin", "for (;;) {}"), adding())
    task = Task.of([which, [1]])
    context.time_limit = PATIENCE
    over = threading.Event()

    def abort():
        # what has not begun cannot be aborted: once may be too soon
        while not over.wait(0.2):
            runner.abort(task.id)

    thread = threading.Thread(target=abort)
    thread.start()
    try:
        outcome = runner.run(task, context)
    finally:
        over.set()
        thread.join()
    assert (outcome.ok, outcome.cause, outcome.interrupted) == (False, "cancelled", False)
    assert runner.run(Task.of([2, [1, 2]]), context).value == 3
    runner.close()


@pytest.mark.parametrize("which", [0, 1])
def test_a_minion_that_must_stop_ends_the_call(cache, context, which):
    runner = many(cache, module("spin", SPIN), loaded("spin", "for (;;) {}"))
    timer = threading.Timer(0.2, context.cancel.request)
    timer.start()
    outcome = runner.run(Task.of([which, [1]]), context)
    timer.join()
    assert outcome.interrupted
    runner.close()


def test_a_runner_of_one_algorithm_takes_the_param_as_the_arguments(cache, context):
    runner = algorithm_runner(adding(), cache=cache, limits=Limits(seconds=PATIENCE))
    assert runner.run(Task.of([20, 22]), context).value == 42
    runner.close()
    assert run_package(adding(), params=b"[4,5]", cache=cache).value == b"9"
