"""What a guard ends when a crew is killed as a whole."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from support import is_alive, until

SOURCES = Path(__file__).parents[2] / "src"

CREW = """
import os, signal, subprocess, sys, time
from maniple.minion.guard import Guard
from maniple.minion.tally import Tally

tally = Tally(2)
Guard(tally)
minion = os.getpid()


def start(variable):
    words = ["sh", "-c", "sleep 600 & wait"]
    return subprocess.Popen(words, process_group=0, env={**os.environ, **variable}).pid


print(start({}), flush=True)
tally.running(1, -minion)
if sys.argv[1] == "before":
    # as in the middle of posix_spawn: the program comes after its minion's death
    if os.fork() == 0:
        os.setpgid(0, 0)
        while os.getppid() == minion:
            time.sleep(0.01)
        time.sleep(0.1)
        print(os.getpid(), flush=True)
        words = ["sh", "-c", "sleep 600 & wait"]
        os.execvpe("sh", words, {**os.environ, "MANIPLE_MINION": str(minion)})
else:
    print(start({"MANIPLE_MINION": str(minion)}), flush=True)
os.kill(minion, signal.SIGKILL)
"""


@pytest.mark.parametrize("program", ["before", "after"])
def test_a_task_whose_minion_is_killed_before_it_could_name_it_ends_too(program):
    crew = subprocess.Popen(
        [sys.executable, "-c", CREW, program],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
    )
    assert crew.wait() == -signal.SIGKILL
    stranger, task = int(crew.stdout.readline()), int(crew.stdout.readline())
    try:
        until(lambda: not is_alive(task))
        assert is_alive(stranger)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(task, signal.SIGKILL)
        os.killpg(stranger, signal.SIGKILL)
        crew.stdout.close()
