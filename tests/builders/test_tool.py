"""Compilers are found and run, and what they print is shown as they print it."""

import os
import signal
import subprocess
import sys

import pytest

from maniple.builders.contract import CompilerError
from maniple.builders.tool import EPOCH, Toolbox
from maniple.errors import AlgorithmError, Exit
from support import PATIENCE, is_alive, until


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def shown():
    return []


@pytest.fixture
def tools(shown):
    return Toolbox(shown.append)


def test_both_streams_are_shown_in_the_order_they_were_written(tmp_path, tools, shown):
    noisy = script(tmp_path, "noisy", "echo one; printf '\\033[1mtwo\\377\\n' >&2; echo three")
    tools.run([noisy], folder=str(tmp_path))
    assert b"".join(shown) == b"one\n\x1b[1mtwo\xff\nthree\n"


def test_a_refusal_is_shown_and_then_told_in_a_line(tmp_path, tools, shown):
    failing = script(tmp_path, "compiler", "echo main.c:1: wrong >&2; exit 3")
    with pytest.raises(CompilerError) as caught:
        tools.run([failing, "cc"], folder=str(tmp_path))
    assert b"".join(shown) == b"main.c:1: wrong\n"
    assert str(caught.value) == "compiler cc ended with exit status 3; what it said is above"
    assert caught.value.exit_code == Exit.SOME_FAILED


def test_a_compiler_that_is_killed_has_failed(tmp_path, tools):
    with pytest.raises(CompilerError, match="SIGKILL"):
        tools.run([script(tmp_path, "killed", "kill -9 $$")], folder=str(tmp_path))


def test_no_compiler_sees_when_it_runs(tmp_path, tools):
    said = tools.ask([script(tmp_path, "date", "echo $SOURCE_DATE_EPOCH")], folder=str(tmp_path))
    assert said == f"{EPOCH}\n"


def test_variables_are_added_to_the_environment(tmp_path):
    tools = Toolbox(environment={"PATH": os.environ["PATH"], "A": "1", "B": "1"})
    asked = script(tmp_path, "ask", "echo $A $B")
    assert tools.ask([asked], folder=str(tmp_path), environment={"B": "2"}) == "1 2\n"


def test_a_question_that_fails_has_no_answer(tmp_path, tools):
    assert tools.ask([script(tmp_path, "no", "echo yes; exit 1")], folder=str(tmp_path)) is None


def test_what_is_not_installed_is_said_with_what_would_install_it(tools):
    with pytest.raises(AlgorithmError) as caught:
        tools.find("no-such-compiler", install="apt-get install it", override="NO_SUCH")
    assert str(caught.value) == (
        "no-such-compiler is not installed: apt-get install it, or name it in $NO_SUCH"
    )


def test_a_variable_may_name_another_program(tmp_path):
    mine = script(tmp_path, "mine", "true")
    tools = Toolbox(environment={"PATH": os.environ["PATH"], "CC": mine, "BAD": "/no/where"})
    assert tools.find("cc", install="", override="CC") == mine
    with pytest.raises(AlgorithmError, match=r"\$BAD names /no/where, which is no program"):
        tools.find("cc", install="", override="BAD")


def test_what_cannot_be_started_is_said(tmp_path, tools):
    with pytest.raises(AlgorithmError, match="cannot start .*/no: No such file"):
        tools.run([str(tmp_path / "no")], folder=str(tmp_path))


def test_an_interrupted_build_leaves_no_compiler_behind(tmp_path):
    class StoppedError(Exception):
        pass

    pids = tmp_path / "pids"
    endless = script(tmp_path, "endless", f"sleep 1000 & echo $! $$ >{pids}; echo started; wait")

    def interrupt(_):
        raise StoppedError

    with pytest.raises(StoppedError):
        Toolbox(interrupt).run([endless], folder=str(tmp_path))
    started = [int(word) for word in pids.read_text().split()]
    assert len(started) == 2
    until(lambda: not any(map(is_alive, started)))


# in a process of its own, which hears Ctrl-C even where the tests were started deaf to it
HEARS = """\
import os, signal, sys, time
from maniple.builders.tool import Toolbox
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# Ctrl-C before the compiler's first reader has heard that it could be started at all
AT_ONCE = """\
read = os.read
def interrupted(*words):
    os.read = read
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)
    return read(*words)
os.read = interrupted
"""


@pytest.mark.parametrize("when", ["", AT_ONCE], ids=["later", "at once"])
def test_ctrl_c_ends_a_compiler_that_says_nothing(tmp_path, when):
    ready = tmp_path / "ready"
    silent = script(tmp_path, "silent", f"echo $$ >{ready}.new; mv {ready}.new {ready}; sleep 1000")
    program = f"{HEARS}{when}Toolbox().run([sys.argv[1]], folder=sys.argv[2])\n"
    build = subprocess.Popen(
        [sys.executable, "-c", program, silent, str(tmp_path), str(ready)],
        stderr=subprocess.PIPE,
        text=True,
    )
    until(ready.exists)
    if not when:
        build.send_signal(signal.SIGINT)
    _, said = build.communicate(timeout=PATIENCE)
    assert said.rstrip().endswith("KeyboardInterrupt")
    pid = int(ready.read_text())
    until(lambda: not is_alive(pid))
