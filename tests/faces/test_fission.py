"""The drop-in package `fission`: a project made, run, drawn, tried and tested by its commands."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest


BIN = Path(sys.executable).parent


def shell(*words, cwd, fails=False, **options):
    done = subprocess.run(
        [*map(str, words)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert not done.stderr.startswith("Traceback") or fails, done.stderr
    return done


class Project:
    """A project in a folder, with one network."""

    def __init__(self, folder):
        done = shell(BIN / "fission_admin.py", "proj", "startproject", cwd=folder)
        assert done.returncode == 0, done.stderr
        self.folder = folder / "proj"
        assert self.manage("startnetwork", network="net").returncode == 0
        self.net = self.folder / "net"

    def manage(self, *words, network="net", **options):
        return shell(sys.executable, "manage.py", network, *words, cwd=self.folder, **options)

    def config(self, jobs, config):
        (self.net / "jobs" / "jobs.py").write_text(jobs)
        (self.net / "config.py").write_text(config)

    def popen(self, *words, **options):
        return subprocess.Popen(
            [sys.executable, "manage.py", "net", *words], cwd=self.folder, **options
        )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


JOBS = """
from fission.core.jobs import PythonJob

class Source(PythonJob):
    def setup(self, limit=5):
        self.limit = limit
        self.number = 0

    def run(self):
        if self.number == self.limit:
            return None
        self.number += 1
        return self.number

class Double(PythonJob):
    def run(self, number):
        print("doubling", number)
        return 2 * number
"""

CONFIG = """
from fission.core.jobs import CSVSinkJob
from fission.core.nodes import LocalNode
from fission.core.pipes import PicklePipe
from net.jobs.jobs import Double, Source

USER = "me"
JOBS = [
    Source(outputs=[PicklePipe(1)]),
    Double(inputs=[PicklePipe(1)], outputs=[PicklePipe(2)]),
    CSVSinkJob("numbers.csv", inputs=[PicklePipe(2)]),
]
NODES = [LocalNode()]
"""


@pytest.fixture
def numbers(project):
    project.config(JOBS, CONFIG)
    return project


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


def test_setup_gets_the_arguments_of_the_constructor(numbers):
    config = (numbers.net / "config.py").read_text()
    numbers.config(
        JOBS, config.replace("outputs=[PicklePipe(1)])", "outputs=[PicklePipe(1)], limit=2)", 1)
    )
    numbers.manage("simulate")
    assert (numbers.net / "simulation" / "3" / "numbers.csv").read_text() == "pipe_2\n2\n4\n"


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
        (["nowhere", "simulate"], "no network 'nowhere' here: nowhere/config.py is missing"),
        (["net", "fly"], "no command 'fly': there are collect, graphviz, interactive, run"),
        (["net", "startnetwork"], "net is there already"),
        (["1x", "startnetwork"], "'1x' cannot be the name of a package"),
        (["net", "collect"], "no log files of net: run it first"),
        (["net", "test"], "no tests:"),
        (["net", "simulate", "now"], "too many words: now"),
    ],
)
def test_misuse_is_one_line(project, words, said):
    done = shell(sys.executable, "manage.py", *words, cwd=project.folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


WRONG = {
    "two sources": ("JOBS.append(Source(outputs=[PicklePipe(1)]))", "pipe 1 has two writers"),
    "two readers": (
        "JOBS.append(CSVSinkJob('x', inputs=[PicklePipe(1)]))",
        "pipe 1 has two readers",
    ),
    "no end": (
        "JOBS.append(Source(outputs=[PicklePipe(9)]))",
        "pipe 9: Source-4 writes it, no job",
    ),
    "other type": (
        "from fission.core.pipes import JSONPipe\nJOBS[2] = CSVSinkJob('x', inputs=[JSONPipe(2)])",
        "both must name the same kind",
    ),
    "no job": ("JOBS.append(3)", "JOBS holds 3, which is no job"),
    "pulse": ("PULSE_INTERVAL = 0", "PULSE_INTERVAL is seconds from 0.1 to 1000, not 0"),
    "classes": (
        "class P(PicklePipe):\n    DESTINATION_JOBS = [Source]\n"
        "JOBS[1].outputs = [P(2)]\nJOBS[2].inputs = [P(2)]",
        "pipe 2 must not be read by CSVSinkJob-3: DESTINATION_JOBS has Source",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_config_is_one_line_before_anything_runs(numbers, case):
    more, said = WRONG[case]
    numbers.config(JOBS, f"{CONFIG}\n{more}\n")
    done = numbers.manage("simulate")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (numbers.net / "simulation" / "info.txt").exists()


def test_a_node_elsewhere_is_not_in_this_version(numbers):
    numbers.config(
        JOBS,
        CONFIG.replace("LocalNode()", "BaseNode('192.0.2.1')").replace("LocalNode", "BaseNode"),
    )
    done = numbers.manage("run")
    assert done.returncode == 2
    assert "job Source-1 belongs on 192.0.2.1: nodes on other machines are not in" in done.stderr


def test_ctrl_c_ends_it_cleanly(numbers):
    numbers.config(JOBS.replace("self.number == self.limit", "False"), CONFIG)
    process = numbers.popen("simulate", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == b""


def test_a_generator_a_tuple_and_finish(project):
    project.config(
        """
from fission.core.jobs import PythonJob

class Pairs(PythonJob):
    def run(self):
        for number in range(100):
            if number == 4:
                self.finish()
            yield number, -number

class Add(PythonJob):
    def run(self, up, down):
        return up + down
""",
        """
from fission.core.jobs import CSVSinkJob
from fission.core.pipes import JSONPipe, PicklePipe
from net.jobs.jobs import Add, Pairs
USER = ""
NODES = []
JOBS = [
    Pairs(outputs=[PicklePipe("up"), JSONPipe("down")]),
    Add([PicklePipe("up"), JSONPipe("down")], [PicklePipe("sum")]),
    CSVSinkJob("sums.csv", [PicklePipe("sum")], col_pattern="the {pipe.id}"),
]
""",
    )
    done = project.manage("simulate")
    assert done.returncode == 0, done.stderr
    assert (project.net / "simulation" / "3" / "sums.csv").read_text() == "the sum\n" + "0\n" * 5


def test_heads_travel_and_are_reduced(project):
    project.config(
        """
from fission.core.jobs import Head, PythonJob

class Left(PythonJob):
    HEAD = True
    def run(self):
        for number in range(3):
            self.head = Head(number)
            yield number

class Right(PythonJob):
    HEAD = True
    def run(self):
        for number in range(3):
            self.out_heads = [Head(8)]
            yield number

class Both(PythonJob):
    HEAD = True
    def run(self, left, right):
        return [int(self.head), [int(h) for h in self.in_heads]]

class End(PythonJob):
    HEAD = True
    def run(self, value):
        print("saw", value, int(self.head), self.head.finished)
""",
        """
from fission.core.pipes import PicklePipe as P
from net.jobs.jobs import *
USER = ""
NODES = []
JOBS = [Left(outputs=[P(1)]), Right(outputs=[P(2)]), Both([P(1), P(2)], [P(3)]), End([P(3)])]
""",
    )
    done = project.manage("simulate")
    assert done.returncode == 0, done.stderr
    saw = [line.partition("saw ")[2] for line in done.stdout.splitlines()]
    assert saw == ["[8, [0, 8]] 8 False", "[9, [1, 8]] 9 False", "[10, [2, 8]] 10 False"]


def test_custom_bytes_and_optional_pipes(project):
    project.config(
        """
import struct
from fission.core.jobs import PythonJob

class Source(PythonJob):
    def run(self):
        for number in range(6):
            yield number, struct.pack("<h", number)

class Sink(PythonJob):
    def run(self, text, blocks, hint):
        print("got", text, [struct.unpack("<h", b)[0] for b in blocks], hint)
""",
        """
from fission.core.jobs import PythonJob
from fission.core.pipes import BasePipe, BytesPipe, OptionalJSONPipe
from net.jobs.jobs import Sink, Source

class Roman(BasePipe):
    BLOCK_COUNT = 2
    def pack(self, data):
        return b"I" * data
    def unpack(self, data):
        return len(data)
    def write(self, file, data):
        file.write(data + b";")
    def read(self, file):
        found = b""
        while (byte := file.read(1)) not in {b";", b""}:
            found += byte
        return found

class Hint(PythonJob):
    def run(self):
        yield "hint"

class Patient(OptionalJSONPipe):
    OPTIONAL_DEFAULT = "nothing"

USER = ""
NODES = []
JOBS = [
    Source(outputs=[Roman("r"), BytesPipe("b", 2, 2)]),
    Hint(outputs=[Patient("h")]),
    Sink([Roman("r"), BytesPipe("b", 2, 2), Patient("h")]),
]
""",
    )
    done = project.manage("simulate")
    assert done.returncode == 0, done.stderr
    got = [line.partition("got ")[2] for line in done.stdout.splitlines()]
    assert [line.rpartition(" ")[0] for line in got] == [
        "[0, 1] [0, 1]",
        "[2, 3] [2, 3]",
        "[4, 5] [4, 5]",
    ]
    assert {line.rpartition(" ")[2] for line in got} <= {"nothing", "hint"}


def test_programs_in_c_and_in_shell_by_path_and_by_descriptor(project):
    source = project.net / "source" / "tool"
    source.mkdir()
    (source / "twice.c").write_text(
        """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    FILE *in = fdopen(atoi(argv[3]), "rb"), *out = fdopen(atoi(argv[5]), "wb");
    int factor = atoi(argv[1]), value;
    while (fread(&value, 4, 1, in) == 1) { value *= factor; fwrite(&value, 4, 1, out); }
    return 0;
}
"""
    )
    subprocess.run(["gcc", "-o", "twice", "twice.c"], cwd=source, check=True)
    (source / "pass.sh").write_text('#!/bin/sh\ncat "$2" >"$4"\n')
    (source / "pass.sh").chmod(0o755)
    project.config(
        """
import struct
from fission.core.jobs import ExecutableJob, MARVELOJob, PythonJob

class Source(PythonJob):
    def run(self):
        for number in range(5):
            yield struct.pack("<i", number)

class Twice(MARVELOJob):
    EXECUTABLE = "./twice"
    PARAMETERS = "3"
    DEPENDENCIES = "tool"

class Pass(ExecutableJob):
    EXECUTABLE = "./pass.sh"
    DEPENDENCIES = "tool"

class Sink(PythonJob):
    def run(self, block):
        print("got", struct.unpack("<i", block)[0])
""",
        """
from fission.core.jobs import DynamicExecutableJob
from fission.core.pipes import BytesPipe as B
from net.jobs.jobs import *
USER = ""
NODES = []
JOBS = [
    Source(outputs=[B(1, 4)]),
    Twice([B(1, 4)], [B(2, 4)]),
    Pass([B(2, 4)], [B(3, 4)]),
    DynamicExecutableJob("tool", "./pass.sh", inputs=[B(3, 4)], outputs=[B(4, 4)]),
    Sink([B(4, 4)]),
]
""",
    )
    done = project.manage("simulate")
    assert done.returncode == 0, done.stderr
    assert [line.partition("got ")[2] for line in done.stdout.splitlines()] == [
        "0",
        "3",
        "6",
        "9",
        "12",
    ]


def test_jobs_and_nodes_from_csv_and_from_xml(project):
    (project.net / "source" / "tool").mkdir()
    (project.net / "jobs.csv").write_text(
        "class,inputs,outputs,arguments\n"
        'net.jobs.jobs.Source,,n:JSON,"{""limit"": 3}"\n'
        'fission.core.jobs.CSVSinkJob,n:JSON,,"{""path"": ""n.csv""}"\n'
    )
    (project.net / "nodes.csv").write_text("name,ip,groups\nhere,127.0.0.1,fast big\n")
    (project.net / "net.xml").write_text(
        '<network><node pi_id="127.0.0.1">'
        '<job path="tool" executable="sh">'
        '<parameter param="-c"/><parameter param="printf abcdefgh &gt;/dev/fd/$1"/>'
        '<output pipe_id="x" block_size="4" block_count="1"/></job>'
        '<job path="tool" executable="sh">'
        '<parameter param="-c"/><parameter param="cat /dev/fd/$1"/>'
        '<input pipe_id="x" block_size="4" block_count="1"/></job>'
        "</node></network>"
    )
    config = "USER = ''\nJOBS = ['jobs.csv']\nNODES = ['nodes.csv']\nXML_FILE = 'net.xml'\n"
    project.config(JOBS, config)
    done = project.manage("run")
    assert done.returncode == 0, done.stderr
    assert (project.net / "simulation" / "2" / "n.csv").read_text() == "pipe_n\n1\n2\n3\n"
    assert "node here (127.0.0.1): fast, big, ALL" in done.stdout
    assert "abcdefgh" in done.stdout
    (project.net / "jobs.csv").write_text("class,inputs,outputs\nnet.jobs.jobs.Nobody,,\n")
    done = project.manage("simulate")
    assert "jobs.csv, line 2: module net.jobs.jobs has no Nobody" in done.stderr
    (project.net / "jobs.csv").write_text("class,inputs\n")
    assert "the column 'outputs' is missing" in project.manage("simulate").stderr


def test_lines_that_are_typed_at_a_terminal_reach_two_operators(project):
    project.config(
        """
from fission.core.jobs import InteractiveJob, PythonJob

class Add(PythonJob):
    def run(self, a, b):
        print("sum", int(a) + int(b), flush=True)
""",
        """
from fission.core.jobs import InteractiveJob
from fission.core.pipes import PicklePipe as P
from net.jobs.jobs import Add
USER = ""
NODES = []
JOBS = [InteractiveJob(outputs=[P(1)]), InteractiveJob(outputs=[P(2)]), Add([P(1), P(2)])]
""",
    )
    leader, follower = pty.openpty()
    process = project.popen("simulate", stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    while seen.count(b"ready for lines") < 2:
        seen += os.read(leader, 4096)
    assert b"lines go to InteractiveJob-1; write NAME: for InteractiveJob-2" in seen
    os.write(leader, b"20\n2: 22\n30\nInteractiveJob-1: 40\n")
    while b"sum 42" not in seen or b"sum 70" not in seen:
        seen += os.read(leader, 4096)
    os.write(leader, b"\x04")
    while True:
        try:
            if not os.read(leader, 4096):
                break
        except OSError:
            break
    os.close(leader)
    assert process.wait(20) == 0


def test_the_graph_is_drawn_also_of_an_incomplete_network(numbers):
    numbers.config(JOBS, CONFIG.replace("    CSVSinkJob", "    #"))
    done = numbers.manage("graphviz")
    if "graphviz" in done.stderr and not os.environ.get("CI"):
        pytest.skip("graphviz is not installed")
    assert done.returncode == 0, done.stderr
    assert (numbers.net / "network.pdf").read_bytes().startswith(b"%PDF")


def test_the_console_has_the_names_that_users_know(numbers):
    script = (
        "print([type(x).__name__ for x in (network, *JOBS, *PIPES, *NODES)], sorted(GROUPS))\n"
        "e = emulate(JOBS[1]); print('out', e(21)); e.kill()\n"
        "s = emulate(PIPES[0])([1, 'x'])\n"
    )
    done = numbers.manage("interactive", input=script)
    assert "['Network', 'Source', 'Double', 'CSVSinkJob', 'PicklePipe', 'PicklePipe'" in done.stdout
    assert "['ALL']" in done.stdout
    assert "out [42]" in done.stdout
    assert "unpacked [1, 'x']" in done.stdout


def test_jobs_are_tested_with_the_fixtures(numbers):
    tests = numbers.net / "tests"
    tests.mkdir()
    (tests / "test_jobs.py").write_text(
        """
import pytest

@pytest.fixture
def fission_test_job(fission_cfg_jobs):
    return fission_cfg_jobs(1)

def test_double(fission_test_emulator, fission_cfg):
    assert fission_test_emulator(4) == [8]
    assert fission_cfg.USER == "me"

@pytest.mark.slow
def test_slow():
    pass
"""
    )
    done = numbers.manage("test", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert "2 passed" in numbers.manage("test", "--runslow", "-p", "no:cacheprovider").stdout


def test_a_bounded_queue_drops_the_oldest_and_counts(project):
    project.config(
        """
import time
from fission.core.jobs import PythonJob

class Fast(PythonJob):
    def run(self):
        yield from range(3000)

class Slow(PythonJob):
    MAX_QUEUE = 5
    def setup(self):
        self.seen = []
    def run(self, number):
        self.seen.append(number)
        time.sleep(0.0002)
        if number == 2999:
            print(len(self.seen), len(set(self.seen)) < 3000, flush=True)
""",
        """
from fission.core.pipes import PicklePipe as P
from net.jobs.jobs import *
USER = ""
NODES = []
JOBS = [Fast(outputs=[P(1)]), Slow([P(1)])]
""",
    )
    done = project.manage("simulate")
    assert done.returncode == 0, done.stderr
    # a block that was dropped is stood in for by the one before it: every number has its call
    assert done.stdout.split()[-2:] == ["3000", "True"]


def test_the_old_names_are_where_users_import_them_from():
    names = {
        "jobs": "PythonJob LocalJob CSVSinkJob InteractiveJob ExecutableJob MARVELOJob"
        " DynamicExecutableJob DynamicMARVELOJob Head",
        "pipes": "PicklePipe JSONPipe BytesPipe OptionalPicklePipe OptionalJSONPipe"
        " OptionalBytesPipe OptionalMixIn",
        "nodes": "BaseNode MultiNode LocalNode",
    }
    script = "\n".join(
        f"from fission.core.{m} import {', '.join(n.split())}" for m, n in names.items()
    )
    done = shell(sys.executable, "-c", f"{script}\nimport json; print(json.dumps(1))", cwd="/")
    assert json.loads(done.stdout) == 1, done.stderr
