"""How a WASI module is called: what goes in, what comes out, and what its failures are called."""

import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import msgspec
import pytest

from algorithm.wasi_bench import MIB, PATIENCE, Bench, ended
from algorithm.wasi_programs import compiled
from maniple.algorithm import wasi, wasi_process
from maniple.algorithm.call import Limits
from maniple.errors import AlgorithmError, MissingExtraError

ADD = """(module (func (export "main") (param i32 f64) (result f64)
    (f64.add (f64.convert_i32_s (local.get 0)) (local.get 1))))"""


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def value(answer):
    assert answer.ok, answer
    return msgspec.json.decode(answer.value)


# commands: modules with _start


def test_the_first_word_of_the_arguments_is_the_algorithms_name(bench):
    assert value(bench.run("name")) == [1, "name"]


def test_output_that_is_no_json_is_kept_and_the_value_is_null(bench):
    answer = bench.run("say")
    assert (answer.ok, answer.value, answer.stdout) == (True, b"null", b"out\n")


def test_a_relative_path_begins_at_the_root(bench):
    answer = bench.run("relative", results=["/result.txt"])
    assert answer.files == {"/result.txt": b"relative"}


def test_standard_input_ends_after_the_params(bench):
    assert value(bench.run("stdin_end", [1, 2])) == len(b"[1,2]")


@pytest.mark.parametrize(
    ("said", "shown"),
    [("1", 1), ("125", 125), ("126", 126), ("255", 255), ("-1", 255), ("256", 256)],
)
def test_any_exit_code_but_0_is_a_failure(bench, said, shown):
    answer = ended(bench.run("exit", arguments=[said]), f"exit {shown}", str(shown))
    assert answer.exit_code == shown


def test_exit_code_0_is_none(bench):
    assert bench.run("exit", arguments=["0"]).ok


def test_result_files_of_a_failure_come_back_too(bench):
    answer = bench.run("exit3", files={"/log": b"so far"}, results=["/log"])
    assert (answer.ok, answer.files) == (False, {"/log": b"so far"})


def test_a_trap_says_why_and_what_was_printed_last(bench):
    ended(bench.run("crash"), "trap", "unreachable", "before")


def test_files_in_and_out_may_be_large(bench):
    data = os.urandom(1 << 20) * 40
    limits = Limits(seconds=PATIENCE, memory=64 * MIB, disk=100 * MIB)
    answer = bench.run(
        "copy", files={"/in/data.bin": data}, results=["/out/result.bin"], limits=limits
    )
    assert answer.files == {"/out/result.bin": data}


def test_a_call_may_be_larger_than_the_memory_of_the_one_before(bench):
    bench.run("noop", limits=Limits(seconds=PATIENCE, memory=8 * MIB))
    data = bytes(300 * MIB)
    limits = Limits(seconds=PATIENCE, disk=400 * MIB)
    assert bench.run("noop", files={"/in/data.bin": data}, limits=limits).ok


def test_a_path_may_be_written_in_other_ways(bench):
    answer = bench.run("copy", files={"//in/./data.bin": b"x"}, results=["/out/./result.bin"])
    assert answer.files == {"/out/./result.bin": b"x"}


def test_one_path_cannot_be_a_file_and_a_folder(bench):
    ended(bench.run("noop", files={"/a": b"", "/a/b": b""}), "bad file", "/a")
    bench.works()


def test_a_damaged_data_zip_is_a_failure(bench, tmp_path):
    ended(bench.run("noop", data=b"PK no zip"), "bad file system")
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/data.bin", b"some content that is long enough")
    data = path.read_bytes()
    ended(bench.run("noop", data=data.replace(b"content", b"CONTENT", 1)), "bad file system")
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a", bytes(range(256)) * 8)
        damaged = bytearray(buffer.getvalue())
        damaged[31:71] = b"\xff" * 40
        answer = bench.run("noop", data=bytes(damaged))
        assert not answer.ok
        assert answer.cause.startswith("bad file"), answer
    bench.works()


# functions: modules with main


def test_main_is_called_with_the_params(bench):
    assert value(bench.run_wat(ADD, [2, 0.5])) == 2.5
    assert value(bench.run_wat(ADD, [2.0, 1])) == 3.0
    assert value(bench.run_wat(ADD, [4294967295, 0])) == -1.0


def test_main_may_return_nothing_or_several_numbers(bench):
    assert value(bench.run_wat('(module (func (export "main")))')) is None
    several = """(module (func (export "main") (result i32 i64 f32)
        (i32.const -1) (i64.const -5000000000) (f32.const 0.5)))"""
    assert value(bench.run_wat(several)) == [-1, -5000000000, 0.5]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ([1], "2 params (i32, f64), not 1"),
        ([1, 2, 3], "2 params (i32, f64), not 3"),
        (["a", 1], 'param 1 of main is "a", and not a number (i32)'),
        ([True, 1], "param 1 of main is true"),
        ([1, None], "param 2 of main is null"),
        ([1.5, 1], "not a whole number"),
        ([1 << 32, 1], "too large for i32"),
        (b"{}", "not the JSON of a list"),
        (b"[1,", "not the JSON of a list"),
    ],
)
def test_params_that_main_does_not_take_are_a_failure(bench, params, words):
    ended(bench.run_wat(ADD, params), "bad params", words)


def test_a_trap_in_main_is_a_failure(bench):
    divide = """(module (func (export "main") (param i32 i32) (result i32)
        (i32.div_s (local.get 0) (local.get 1))))"""
    ended(bench.run_wat(divide, [1, 0]), "trap", "divide by zero")


def test_a_reactor_is_initialized_before_main(bench):
    reactor = """(module (global $x (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $x (i32.const 7)))
        (func (export "main") (result i32) (global.get $x)))"""
    assert value(bench.run_wat(reactor)) == 7


# modules that cannot run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('(module (func (export "other")))', "neither _start nor main"),
        ('(module (func (export "main") (param externref)))', "which is no number"),
        ('(module (import "env" "f" (func)) (func (export "_start")))', "env::f"),
        ('(module (memory i64 1) (func (export "_start")))', "memory64"),
        ('(module (memory 1 2 shared) (func (export "_start")))', "threads"),
    ],
)
def test_a_module_that_cannot_run_here_is_a_failure_that_says_why(bench, text, words):
    ended(bench.run_wat(text), "bad module", words)
    bench.works()


@pytest.mark.parametrize("wasm", [b"", b"\0asm\1\0\0\0 garbage", b"#!/bin/sh"])
def test_bytes_that_are_no_module_are_a_failure(bench, wasm):
    ended(bench.run_wasm(wasm), "bad module")
    bench.works()


def test_a_part_that_is_not_there_is_an_error_of_the_machine(bench, tmp_path):
    compiled("noop")
    bench._blobs.put = lambda _: "0" * 64
    with pytest.raises(AlgorithmError, match="cannot read a part of the algorithm"):
        bench.run("noop")


def test_without_wasmtime_the_error_says_what_to_install(bench, monkeypatch):
    compiled("noop")  # which looks for a library too
    monkeypatch.setattr(wasi.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="maniple\\[algorithm\\]"):
        bench.run("noop")


# the process is kept, and replaced


def test_calls_share_a_process_and_a_limit_replaces_it(bench):
    bench.run("noop")
    first = bench.pid
    bench.run("noop")
    bench.run("echo")
    bench.run("noop")
    assert bench.run("crash").cause == "trap"
    kept = bench.pid
    bench.run("loop", limits=Limits(seconds=0.2))
    assert bench.pid != kept
    assert not _lives(kept)
    assert not _lives(first) or first == kept
    bench.works()


def test_a_module_is_compiled_by_a_process_that_has_run_nothing(bench):
    bench.run("noop")
    before = bench.pid
    bench.run("echo")
    assert bench.pid != before
    before = bench.pid
    # both are kept now
    bench.run("noop")
    bench.run("echo")
    assert bench.pid == before


def test_the_start_of_a_process_is_not_the_calls_time(bench, monkeypatch):
    left = []
    wait = wasi_process.WasiProcess.wait_ready

    def slow(process, watch, cancels, wake):
        if not process._ready:
            left.append(watch.patience(time.monotonic()))
        wait(process, watch, cancels, wake)

    monkeypatch.setattr(wasi_process.WasiProcess, "wait_ready", slow)
    bench.run("noop")
    # compiled by a process of its own
    assert bench.run("echo").ok
    assert left == [None, None]


def test_more_modules_than_are_kept_in_memory_all_run(bench, monkeypatch):
    monkeypatch.setattr(wasi_process, "MODULES", 2)
    for _ in range(2):
        for number in range(4):
            text = f'(module (func (export "main") (result i32) (i32.const {number})))'
            assert value(bench.run_wat(text)) == number


def test_a_process_that_is_killed_between_two_calls_is_replaced(bench):
    bench.works()
    os.kill(bench.pid, signal.SIGKILL)
    bench.works()


def test_a_process_that_is_killed_during_a_call_is_replaced_and_the_call_tried_again(bench):
    pid = _pid_that_can_loop(bench)

    def kill():
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        # the second attempt loops as well
        _until(lambda: (process := bench.sandbox._process) is not None and process.pid != pid)
        bench.sandbox.abort()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ended(bench.run("loop"), "cancelled")
    finally:
        killer.join()
    assert not _lives(pid)
    bench.works()


def test_a_process_that_crashes_is_a_failure_and_is_replaced(bench):
    pid = _pid_that_can_loop(bench)
    timer = threading.Timer(0.3, os.kill, (pid, signal.SIGABRT))
    timer.start()
    try:
        ended(bench.run("loop"), "crash", "SIGABRT")
    finally:
        timer.join()
    bench.works()


def test_the_output_so_far_is_there_when_a_call_is_ended(bench):
    text = """(module (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 8) "so far\\n")
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 7))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 20)))
            (loop (br 0))))"""
    for seconds in (0.5, 5, 50):
        answer = ended(bench.run_wat(text, limits=Limits(seconds=seconds)), "time limit")
        # on a busy machine compiling alone may take all of that
        if answer.stderr:
            break
    assert answer.stderr == b"so far\n"
    assert bench.run("noop").stderr == b""


def test_it_may_be_used_in_a_thread_that_ends(bench):
    answers = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: answers.append(bench.run("remember")))
        thread.start()
        thread.join()
    assert [answer.ok for answer in answers] == [True] * 3, answers


def test_a_fork_starts_a_process_of_its_own(bench):
    bench.works()
    pid = bench.pid
    child = os.fork()
    if child == 0:
        status = 1
        try:
            bench.works()
            status = 0 if bench.pid != pid else 2
            bench.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bench.pid == pid
    bench.works()


def test_after_close_a_call_starts_another_process(bench):
    bench.works()
    pid = bench.pid
    bench.sandbox.close()
    assert not _lives(pid)
    bench.works()


PARENT = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from algorithm.wasi_bench import Bench
from maniple.algorithm.call import Limits
bench = Bench(Path({tmp!r}), folder={folder!r})
bench.learn("loop")
bench.run("remember")
bench.run("loop", limits=Limits(seconds=0.1))
bench.run("remember")
print(bench.pid, flush=True)
bench.run("loop", limits=Limits(seconds=600))
"""


@pytest.mark.parametrize("on_disk", [False, True])
def test_when_the_parent_is_killed_the_process_ends_and_leaves_nothing(tmp_path, on_disk):
    for name in ("remember", "loop"):
        compiled(name)
    folder = tmp_path / "scratch"
    folder.mkdir()
    script = PARENT.format(
        tests=str(Path(__file__).parents[1]),
        tmp=str(tmp_path),
        folder=str(folder) if on_disk else None,
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        try:
            pid = int(parent.stdout.readline())
            assert _lives(pid)
            assert len(list(folder.iterdir())) == on_disk
        finally:
            parent.kill()
    _until(lambda: not _lives(pid))
    if on_disk:
        # killed at one stroke it may leave its folder: the next sandbox there removes it
        bench = Bench(tmp_path, folder=str(folder))
        bench.works()
        assert len(list(folder.iterdir())) == 1
        bench.close()
    assert list(folder.iterdir()) == []


# machine code is kept


def test_machine_code_is_kept_for_its_owner_only(bench):
    bench.works()
    (path,) = bench.cache.iterdir()
    assert path.suffix == ".cwasm"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.cache.stat().st_mode) == 0o700


def test_kept_code_that_was_changed_is_compiled_again(bench, tmp_path):
    bench.works()
    (path,) = bench.cache.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:50] + b"x" + whole[51:], b""):
        path.write_bytes(damaged)
        other = Bench(tmp_path)
        other.works()
        other.close()
        assert path.read_bytes() == whole


def test_where_code_cannot_be_kept_calls_run_all_the_same(bench, tmp_path):
    bench.cache.write_text("a file where the folder should be")
    bench.works()


def _pid_that_can_loop(bench):
    """Have the code kept, so that no other process is needed to compile it."""
    bench.learn("loop")
    bench.works()
    return bench.pid


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except FileNotFoundError:
        return False


def _until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
