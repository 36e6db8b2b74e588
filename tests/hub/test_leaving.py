"""A hub that was told to leave is not disturbed by being told again."""

import subprocess
import sys

SCRIPT = """
import os, signal
from asyncio import selector_events
from maniple.hub.server import listen, run_hub

loop = selector_events.BaseSelectorEventLoop
close = loop._close_self_pipe

def told_again(self):
    # from now on the loop cannot be woken, and its handlers are still there
    close(self)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)

loop._close_self_pipe = told_again
run_hub(listen("127.0.0.1", 0), "127.0.0.1", ready=lambda: os.kill(os.getpid(), signal.SIGTERM))
print("left")
"""


def test_a_second_word_while_it_leaves_changes_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
