"""The generated loader: the same program answers the same in a worker as under wasmtime."""

import base64
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import wasmtime

from classic_worker import in_chromium, in_deno, in_node, in_sandbox, message_of
from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call
from maniple.algorithm.package import Package, zip_of
from maniple.algorithm.wasi import WasiSandbox
from maniple.builders.loader import wasi_loader
from maniple.runner import Cancel
from projects import built, project

PROGRAMS = Path(__file__).parent / "programs"
GIVEN = b"given\n"


def compiled(folder, source):
    out = folder / "program.wasm"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-s"]
    done = subprocess.run(
        [*zig, str(source), "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


@pytest.fixture(scope="module")
def files_program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("files"), PROGRAMS / "files.c")


def text_module(text):
    return bytes(wasmtime.wat2wasm(text))


def under_wasmtime(folder, wasm, words, stdin):
    """Runs a module in a real folder opened as `/`; gives exit code, output and the folder."""
    root = folder / "root"
    root.mkdir()
    (root / "given.txt").write_bytes(GIVEN)
    (folder / "stdin").write_bytes(stdin)
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    config.argv = ["program", *words]
    config.stdin_file = str(folder / "stdin")
    config.stdout_file = str(folder / "stdout")
    config.stderr_file = str(folder / "stderr")
    config.preopen_dir(str(root), "/")
    store.set_wasi(config)
    instance = linker.instantiate(store, wasmtime.Module(engine, wasm))
    code = 0
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as ended:
        code = ended.code
    return code, (folder / "stdout").read_bytes(), (folder / "stderr").read_bytes(), root


def in_wasi(folder, package, call):
    sandbox, cancel = WasiSandbox(), Cancel()
    try:
        parts = package.unpack(Blobs(str(folder / "blobs")), str(folder / "cache"))
        return sandbox.run(call, parts, cancel)
    finally:
        sandbox.close()
        cancel.close()


@pytest.mark.parametrize("worker", [in_deno, in_chromium, in_node])
def test_a_program_that_does_all_to_files_answers_as_under_wasmtime(
    tmp_path, files_program, worker
):
    words = ["3", "two words"]
    code, stdout, stderr, root = under_wasmtime(tmp_path, files_program, words, b"[1,2.5]")
    reply = worker(
        tmp_path / "worker",
        wasi_loader("program"),
        message_of(
            files_program,
            params=[1, 2.5],
            arguments=words,
            preload_files={"/given.txt": base64.b64encode(GIVEN).decode()},
            result_files={"/results/deep.bin": "here", "/results/none": "there"},
        ),
    )
    assert reply.stdout.decode().splitlines() == stdout.decode().splitlines()
    assert (reply.exit_code, reply.stderr) == (code, stderr) == (3, b"to the error stream\n")
    assert reply.files == {"/results/deep.bin": (root / "results" / "deep.bin").read_bytes()}
    assert reply.value is None


def test_it_answers_in_the_sandbox_of_a_worker_as_wasmtime_does_there(tmp_path, files_program):
    package = Package("program", "1", files_program, wasi_loader("program"))
    call = Call(
        package.code,
        params=b'[1,2.5,"x"]',
        arguments=["0", "two words"],
        files={"/given.txt": GIVEN},
        results=["/results/deep.bin", "/results/none"],
    )
    answer = in_sandbox(tmp_path / "js", package, call)
    other = in_wasi(tmp_path, package, call)
    assert answer.ok, answer.error
    assert answer.stdout.splitlines() == other.stdout.splitlines()
    for name in ("ok", "value", "files", "missing", "stderr"):
        assert getattr(answer, name) == getattr(other, name), name


ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""


def test_params_are_json_on_the_input_and_the_value_is_json_on_the_output(tmp_path):
    params = [1, "größer", [None, True], {"a": 0.1}]
    reply = in_deno(tmp_path, wasi_loader("echo"), message_of(text_module(ECHO), params=params))
    assert reply.value == params
    assert reply.exit_code == 0
    assert reply.stderr == b""


def test_a_large_value_and_a_large_result_come_back_whole(tmp_path):
    params = [["word"] * 8000]
    reply = in_deno(tmp_path, wasi_loader("echo"), message_of(text_module(ECHO), params=params))
    assert reply.value == params


def test_a_main_of_numbers_is_called_directly_64_bit_integers_too(tmp_path):
    wasm = text_module(
        """(module (func (export "main") (param i32 i64 f64) (result i64 f64)
          (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)) (local.get 2)))"""
    )
    reply = in_deno(tmp_path, wasi_loader("sum"), message_of(wasm, params=[-7, 1 << 53, 0.25]))
    assert reply.value == [(1 << 53) - 7, 0.25]


@pytest.mark.parametrize(
    "params",
    [[1], [1, "2"], [1.5, 2], [1 << 32, 2], [1, 1 << 64], [True, 2], [-1, 1 << 63]],
)
def test_params_that_do_not_fit_a_main_of_numbers_are_named_as_wasmtime_names_them(
    tmp_path, params
):
    wasm = text_module(
        '(module (func (export "main") (param i32 i64) (result i32 i64) '
        "(local.get 0) (local.get 1)))"
    )
    package = Package("pair", "1", wasm, wasi_loader("pair"))
    reply = in_deno(tmp_path, package.loader, message_of(wasm, params=params))
    other = in_wasi(tmp_path, package, Call(package.code, params=json.dumps(params).encode()))
    if other.ok:
        assert (reply.exit_code, reply.value) == (0, json.loads(other.value))
    else:
        assert reply.exit_code == 126
        # JavaScript writes the last digits of what is beyond 2^53 in its own way
        said = (re.sub(r"\d{17,}", "N", text) for text in (reply.stderr.decode(), other.error))
        assert next(said) == f"Error: {next(said)}\n"


def test_a_trap_is_an_exit_code_and_a_line(tmp_path):
    wasm = text_module('(module (memory (export "memory") 1) (func (export "_start") unreachable))')
    reply = in_deno(tmp_path, wasi_loader("broken"), message_of(wasm))
    assert reply.exit_code == 134
    assert reply.stderr == b"RuntimeError: unreachable\n"


def test_an_exception_of_c_plus_plus_that_nothing_catches_is_an_exit_code_and_a_line(tmp_path):
    source = '#include <stdexcept>\nint main() { throw std::runtime_error("no"); }\n'
    package = built(project(tmp_path / "p", {"a.cpp": source}, "mvcc"), tmp_path / "b").package
    reply = in_deno(tmp_path / "w", package.loader, message_of(package.wasm))
    assert reply.exit_code == 134
    assert reply.stderr.count(b"\n") >= 1


def test_words_typed_in_one_line_are_split_as_a_shell_does(tmp_path, files_program):
    reply = in_deno(
        tmp_path,
        wasi_loader("program"),
        message_of(files_program, arguments=r"""0 "a b" 'c "d"' e\ f "" g'h'i "\$x\y" """),
    )
    words = [line[5:] for line in reply.stdout.decode().splitlines() if line.startswith("word ")]
    assert words == ["0", "a b", 'c "d"', "e f", "", "ghi", r"$x\y"]
    assert reply.exit_code == 0


def test_the_starting_file_system_is_a_zip_and_preloaded_files_go_over_it(tmp_path, files_program):
    archive = io.BytesIO(zip_of({"given.txt": b"z" * 50, "sub/deep.txt": b"from the zip"}))
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("stored.txt", b"stored", zipfile.ZIP_STORED)
        more.writestr("empty/", b"")
    link = f"data:application/zip;base64,{base64.b64encode(archive.getvalue()).decode()}"
    results = ["/given.txt", "/sub/deep.txt", "/stored.txt", "/new/a.txt"]
    reply = in_deno(
        tmp_path,
        wasi_loader("program"),
        message_of(
            files_program,
            data_link=link,
            preload_files={"/new/a.txt": "bmV3", "/stored.txt": "b3Zlcg=="},
            result_files=results,
        ),
    )
    assert reply.files == {
        "/given.txt": b"z" * 50,
        "/sub/deep.txt": b"from the zip",
        "/stored.txt": b"over",
        "/new/a.txt": b"new",
    }
    listed = next(line for line in reply.stdout.decode().splitlines() if line.startswith("/ holds"))
    assert "empty" in listed.split()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"data_link": "data:,nonsense"}, b"not a zip"),
        ({"preload_files": {"/": "AA=="}}, b"/: it is a folder, not a file"),
        ({"preload_files": {"/a": "AA==", "/a/b": "AA=="}}, b"/a/b: a is a file, not a folder"),
        ({"wasm": "AAAA"}, b"WebAssembly"),
    ],
)
def test_what_cannot_run_is_answered_with_the_reason(tmp_path, keys, said):
    message = message_of(text_module(ECHO)) | keys
    reply = in_deno(tmp_path, wasi_loader("echo"), message)
    assert reply.exit_code == 126
    assert said in reply.stderr


def test_without_compression_streams_the_answer_is_the_same(tmp_path):
    old = b"globalThis.CompressionStream = undefined;\n" + wasi_loader("echo")
    params = ["long " * 10_000]
    reply = in_deno(tmp_path, old, message_of(text_module(ECHO), params=params))
    assert reply.value == params


def test_the_snapshot_before_preview_1_is_spoken_too(tmp_path):
    wasm = text_module(ECHO.replace("wasi_snapshot_preview1", "wasi_unstable"))
    reply = in_deno(tmp_path, wasi_loader("echo"), message_of(wasm, params=[1]))
    assert reply.value == [1]


def test_a_loader_is_one_readable_script_and_always_the_same():
    loader = wasi_loader("kmeans")
    assert loader == wasi_loader("kmeans")
    assert loader.startswith(b"// Runs the WebAssembly module of kmeans")
    assert max(map(len, loader.splitlines())) <= 110
    assert b"import " not in loader.replace(b"// ", b"")
