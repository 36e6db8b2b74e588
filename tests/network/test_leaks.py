"""A run leaves nothing behind, however it ends: processes, threads, descriptors, sockets, files."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from maniple.network import Job, Network
from maniple.network.live.run import JobError, LocalRun
from networks import counting, run, silent
from support import PATIENCE, children, is_alive, until

SOURCES = Path(__file__).parents[2] / "src"


def held():
    """What this process holds."""
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    found = [os.readlink(link) for link in links if os.path.exists(link)]
    return Counter([*found, *threading.enumerate(), *children(os.getpid())])


def left_since(before):
    """What it holds that it did not hold then; what earlier tests had left may go meanwhile."""
    return held() - before


def shared_memory():
    """Segments as a library of ours would name them."""
    known = ("maniple", "zmq", "psm_", "sem.mp")
    return {name for name in os.listdir("/dev/shm") if name.startswith(known)}


@pytest.fixture(autouse=True)
def _leaves_no_segment():
    before = shared_memory()
    yield
    # other programs have some, too, which come and go; ours would stay
    until(lambda: shared_memory() <= before)


def sockets(key):
    return [line for line in Path("/proc/net/unix").read_text().splitlines() if key in line]


def chain(middle=lambda value: value, number=2000, **options):
    network = Network("chain")
    network.add(counting(number), outputs=["a"], name="count", rewinds=True)
    network.add(middle, inputs=["a"], outputs=["b"], name="middle")
    network.add(lambda value: None, inputs=["b"], name="sink")
    return network


def die(value):
    if value == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def fail(value):
    return 1 // (value - 100)


def leave_child(value):
    """Start a process that lives on, in a group of its own as well."""
    if value in {100, 101}:
        subprocess.Popen(["sleep", "600"], start_new_session=value == 101)
    if value == 200:
        os.kill(os.getpid(), signal.SIGTERM)
    return value


def quit_silently(value):
    if value == 100:
        os._exit(0)
    return value


@pytest.mark.parametrize("restart", [False, True], ids=["fail", "restart"])
@pytest.mark.parametrize("middle", [None, die, fail, quit_silently])
def test_a_run_leaves_nothing_behind(middle, restart):
    network = chain() if middle is None else chain(middle)
    run(chain(number=1))
    before = held()
    with silent(network) as console:
        local = LocalRun(network, console, restart=restart)
        key = local.address(local.edges[0]).removeprefix("ipc://@").rpartition("-")[0]
        if middle is None:
            local.run()
        else:
            with pytest.raises(JobError):
                local.run()
    assert not left_since(before)
    assert sockets(key) == []


def test_processes_that_a_job_started_end_with_it():
    network = chain(leave_child)
    before = held()
    with silent(network) as console, pytest.raises(JobError, match="SIGTERM"):
        LocalRun(network, console).run()
    # one that had left the group before its parent died unseen cannot be told from a stranger's
    left = [pid for pid in left_since(before) if isinstance(pid, int)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert len(left) <= 1


def test_processes_in_groups_of_their_own_end_when_the_network_is_ended():
    def start(value):
        if value == 100:
            subprocess.Popen(["sleep", "600"], start_new_session=True)
        return value

    def end(value):
        if value == 1500:
            raise ValueError("over")

    network = Network()
    network.add(counting(2000), outputs=["a"], name="count")
    network.add(start, inputs=["a"], outputs=["b"], name="start")
    network.add(end, inputs=["b"], name="end")
    before = held()
    with silent(network) as console, pytest.raises(JobError, match="over"):
        LocalRun(network, console).run()
    assert not left_since(before)


def test_a_run_with_an_interactive_job_leaves_no_thread(monkeypatch):
    class Typed(Job):
        interactive = True

        def run(self):
            for line in sys.stdin:
                yield line.strip()
                if line == "end\n":
                    return

    read, write = os.pipe()
    with os.fdopen(read) as stdin, os.fdopen(write, "w") as typing:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = held()
        for _ in range(2):
            # nobody closes what is typed on
            typing.write("hello\nend\n")
            typing.flush()
            network = Network()
            network.add(Typed(outputs=["line"], name="typed"))
            network.add(print, inputs=["line"], name="p")
            assert [line.split()[-1] for line in run(network).splitlines()] == ["hello", "end"]
            assert not left_since(before)


def test_a_long_text_that_nobody_reads_yet_blocks_nothing(monkeypatch, tmp_path):
    class Typed(Job):
        interactive = True

        def run(self):
            time.sleep(0.5)
            for line in sys.stdin:
                yield int(line)

    (tmp_path / "typed").write_text("".join(f"{n}\n" for n in range(50_000)))
    network = Network()
    network.add(Typed(outputs=["n"], name="typed"))
    network.add(lambda n: print(n) if n % 10_000 == 9999 else None, inputs=["n"], name="p")
    with open(tmp_path / "typed") as file:
        monkeypatch.setattr(sys, "stdin", file)
        shown = run(network)
    assert [line.split()[-1] for line in shown.splitlines()] == [
        f"{n}9999" for n in ("", 1, 2, 3, 4)
    ]


def test_a_run_begins_while_other_threads_hold_locks():
    """A process that is forked must not wait for a thread that it does not have."""
    import logging

    over = threading.Event()
    lock = logging.getLogger().handlers[0].lock if logging.getLogger().handlers else None
    ready = threading.Event()

    def hold():
        with lock or threading.Lock():
            while not over.is_set():
                sys.stdout.write("")
                ready.set()
                over.wait(0.001)

    def log(value):
        logging.getLogger("job").warning("block %s", value)
        print("printed", value)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    try:
        network = Network()
        network.add(counting(3), outputs=["a"], name="count")
        network.add(log, inputs=["a"])
        assert run(network).count("printed") == 3
    finally:
        over.set()
        thread.join()


SCRIPT = """
import sys
from maniple.network import Network
from maniple.network.live.console import Console
from maniple.network.live.run import LocalRun

def count():
    number = 0
    while True:
        yield number
        number += 1

def work(value):
    return sum(range(200)) - 19900 + value

network = Network()
network.add(count, outputs=["p0"], name="source")
for place in range(18):
    network.add(work, inputs=[f"p{place}"], outputs=[f"p{place + 1}"], name=f"work{place}")
network.add(lambda value: print(value) if value < 1 else None, inputs=["p18"], name="sink")
run = LocalRun(network, Console([job.name for job in network.jobs], sys.stdout.buffer))
print(run.address(run.edges[0]).removeprefix("ipc://@").rpartition("-")[0], flush=True)
run.run()
"""


@pytest.fixture
def busy(tmp_path):
    """Twenty jobs at work, in a process of its own."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(tmp_path / "tmp")}
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=tmp_path,
        )
        started.append(process)
        process.key = process.stdout.readline().decode().strip()
        process.stdout.readline()
        process.jobs = children(process.pid)
        assert len(process.jobs) == 20
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_twenty_busy_jobs_end_within_a_second(busy, number, tmp_path):
    took = []
    # the machine may be busy with something else, now and then
    while len(took) < 6 and not (took and took[-1] < 1):
        process = busy()
        began = time.monotonic()
        process.send_signal(number)
        process.wait(PATIENCE)
        took.append(time.monotonic() - began)
        assert not any(is_alive(pid) for pid in process.jobs)
        assert sockets(process.key) == []
    assert took[-1] < 1, took
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]


def test_nothing_is_left_when_the_parent_of_twenty_busy_jobs_is_killed(busy, tmp_path):
    process = busy()
    process.kill()
    process.wait()
    until(lambda: not any(is_alive(pid) for pid in process.jobs))
    until(lambda: sockets(process.key) == [])
    assert list((tmp_path / "tmp").iterdir()) == []
