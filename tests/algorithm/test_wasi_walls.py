"""What stands around the process of a WASI sandbox, should a module get out of WebAssembly."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from algorithm.wasi_bench import PATIENCE, Bench
from maniple.algorithm import wasi_seccomp


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.works()
    yield bench
    bench.close()


def need(bench, wall):
    if wall not in bench.sandbox.walls:
        assert "CI" not in os.environ, f"this machine lacks the wall {wall}"
        pytest.skip(f"this machine does not let a process put up the wall {wall!r}")


def test_the_environment_of_the_process_is_empty(bench, monkeypatch):
    monkeypatch.setenv("MANIPLE_TEST_TOKEN", "the secret")
    bench.sandbox.close()
    bench.works()
    assert b"MANIPLE_TEST_TOKEN" not in Path(f"/proc/{bench.pid}/environ").read_bytes()


def test_the_process_has_no_descriptors_of_its_parent(tmp_path):
    read, write = os.pipe()
    os.set_inheritable(write, True)
    bench = Bench(tmp_path)
    bench.works()
    ours = os.readlink(f"/proc/self/fd/{write}")
    folder = f"/proc/{bench.pid}/fd"
    theirs = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    bench.close()
    os.close(read)
    os.close(write)
    assert ours not in theirs


@pytest.mark.parametrize(
    ("wall", "kind"), [("network", "net"), ("mount", "mnt"), ("user", "user"), ("ipc", "ipc")]
)
def test_it_has_namespaces_of_its_own(bench, wall, kind):
    need(bench, wall)
    assert os.readlink(f"/proc/{bench.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_its_file_system_holds_nothing_but_the_private_folder(bench):
    need(bench, "root")
    root = f"/proc/{bench.pid}/root"
    assert sorted(os.listdir(root)) == ["box", "stdin"]
    # it is emptied after the answer is on its way
    deadline = time.monotonic() + PATIENCE
    while os.listdir(f"{root}/box"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_can_gain_no_rights_and_its_system_calls_are_filtered(bench):
    need(bench, "calls")
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{bench.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


FILTERED = """
import ctypes, errno, os, socket, signal, sys, threading
sys.path[:0] = [{source!r}]
from maniple.algorithm import wasi_seccomp
libc = ctypes.CDLL(None, use_errno=True)
if not (wasi_seccomp.no_new_privileges(libc) and wasi_seccomp.install(libc, 46)):
    sys.exit(77)
refused = []
def tries(name, call):
    try:
        call()
    except PermissionError:
        refused.append(name)
def mount(flags):
    if libc.mount(b"none", b"/nowhere", b"tmpfs", ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), "mount")
def unshare():
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")
tries("fork", os.fork)
tries("exec", lambda: os.execv("/bin/true", ["true"]))
tries("socket", socket.socket)
tries("kill", lambda: os.kill(1, 0))
tries("mount", lambda: mount(0))
tries("chroot", lambda: os.chroot("/"))
tries("unshare", unshare)
tries("pidfd", lambda: os.pidfd_open(1))
thread = threading.Thread(target=lambda: refused.append("but threads run"))
thread.start()
thread.join()
try:
    mount(46)
except PermissionError:
    pass
except OSError:  # there is nothing to be resized: the kernel itself has looked
    refused.append("but a mount may be resized")
print(" ".join(refused), flush=True)
os.abort()
"""


def test_the_filter_refuses_what_is_never_needed():
    source = str(Path(wasi_seccomp.__file__).parents[2])
    script = FILTERED.format(source=source)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False
    )
    if done.returncode == 77:
        assert "CI" not in os.environ, "this machine has no seccomp"
        pytest.skip("this machine lets no process filter its system calls")
    words = done.stdout.decode().strip()
    assert words.startswith("fork exec socket kill mount chroot unshare pidfd but threads run"), (
        done.stderr
    )
    if os.geteuid() == 0:
        assert words.endswith("but a mount may be resized")
    # abort(3) may still signal its own process
    assert done.returncode == -6


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_whole_program(machine):
    program = wasi_seccomp.filter_program(machine, 1234, 46)
    assert program is not None
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096  # what the kernel takes


def test_a_machine_without_numbers_has_no_filter():
    assert wasi_seccomp.filter_program("riscv64", 1, 46) is None
