"""The drop-in package `fission`: a project made, run, drawn and looked at by its commands."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from fission_project import BIN, CONFIG, JOBS, shell
from support import PATIENCE


def test_a_new_project_has_the_shape_that_users_know(project):
    assert (project.folder / "manage.py").exists()
    assert not (project.folder / "shared" / "config.py").exists()
    for name in ("jobs", "nodes", "pipes"):
        assert (project.net / name / f"{name}.py").exists()
        assert (project.net / name / "__init__.py").exists()
    assert (project.net / "source").is_dir()


@pytest.mark.parametrize("command", ["simulate", "run"])
def test_three_jobs_write_numbers_to_csv(numbers, command):
    done = numbers.manage(command)
    assert (done.returncode, done.stderr) == (0, "")
    written = (numbers.net / "simulation" / "3" / "numbers.csv").read_text()
    assert written == "pipe_2\n2\n4\n6\n8\n10\n"
    info = (numbers.net / "simulation" / "info.txt").read_text()
    assert info == "1: Source\n2: Double\n3: CSVSinkJob\n"
    assert "Double-2     | doubling 5" in done.stdout
    if command == "run":
        assert "node local (127.0.0.1): ALL" in done.stdout
        assert "job 3 CSVSinkJob-3: client" in done.stdout
        collected = numbers.manage("collect")
        assert "log files in" in collected.stdout
        assert "doubling 5" in (numbers.net / "collection" / "Double-2.log").read_text()


def test_an_exception_ends_the_network_with_the_jobs_name(numbers):
    numbers.config(JOBS.replace("2 * number", "2 / (number - 3)"), CONFIG)
    done = numbers.manage("simulate", fails=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "manage.py: job Double-2 failed at block 1 2: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "simulate"], "no network 'nowhere' here: there are net; `python3 manage.py"),
        (["shared", "simulate"], "shared/config.py is missing: write it, with JOBS and NODES"),
        (["net", "fly"], "no command 'fly': there are check, collect, graph, graphviz, inter"),
        (["my-net", "startnetwork"], "'my-net' cannot be the name of a package: letters, digits"),
        (["json", "new"], "'json' is a module of Python already: choose"),
        (["net", "run", "--fast"], "No such option '--fast' (see manage.py net run --help)"),
        (["net", "graph", "-o", "x.gif"], "cannot draw x.gif: end it in .svg"),
        (["net", "startnetwork"], "net is there already"),
        (["1x", "startnetwork"], "'1x' cannot be the name of a package"),
        (["net", "collect"], "no log files of net: run it first"),
        (["net", "test"], "no tests:"),
        (["net", "simulate", "now"], "Got unexpected extra argument (now) (see manage.py"),
    ],
)
def test_misuse_is_one_line(project, words, said):
    done = shell(sys.executable, "manage.py", *words, cwd=project.folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_ends_it_cleanly(numbers):
    numbers.config(JOBS.replace("self.number == self.limit", "False"), CONFIG)
    process = numbers.popen("simulate", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said == b""


def test_a_job_that_hangs_in_setup_is_ended_as_well(numbers):
    jobs = JOBS.replace(
        "self.limit = limit", "print('stuck', flush=True); __import__('time').sleep(600)"
    )
    numbers.config(jobs, CONFIG)
    process = numbers.popen("simulate", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_it_runs_from_any_folder(numbers, tmp_path):
    assert numbers.manage("simulate", cwd=tmp_path).returncode == 0
    assert (numbers.net / "simulation" / "3" / "numbers.csv").exists()


def test_without_words_it_tells_the_commands(numbers):
    for words, code in (((), 2), (("net",), 2), (("--help",), 0)):
        done = shell(sys.executable, "manage.py", *words, cwd=numbers.folder)
        assert done.returncode == code
        for command in ("simulate", "run", "startnetwork", "graphviz", "show", "collect"):
            assert f"  {command} " in done.stdout
    assert "--restart" in numbers.manage("run", "--help").stdout


def test_a_project_that_is_there_is_left_alone(project):
    done = shell(BIN / "fission_admin.py", "proj", "startproject", cwd=project.folder.parent)
    assert done.returncode == 2
    assert done.stderr == "fission_admin.py: proj is there already: choose another name\n"
    done = shell(BIN / "fission_admin.py", "proj", cwd=project.folder)
    assert done.stderr == "fission_admin.py: write: fission_admin.py PROJECT startproject\n"


def test_the_verbs_of_maniple_network_are_there_as_well(numbers):
    assert numbers.manage("check").stdout == "net: 3 jobs, 2 pipes, nothing wrong\n"
    assert 'label="Double-2"' in numbers.manage("graph").stdout
    assert numbers.manage("graph", "--mermaid").stdout.startswith("flowchart LR")
    assert numbers.manage("simulate", "--raw", "--only", "Double-2").stdout.startswith("doubling 1")
    assert numbers.manage("new", network="other").stdout.startswith("made other")
    assert (numbers.folder / "other" / "config.py").exists()
    assert numbers.manage("check", network="other").stderr == (
        "manage.py: network other has no jobs\n"
    )


def test_a_running_network_is_seen_live_with_its_nodes(numbers):
    leader, follower = pty.openpty()
    process = numbers.popen(
        "run",
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65536)
        except OSError:
            break
    os.close(leader)
    assert process.wait(PATIENCE) == 0
    assert b"job 1 Source-1: local" in seen
    last = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", seen).rpartition(b"job ")[2].decode()
    assert re.search(r"Double-2 +local +ended", last)
    assert re.search(r"CSVSinkJob-3 +client +ended", last)
    assert b"doubling" not in seen


def test_debug_window_brings_the_output_above_the_live_view(numbers):
    numbers.config(JOBS, f"{CONFIG}\nDEBUG_WINDOW = True\n")
    done = numbers.manage("run", "--live", env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    assert "Double-2     | doubling 5" in done.stdout
    assert re.search(r"CSVSinkJob-3 +client +ended", done.stdout)


def test_a_window_needs_a_screen(numbers):
    pytest.importorskip("matplotlib")
    environment = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    done = numbers.manage("show", env={**environment, "MPLBACKEND": "agg"})
    assert done.returncode == 2
    assert "no window can be opened here" in done.stderr or "graphviz" in done.stderr


def test_the_graph_is_drawn_also_of_an_incomplete_network(numbers):
    numbers.config(JOBS, CONFIG.replace("    CSVSinkJob", "    #"))
    done = numbers.manage("graphviz")
    if "graphviz" in done.stderr and not os.environ.get("CI"):
        pytest.skip("graphviz is not installed")
    assert done.returncode == 0, done.stderr
    assert (numbers.net / "network.pdf").read_bytes().startswith(b"%PDF")
    assert '[label="?"' in numbers.manage("graph").stdout


def test_groups_are_frames_in_the_picture(numbers):
    numbers.config(
        JOBS.replace(
            "class Double(PythonJob):", "class Double(PythonJob):\n    GROUPS = ['fast', 'ALL']"
        ),
        CONFIG,
    )
    assert 'label="fast"' in numbers.manage("graph").stdout


def test_the_old_names_are_where_users_import_them_from():
    names = {
        "jobs": "PythonJob LocalJob CSVSinkJob InteractiveJob ExecutableJob MARVELOJob"
        " DynamicExecutableJob DynamicMARVELOJob Head BaseJob",
        "pipes": "PicklePipe JSONPipe BytesPipe OptionalPicklePipe OptionalJSONPipe"
        " OptionalBytesPipe OptionalMixIn",
        "nodes": "BaseNode MultiNode LocalNode",
    }
    script = "\n".join(
        f"from fission.core.{m} import {', '.join(n.split())}" for m, n in names.items()
    )
    done = shell(sys.executable, "-c", f"{script}\nimport json; print(json.dumps(1))", cwd="/")
    assert json.loads(done.stdout) == 1, done.stderr
