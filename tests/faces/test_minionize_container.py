"""The command as the entry point of a container: the first process, nobody's home, no terminal."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from sweeps import BIN, Minion

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def is_permitted():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


first_process = pytest.mark.skipif(
    not is_permitted(), reason="unshare --pid is not there, or not permitted"
)


def minionize(*words, cwd):
    """As in a container: no HOME, hardly a PATH, and pid 1 by way of a replaced unshare."""
    code = "import os, sys; os.execve(sys.argv[1], sys.argv[1:], {'PATH': os.defpath, 'MINION_ENGINE': 'file'})"
    script = [sys.executable, "-c", code, str(BIN / "minionize"), *words]
    unshare = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    return Minion("-c", unshare, *NAMESPACE, *script, cwd=cwd, command=None)


@first_process
def test_the_first_process_of_a_container_runs_params_to_the_end(tmp_path):
    with minionize("echo $PPID", cwd=tmp_path) as minion:
        minion.say("a\nb\n")
        lines = [minion.line(), minion.line()]
        assert minion.end() == (0, "")
    assert [line.split()[1] for line in lines] == ["a", "b"]


@first_process
def test_the_first_process_reaps_orphans(tmp_path):
    (tmp_path / "orphan.sh").write_text("sleep 0.05 & echo $! > orphan\n")
    # its parent is gone at once; it stays in /proc until somebody has reaped it
    look = "sh orphan.sh; while test -e /proc/$(cat orphan); do sleep 0.01; done; echo reaped"
    with minionize(look, cwd=tmp_path) as minion:
        minion.say("1\n")
        assert minion.line() == "reaped 1"
        assert minion.end() == (0, "")


@first_process
def test_the_first_process_passes_sigterm_on(tmp_path):
    with minionize("echo started; sleep 600; echo", cwd=tmp_path) as minion:
        minion.say("1\n")
        assert minion.line() == "started"
        # the only child of unshare is pid 1 in there
        (inner,) = _children(minion.process.pid)
        os.kill(inner, signal.SIGTERM)
        assert minion.end() == (143, "")


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def test_neither_a_home_nor_a_terminal_is_needed(tmp_path):
    ran = subprocess.run(
        [str(BIN / "minionize"), "echo"],
        env={"MINION_ENGINE": "file"},
        input="1\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")
