"""The command `maniple loopback`: a cluster on this machine."""

import asyncio
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request

import pytest

import maniple
from maniple.driver import AlgorithmFailedError
from support import PATIENCE, is_alive, minions, one_line, until

pytest.importorskip("wasmtime")

LINE = re.compile(r"export WEBSOCKET_URI=(ws://localhost:(\d+)/client_socket/websocket)\n")
SLEEPY = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "42")
  (func (export "_start")
    {body}
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 2))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))
"""


def module(body=""):
    """A WASI program that prints 42, after whatever else it does."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(SLEEPY.format(body=body)))


QUICK = "quick-0.0.1.zip"
ENDLESS = "endless-0.0.1.zip"


@pytest.fixture
def cluster(shell):
    """Start clusters whose algorithms `quick` and `endless` lie in the folder's build."""
    from maniple.algorithm.package import Package, pack

    build = shell.folder / "build"
    build.mkdir()
    (build / QUICK).write_bytes(pack(Package("quick", "0.0.1", module())))
    endless = module("(loop $again (br $again))")
    (build / ENDLESS).write_bytes(pack(Package("endless", "0.0.1", endless)))
    shell.environment["MANIPLE_CACHE"] = str(shell.folder / "cache")
    shell.environment["MANIPLE_ALGORITHMS"] = str(shell.folder / "shelf")

    def start(*words, **options):
        process = shell.start("loopback", "-p", 0, "-j", 2, *words, **options)
        line = process.stdout.readline()
        match = LINE.fullmatch(line)
        assert match, line + process.stderr.read()
        process.url, process.port = match[1], int(match[2])
        return process

    return start


def drive(url, shell, work):
    """Run a coroutine function of a connected cluster."""

    async def main():
        async with maniple.connect(url) as connected:
            return await work(connected)

    before = os.getcwd()
    os.chdir(shell.folder)
    try:
        return asyncio.run(asyncio.wait_for(main(), PATIENCE))
    finally:
        os.chdir(before)


async def seen(condition):
    """Wait for a condition while the event loop goes on."""
    await asyncio.to_thread(until, condition)


def view(process):
    with urllib.request.urlopen(f"http://localhost:{process.port}/", timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_it_prints_the_line_for_drivers_and_nothing_else_and_runs_their_tasks(cluster, shell):
    process = cluster("--quiet")

    async def work(connected):
        return [await connected.run("quick@0.0.1") for _ in range(3)]

    assert drive(process.url, shell, work) == [42, 42, 42]
    process.send_signal(signal.SIGINT)
    code, out, err = shell.finish(process)
    assert (code, out, err) == (130, "", "")


def test_many_drivers_are_served_at_once(cluster, shell):
    process = cluster()
    program = textwrap.dedent(
        """
        import sys, maniple
        with maniple.connect(sys.argv[1]) as cluster:
            print(sum(cluster.map("quick", [[n] for n in range(50)])))
        """
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, process.url],
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [int(each.communicate(timeout=PATIENCE)[0]) for each in started] == [2100] * 3
    process.terminate()
    assert shell.finish(process)[0] == 143


def test_it_says_what_runs(cluster, shell):
    process = cluster()
    until(lambda: "2 workers" in process.stderr.readline())

    async def work(connected):
        task = asyncio.create_task(connected.run("endless"))
        await seen(lambda: "endless@0.0.1" in view(process))
        task.cancel()
        await seen(lambda: "endless@0.0.1" not in view(process))
        return await connected.run("quick")

    assert drive(process.url, shell, work) == 42
    assert "cancelled 1" in view(process)
    process.terminate()
    shell.finish(process)


def test_a_terminal_gets_a_live_table(cluster, shell):
    leader, follower = pty.openpty()
    shell.environment["TERM"] = "xterm"
    process = cluster(stderr=follower)
    os.close(follower)
    seen = b""

    def shown():
        nonlocal seen
        seen += os.read(leader, 4096)
        return b"2 workers" in seen and b"Ctrl-C ends it" in seen

    until(shown)
    assert b"worker" in seen
    process.send_signal(signal.SIGINT)
    # a terminal whose output nobody reads would hold it up
    while process.poll() is None:
        try:
            os.read(leader, 4096)
        except OSError:
            break
    assert process.wait(PATIENCE) == 130
    os.close(leader)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_it_ends_cleanly_in_the_middle_of_a_task(cluster, shell, number, code):
    process = cluster()

    async def work(connected):
        task = asyncio.create_task(connected.run("endless"))
        await seen(lambda: "endless@0.0.1" in view(process))
        process.send_signal(number)
        await asyncio.get_running_loop().run_in_executor(None, process.wait, PATIENCE)
        task.cancel()

    drive(process.url, shell, work)
    assert shell.finish(process)[0] == code
    assert not shell.alive()


def test_when_it_is_killed_its_workers_end_by_themselves(cluster, shell):
    process = cluster()
    until(lambda: "2 workers" in process.stderr.readline())
    assert len(shell.alive()) > 3
    process.kill()
    until(lambda: not shell.alive())


def test_a_worker_that_is_killed_is_replaced_and_its_task_runs_again(cluster, shell):
    process = cluster()
    until(lambda: "2 workers" in process.stderr.readline())

    async def work(connected):
        task = asyncio.create_task(connected.run("endless"))
        await seen(lambda: "endless@0.0.1" in view(process))
        (busy,) = re.findall(r"(?m)^.*/(\d+): endless", view(process))
        victim = minions(process.pid)[int(busy) - 1]
        os.kill(victim, signal.SIGKILL)
        await seen(lambda: not is_alive(victim) and "endless@0.0.1" in view(process))
        task.cancel()
        return await connected.run("quick")

    assert drive(process.url, shell, work) == 42
    process.terminate()
    assert shell.finish(process)[0] == 143


def test_a_hub_that_is_killed_is_replaced_and_no_task_is_lost(cluster, shell):
    process = cluster()
    until(lambda: "2 workers" in process.stderr.readline())
    hub = minions(process.pid)[-1]

    async def work(connected):
        first = await connected.run("quick")
        busy = [asyncio.create_task(connected.run("endless")) for _ in range(2)]
        await seen(lambda: view(process).count("endless@0.0.1") == 2)
        # none of these has an answer before the hub is killed
        others = [asyncio.create_task(connected.run("quick", n)) for n in range(50)]
        await seen(lambda: "waiting 50" in view(process))
        os.kill(hub, signal.SIGKILL)
        for task in busy:
            task.cancel()
        found = await asyncio.gather(*others)
        return [first, *found]

    assert drive(process.url, shell, work) == [42] * 51
    process.terminate()
    code, _, err = shell.finish(process)
    assert code == 143
    assert "the hub's process was killed, and is replaced" in err


def test_limits_hold_for_all_tasks(cluster, shell):
    process = cluster("--time-limit", "300ms", "--memory", "64m")

    async def work(connected):
        with pytest.raises(AlgorithmFailedError, match="time"):
            await connected.run("endless")
        return await connected.run("quick")

    assert drive(process.url, shell, work) == 42
    process.terminate()
    shell.finish(process)


def test_a_port_that_is_taken_is_said(shell):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = shell.maniple("loopback", "-p", port)
    assert result.returncode == 3
    assert one_line(result.stderr).startswith(f"maniple: port {port} is taken")
    assert "-p 0" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--bind", "no.such.host.invalid"], "--bind no.such.host.invalid"),
        (["--bind", "203.0.113.1"], "cannot listen on 203.0.113.1"),
        (["-p", "70000"], "-p"),
        (["-j", "0"], "-j"),
        (["--memory", "much"], "much"),
        (["--time-limit", "soon"], "soon"),
        (["extra"], "extra"),
    ],
)
def test_misuse_is_one_line(shell, words, text):
    result = shell.maniple("loopback", *words)
    assert result.returncode == 2
    assert text in one_line(result.stderr)
    assert result.stdout == ""


def test_listening_to_all_says_what_that_means(cluster, shell):
    process = cluster("--bind", "0.0.0.0")
    assert "whoever reaches port" in process.stderr.readline()
    process.terminate()
    assert shell.finish(process)[0] == 143


def test_without_the_web_server_it_says_what_to_install(shell):
    (shell.folder / "fastapi.py").write_text("raise ImportError('no', name='fastapi')")
    shell.environment["PYTHONPATH"] = str(shell.folder)
    result = shell.maniple("loopback", "-p", 0)
    assert result.returncode == 3
    assert "pip install 'maniple[hub]'" in one_line(result.stderr)
