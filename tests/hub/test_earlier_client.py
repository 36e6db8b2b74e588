"""The client of the earlier platform, unchanged, from the package index, at a loop-back cluster.

`scripts/brokers/motivus` puts it into an environment of its own; its programs know nothing of ours.
"""

import base64
import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from maniple.algorithm.package import Package, pack
from support import LONG, kept_port, opened_shell, until

PYTHON = Path(__file__).parents[2] / ".servers/motivus-2.4.0/bin/python"
LINE = re.compile(r"export WEBSOCKET_URI=(ws://localhost:(\d+)/client_socket/websocket)\n")
PROGRAM = """
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "a word on standard error\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 2048))
    (i32.store (i32.const 4) (i32.const 4096))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (i32.const 25))
    (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24)))
    {exit}
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 24)))))
"""
# as the earlier platform's packages have it: a classic worker, which answers once
LOADER = """
onmessage = function (event) {
  const task = event.data;
  const total = task.params.reduce((a, b) => a + b, 0);
  const text = atob(task.preload_files["/in.txt"]).toUpperCase();
  const body = { data: total };
  for (const path of Object.keys(task.result_files)) body[path] = btoa(text);
  new Response(new Response(JSON.stringify(body)).body
    .pipeThrough(new CompressionStream("gzip"))).arrayBuffer().then((packed) => {
      const letters = String.fromCharCode(...new Uint8Array(packed));
      postMessage({ body: btoa(letters), stdout: btoa("summed\\n"), stderr: null });
    });
};
"""
# a module that imports what no WASI has: only its loader could run it
NEEDY = base64.b64decode("AGFzbQEAAAABBAFgAAACCQEDZW52AWYAAA==")


@pytest.fixture(scope="module")
def client():
    """The environment that the earlier client is installed in."""
    if not PYTHON.exists():
        text = "the earlier client is not installed: run scripts/brokers/motivus .servers"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return str(PYTHON)


@pytest.fixture(scope="module")
def echo():
    """A WASI program that prints its params, and one that fails."""
    wasmtime = pytest.importorskip("wasmtime")

    def module(end):
        return bytes(wasmtime.wat2wasm(PROGRAM.replace("{exit}", end)))

    return module(""), module("(call $exit (i32.const 3))")


class Cluster:
    """A real `maniple loopback`, and programs of the earlier client at it."""

    def __init__(self, shell, python, port):
        self.shell = shell
        self.python = python
        self.process = None
        self.url = ""
        self.port = port

    def start(self):
        self.process = self.shell.start("loopback", "-p", self.port, "-j", 2, "--quiet")
        match = LINE.fullmatch(self.process.stdout.readline())
        assert match
        assert int(match[2]) == self.port
        self.url = match[1]

    def stop(self):
        self.process.terminate()
        assert self.shell.finish(self.process)[0] == 143

    def program(self, text, **environment):
        body = textwrap.indent(textwrap.dedent(text), "    ")
        program = (
            "import asyncio, json\nfrom motivus.client import Client\n\n\n"
            f"async def main():\n    motivus = await Client.connect()\n{body}\n\nasyncio.run(main())\n"
        )
        (self.shell.folder / "driver.py").write_text(program)
        return subprocess.Popen(
            [self.python, "-u", "-W", "ignore", "driver.py"],
            cwd=self.shell.folder,
            env={
                **self.shell.environment,
                "WEBSOCKET_URI": self.url,
                "ALGORITHM_REPO_HOST": f"localhost:{self.port}",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, text, code=0, **environment):
        process = self.program(text, **environment)
        out, _ = process.communicate(timeout=LONG)
        assert process.returncode == code, out
        return out

    def logs(self):
        folder = self.shell.folder / ".motivus/logs"
        return {path.name.partition("_")[2]: path.read_text() for path in folder.glob("*")}


@pytest.fixture
def cluster(tmp_path, client, echo):
    shells = opened_shell(tmp_path)
    shell = next(shells)
    build = tmp_path / "build"
    build.mkdir()
    good, bad = echo
    for name, code in (("echo.wasm", good), ("bad.wasm", bad)):
        (build / name).write_bytes(code)
    (build / "loader.js").write_text(LOADER)
    for version in ("0.0.9", "0.0.10"):
        marked = good + b"\0" + bytes([len(version) + 1, len(version)]) + version.encode()
        (build / f"echo-{version}.zip").write_bytes(pack(Package("echo", version, marked)))
    (tmp_path / "in.txt").write_text("hello\n")
    shell.environment["MANIPLE_CACHE"] = str(tmp_path / "cache")
    shell.environment["MANIPLE_ALGORITHMS"] = str(tmp_path / "shelf")
    with kept_port() as port:
        started = Cluster(shell, client, port)
        started.start()
        yield started
        if started.process.poll() is None:
            started.stop()
        for _ in shells:
            pass


def test_a_local_build_is_run_its_value_returned_and_its_output_logged(cluster):
    out = cluster.run(
        """
        task = motivus.call_async({
            "wasm_path": "build/echo.wasm", "loader_path": "build/loader.js",
            "params": [[1.5, 2], "two"],
        })
        print(json.dumps([task, await motivus.select_task(task)]))
        await motivus.reply_result(task, True)
        """
    )
    task, value = json.loads(out)
    assert value == [[1.5, 2], "two"]
    logs = cluster.logs()
    assert logs[f"{task}_stderr.log"] == "a word on standard error\n"
    assert json.loads(logs[f"{task}_stdout.log"]) == value


def test_a_published_algorithm_is_found_by_its_name_with_and_without_a_version(cluster):
    out = cluster.run(
        """
        one = motivus.call_async(
            {"algorithm": "echo", "algorithm_version": "0.0.9", "params": [1]})
        latest = motivus.call_async({"algorithm": "echo", "params": [2]})
        print(json.dumps(await motivus.barrier([one, latest])))
        """,
        APPLICATION_TOKEN="any",
    )
    assert json.loads(out.splitlines()[-1]) == [[1], [2]]


def test_an_algorithm_that_is_not_there_ends_the_program_with_a_sentence(cluster):
    out = cluster.run(
        """
        await motivus.select_task(motivus.call_async({"algorithm": "nothing"}))
        """,
        code=1,
    )
    assert "could not get algorithm: nothing" in out


def test_two_hundred_tasks_are_awaited_at_a_time(cluster):
    out = cluster.run(
        """
        definition = {"wasm_path": "build/echo.wasm", "loader_path": "build/loader.js"}
        tasks = [motivus.call_async({**definition, "params": [n]}) for n in range(200)]
        print(json.dumps(await motivus.barrier(tasks)))
        """
    )
    assert json.loads(out) == [[n] for n in range(200)]


def test_a_failed_task_returns_nothing_and_its_log_says_why(cluster):
    out = cluster.run(
        """
        task = motivus.call_async(
            {"wasm_path": "build/bad.wasm", "loader_path": "build/loader.js"})
        print(json.dumps([task, await motivus.select_task(task)]))
        good = motivus.call_async(
            {"wasm_path": "build/echo.wasm", "loader_path": "build/loader.js", "params": [1]})
        print(json.dumps(await motivus.select_task(good)))
        """
    )
    first, second = map(json.loads, out.splitlines())
    task, value = first
    assert value is None
    assert second == [1]
    log = cluster.logs()[f"{task}_stderr.log"]
    assert log.startswith("a word on standard error\n")
    assert "exit status 3" in log


def test_a_result_file_that_is_missing_is_named(cluster):
    out = cluster.run(
        """
        task = motivus.call_async({
            "wasm_path": "build/echo.wasm", "loader_path": "build/loader.js", "params": [1],
            "result_files": {"/nowhere.txt": "here/nowhere.txt"},
        })
        print(json.dumps(await motivus.select_task(task)))
        """
    )
    warning, value = out.splitlines()
    assert "WARNING: /nowhere.txt could not be retrieved" in warning
    assert json.loads(value) == [1]


def test_a_driver_whose_cluster_ends_says_so_and_the_next_one_is_served(cluster):
    endless = cluster.program(
        """
        tasks = [
            motivus.call_async(
                {"wasm_path": "build/echo.wasm", "loader_path": "build/loader.js", "params": [n]})
            for n in range(3)
        ]
        print(json.dumps(await motivus.barrier(tasks)))
        await asyncio.sleep(1000)
        """
    )
    try:
        assert json.loads(endless.stdout.readline()) == [[0], [1], [2]]
        cluster.stop()
        until(lambda: "Connection with server closed" in endless.stdout.readline())
    finally:
        endless.kill()
        endless.communicate()
    cluster.start()
    test_two_hundred_tasks_are_awaited_at_a_time(cluster)


def test_two_drivers_are_served_at_once_and_one_that_is_killed_harms_nobody(cluster):
    many = """
        definition = {"wasm_path": "build/echo.wasm", "loader_path": "build/loader.js"}
        tasks = [motivus.call_async({**definition, "params": [n]}) for n in range(400)]
        print("sent", flush=True)
        print(json.dumps(await motivus.barrier(tasks)))
        """
    victim, other = cluster.program(many), None
    try:
        until(lambda: "sent" in victim.stdout.readline())
        other = cluster.program(many)
        until(lambda: "sent" in other.stdout.readline())
        victim.kill()
        out, _ = other.communicate(timeout=LONG)
        assert json.loads(out) == [[n] for n in range(400)]
    finally:
        for each in (victim, other):
            if each is not None:
                each.kill()
                each.communicate()


def test_an_algorithm_with_a_loader_reads_files_and_leaves_files(cluster):
    pytest.importorskip("deno")
    (cluster.shell.folder / "build/needy.wasm").write_bytes(NEEDY)
    out = cluster.run(
        """
        task = motivus.call_async({
            "wasm_path": "build/needy.wasm", "loader_path": "build/loader.js",
            "params": [1, 2, 39],
            "preload_files": {"/in.txt": motivus.read_file("in.txt")},
            "result_files": {"/out.txt": "results/deep/out.txt"},
        })
        print(json.dumps([task, await motivus.select_task(task)]))
        """
    )
    task, value = json.loads(out)
    assert value == 42
    assert (cluster.shell.folder / "results/deep/out.txt").read_text() == "HELLO\n"
    assert cluster.logs()[f"{task}_stdout.log"] == "summed\n"
