"""An identity says who holds a lease, and whether that process still lives."""

import os
import signal
import subprocess
import sys

import pytest

from maniple.owner import host_of, identity, is_dead

CHILD = "from maniple.owner import identity; print(identity(), flush=True); input()"


@pytest.fixture
def child():
    """A process that has told its identity and lives until it is killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_process_knows_that_it_lives():
    assert is_dead(identity()) is False


def test_an_identity_is_stable_and_fits_in_a_file_name():
    assert identity() == identity()
    assert "/" not in identity()
    assert len(identity()) < 200


def test_an_identity_shows_its_host_to_people():
    assert host_of(identity()) == "".join(
        c if c.isalnum() or c in "._" else "_" for c in os.uname().nodename
    )


def test_a_forked_child_is_somebody_else():
    read, write = os.pipe()
    identity()
    pid = os.fork()
    if pid == 0:
        os.write(write, identity().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)
    assert theirs != identity()
    assert is_dead(theirs) is True


def test_another_process_lives_until_it_is_killed(child):
    process, theirs = child
    assert is_dead(theirs) is False
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_dead(theirs) is True


def test_a_stopped_process_lives(child):
    process, theirs = child
    process.send_signal(signal.SIGSTOP)
    assert is_dead(theirs) is False


def test_a_zombie_is_dead(child):
    process, theirs = child
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(theirs) is True


def test_a_later_process_of_the_same_pid_is_another_one():
    boot, namespaces, pid, start, host = identity().split("-")
    assert is_dead(f"{boot}-{namespaces}-{pid}-{int(start) + 1}-{host}") is True


@pytest.mark.parametrize("part", [0, 1])
def test_nothing_is_known_of_another_boot_or_namespace(part):
    parts = identity().split("-")
    parts[part] = "beef"
    assert is_dead("-".join(parts)) is None


@pytest.mark.parametrize("text", ["", "somebody", "a-b-c-d-e", "1-2-3-4"])
def test_nothing_is_known_of_what_is_no_identity(text):
    assert is_dead(text) is None
