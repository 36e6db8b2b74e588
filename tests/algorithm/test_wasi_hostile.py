"""Code that wants more than it may have, or to be where it may not: each ends as a failed call."""

import io
import os
import zipfile

import msgspec
import pytest

from algorithm.wasi_bench import MIB, PATIENCE, Bench, ended
from maniple.algorithm.call import Limits

START = '(func (export "_start") '


@pytest.fixture(params=["in memory", "on disk"])
def bench(request, tmp_path):
    """Both places of the private folder: the limits on files hold by other means in each."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    bench = Bench(tmp_path, folder=str(folder) if request.param == "on disk" else None)
    yield bench
    bench.close()
    assert list(folder.iterdir()) == []


@pytest.fixture
def plain(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def limits(**changed):
    return Limits(**{"seconds": PATIENCE, "memory": 64 * MIB, "disk": 8 * MIB, **changed})


# time


def test_a_loop_before_the_start_is_ended(plain):
    text = f"(module (func $s (loop (br 0))) (start $s) {START}))"
    ended(plain.run_wat(text, limits=limits(seconds=0.3)), "time limit", "0.3 s")
    plain.works()


def test_a_loop_in_main_is_ended(plain):
    text = '(module (func (export "main") (loop (br 0))))'
    ended(plain.run_wat(text, limits=limits(seconds=0.3)), "time limit", "0.3 s")
    plain.works()


def test_a_wait_for_input_that_never_comes_is_ended(plain):
    ended(plain.run("poll", limits=limits(seconds=0.5)), "time limit", "0.5 s")
    plain.works()


def test_a_module_that_takes_long_to_compile_is_ended(plain):
    ended(plain.run_wasm(large_module(), limits=limits(seconds=0.2)), "time limit", "0.2 s")
    plain.works()


# memory


@pytest.mark.parametrize(
    "text",
    [
        f"(module (memory 1) {START} (loop (drop (memory.grow (i32.const 10))) (br 0))))",
        f"(module (memory 1) {START} (drop (memory.grow (i32.const 65000)))))",
        f"(module (memory 60000) {START}))",
        f"(module (memory 1025) {START}))",
        f"(module {'(memory 300)' * 5} {START}))",
        f"(module {'(memory 1)' * 50} {START}))",
        f"(module (table 100000000 funcref) {START}))",
        f"(module {'(table 1000 funcref)' * 60} {START}))",
        f"""(module (table 1 funcref) {START} (loop
            (drop (table.grow (ref.null func) (i32.const 100000))) (br 0))))""",
        # exceptions are kept on a heap of their own
        f"""(module (tag $e (param i64 i64)) (table $t 1 exnref) {START} (local $i i32) (loop $more
            (drop (table.grow $t (ref.null exn) (i32.const 1)))
            (table.set $t (local.get $i) (block $caught (result exnref)
                (try_table (catch_all_ref $caught) (throw $e (i64.const 1) (i64.const 2)))
                unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more))))""",
    ],
    ids=[
        "grow for ever",
        "grow once",
        "huge at first",
        "a page too many",
        "several memories",
        "many memories",
        "huge table",
        "many tables",
        "table for ever",
        "exceptions for ever",
    ],
)
def test_memory_of_every_kind_is_limited(plain, text):
    ended(plain.run_wat(text, limits=limits()), "memory limit", "64 MiB")
    plain.works()


def test_memory_up_to_the_limit_may_be_had(plain):
    assert plain.run_wat(f"(module (memory 1024) {START}))", limits=limits()).ok
    grow = f"(module (memory 1) {START} (if (i32.ne (memory.grow (i32.const 1023)) (i32.const 1)) (then unreachable))))"
    assert plain.run_wat(grow, limits=limits()).ok


def test_a_module_that_takes_much_memory_to_compile_is_ended(tmp_path):
    bench = Bench(tmp_path, compile_memory=32 * MIB)
    allowed = limits(memory=16 * MIB)
    ended(bench.run_wasm(large_module(), limits=allowed), "memory limit", "compiling", "32 MiB")
    bench.works()
    bench.close()


def test_deep_recursion_is_a_trap(plain):
    ended(plain.run("recurse"), "trap", "call stack exhausted")
    plain.works()


# output


def test_a_single_large_write_is_cut_at_the_limit(plain):
    text = """(module (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 600)
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 33554432))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
            (loop (br 0))))"""
    answer = plain.run_wat(text, limits=limits(output=1000))
    ended(answer, "output limit", "1000 bytes")
    assert len(answer.stdout) == 1000
    plain.works()


def test_output_up_to_the_limit_may_be_had(plain):
    answer = plain.run("echo", ["x" * 996], limits=limits(output=1000))
    assert (answer.ok, len(answer.stdout)) == (True, 1000)
    ended(plain.run("echo", ["x" * 997], limits=limits(output=1000)), "output limit", "1000 bytes")


# files


def test_a_program_that_fills_the_disk_and_gives_up_has_passed_the_limit(bench):
    ended(bench.run("fill_and_exit", limits=limits()), "disk limit", "8 MiB")
    bench.works()


def test_a_program_that_fills_the_disk_for_ever_is_ended(bench):
    ended(bench.run("fill", limits=limits()), "disk limit", "8 MiB")
    bench.works()


def test_a_program_that_makes_files_for_ever_is_ended(bench):
    ended(bench.run("many", limits=limits(files=300)), "disk limit", "300 files")
    bench.works()


def test_a_file_that_says_it_is_huge_is_refused(bench):
    ended(bench.run("sparse", limits=limits()), "disk limit", "8 MiB")
    assert not bench.run("allot", limits=limits()).ok
    bench.works()


def test_results_that_say_they_are_large_are_refused_together(bench):
    paths = [f"/hole{number}" for number in range(100)]
    answer = bench.run("holes", [8 * MIB], results=paths, limits=limits())
    ended(answer, "disk limit", "8 MiB")
    assert answer.files == {}
    bench.works()


def test_disk_up_to_the_limit_may_be_had(bench):
    data = os.urandom(4 * MIB)
    answer = bench.run(
        "copy", files={"/in/data.bin": data}, results=["/out/result.bin"], limits=limits()
    )
    assert answer.files == {"/out/result.bin": data}


def test_open_files_are_limited_and_closed_after_the_call(bench):
    for _ in range(3):
        answer = bench.run("many_open")
        assert answer.ok, answer
        assert 0 < msgspec.json.decode(answer.value) < 10_000
    bench.works()


def test_folders_deeper_than_any_path_leave_nothing_behind(bench):
    for _ in range(2):
        answer = bench.run("deep")
        assert answer.ok, answer
        assert msgspec.json.decode(answer.value) == 600
    bench.works()


def test_a_zip_that_is_a_bomb_is_refused(bench):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * MIB))
    data = buffer.getvalue()
    ended(bench.run("noop", data=data, limits=limits()), "disk limit", "8 MiB")
    # one that lies about its size
    lying = data.replace((64 * MIB).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lying != data
    assert not bench.run("noop", data=lying, limits=limits()).ok
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(400):
            archive.writestr(f"d{number}/f", b"")
    answer = bench.run("noop", data=many.getvalue(), limits=limits(files=300))
    ended(answer, "disk limit", "300 files")
    bench.works()


def test_folders_that_a_zip_implies_count_as_files(bench):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(200):
            archive.writestr(f"d{number}/f", b"")
    answer = bench.run("noop", data=buffer.getvalue(), limits=limits(files=300))
    ended(answer, "disk limit", "300 files")
    bench.works()


# walls


def test_no_file_outside_can_be_read_from_either_place(bench, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    answer = bench.run("escape", [str(secret)])
    assert answer.ok, answer
    assert msgspec.json.decode(answer.value) == []
    assert secret.read_text() == "the secret"
    bench.works()


def test_a_folder_that_became_a_link_is_not_followed_to_a_result(bench, tmp_path):
    secret = tmp_path / "secret" / "result.bin"
    secret.parent.mkdir()
    secret.write_text("the secret")
    up = "../" * 20
    for target in (str(secret.parent), f"{up}{str(secret.parent)[1:]}", "/real", "real"):
        answer = bench.run(
            "plant_folder",
            [target],
            results=["/out/result.bin", "/out/file", "/real/link", "/real/hard", "/real/folder"],
        )
        assert answer.files == {"/real/hard": b""}, answer
        assert answer.missing == ["/out/result.bin", "/out/file", "/real/link", "/real/folder"]
    bench.works()


def test_nobody_can_forge_an_answer(bench):
    answer = bench.run("forge")
    ended(answer, "exit 5")
    assert (answer.value, answer.exit_code) == (b"null", 5)
    assert answer.stdout.count(b"forged") == 3
    assert answer.stderr.count(b"forged") == 3
    bench.works()


def test_letters_that_a_module_makes_up_do_not_reach_a_terminal(plain):
    text = '(module (import "wasi\\1b[31m\\0aevil" "f\\07" (func)) (func (export "_start")))'
    answer = ended(plain.run_wat(text), "bad module")
    assert answer.error.isprintable()


def test_a_function_with_the_name_of_a_limit_is_still_a_trap(plain):
    text = '(module (func $out_of_memory (@name "out of memory") (export "_start") unreachable))'
    ended(plain.run_wat(text), "trap", "unreachable", "out of memory")


@pytest.mark.parametrize(
    "name",
    ["sock_open", "sock_connect", "thread_spawn", "proc_fork", "proc_exec", "sock_bind"],
)
def test_calls_for_network_processes_and_threads_do_not_exist(plain, name):
    for module in ("wasi_snapshot_preview1", "wasi", "env"):
        text = f'(module (import "{module}" "{name}" (func (param i32) (result i32))) {START}))'
        ended(plain.run_wat(text), "bad module", name)
    plain.works()


def large_module():
    """Some megabytes of code in one function that takes seconds and much memory to compile."""
    step = b"\x20\x00\x42\x03\x7e\x20\x00\x42\x05\x89\x7c\x21\x00"  # x = x * 3 + rotl(x, 5)
    code = b"\x01\x01\x7e" + step * 500_000 + b"\x0b"
    body = _size(len(code)) + code
    functions = 6
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            b"\x01\x04\x01\x60\x00\x00",
            b"\x03" + _size(functions + 1) + _size(functions) + b"\x00" * functions,
            b"\x07\x0a\x01\x06_start\x00\x00",
            _section(10, _size(functions) + body * functions),
        ]
    )


def _section(number, content):
    return bytes([number]) + _size(len(content)) + content


def _size(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
