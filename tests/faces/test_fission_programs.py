"""The drop-in package `fission`: programs as jobs."""

import subprocess

import pytest


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


HEADS = """
import struct
from fission.core.jobs import ExecutableJob, Head, MARVELOJob, PythonJob

class Source(PythonJob):
    HEAD = True
    def run(self):
        for number in range(3):
            self.head = Head(number + 1)
            yield struct.pack("<i", number)

class Mark(MARVELOJob):
    EXECUTABLE = "./mark"
    DEPENDENCIES = "tool"
    HEAD = True

class Plain(ExecutableJob):
    EXECUTABLE = "sh ./pass.sh"
    DEPENDENCIES = "tool"

class Sink(PythonJob):
    HEAD = True
    def run(self, block):
        print("got", struct.unpack("<i", block)[0], int(self.head))
"""


@pytest.mark.parametrize("shared", [False, True], ids=["two objects a pipe", "one object a pipe"])
def test_programs_with_head_see_heads_and_others_do_not(project, shared):
    source = project.net / "source" / "tool"
    source.mkdir()
    (source / "mark.c").write_text(
        """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    FILE *in = fdopen(atoi(argv[2]), "rb"), *out = fdopen(atoi(argv[4]), "wb");
    unsigned char head; int value;
    while (fread(&head, 1, 1, in) == 1 && fread(&value, 4, 1, in) == 1) {
        head |= 16; value *= 10;
        fwrite(&head, 1, 1, out); fwrite(&value, 4, 1, out); fflush(out);
    }
    return 0;
}
"""
    )
    subprocess.run(["gcc", "-o", "mark", "mark.c"], cwd=source, check=True)
    (source / "pass.sh").write_text('cat "$2" >"$4"\n')
    pipes = "P = {n: B(n, 4) for n in range(9)}.get" if shared else "P = lambda n: B(n, 4)"
    config = f"""
from fission.core.pipes import BytesPipe as B
from net.jobs.jobs import *
{pipes}
USER = ""
NODES = []
"""
    ends = "Source(outputs=[P(1)]), Sink([P(3)])"
    project.config(HEADS, f"{config}JOBS = [{ends}, Mark([P(1)], [P(2)]), Mark([P(2)], [P(3)])]\n")
    assert project.well("simulate").splitlines() == ["got 0 17", "got 100 18", "got 200 19"]
    project.config(HEADS, f"{config}JOBS = [{ends}, Mark([P(1)], [P(2)]), Plain([P(2)], [P(3)])]\n")
    # a program that does not know of heads gives blocks with empty ones
    assert project.well("simulate").splitlines() == ["got 0 0", "got 10 0", "got 20 0"]


def test_a_program_is_tried_by_itself(project):
    (project.net / "source" / "tool").mkdir()
    (project.net / "source" / "tool" / "upper.py").write_text(
        "import sys\n"
        "with open(sys.argv[2]) as a, open(sys.argv[4], 'w') as b:\n"
        "    for line in a:\n"
        "        print(line.strip().upper(), file=b, flush=True)\n"
    )
    project.config(
        "",
        """
import sys
from fission.core.jobs import DynamicExecutableJob
from fission.core.pipes import JSONPipe as P
USER = ""
NODES = []
JOBS = [DynamicExecutableJob("tool", f"{sys.executable} upper.py", inputs=[P(1)], outputs=[P(2)])]
""",
    )
    script = (
        "e = emulate(JOBS[0])\nprint('out', e('hello'), e(['a', 1]), e.job is JOBS[0])\ne.kill()\n"
    )
    done = project.manage("interactive", input=script)
    assert "out ['HELLO'] [['A', 1]] True" in done.stdout, done


WRONG = {
    "EXECUTABLE = './no-such-program'": (1, "cannot start ./no-such-program: No such file"),
    "EXECUTABLE = 'false'": (1, "false ended with exit status 1"),
    "EXECUTABLE = ''": (2, "job Tool-2 has no EXECUTABLE"),
    "EXECUTABLE = 'true'; DEPENDENCIES = 'tools'": (2, "DEPENDENCIES names tools, which is not in"),
    "EXECUTABLE = 'true'; PARAMETERS = '\"'": (2, "job Tool-2: PARAMETERS: No closing quotation"),
}


@pytest.mark.parametrize("attributes", WRONG)
def test_what_is_wrong_with_a_program_is_said(project, attributes):
    project.config(
        HEADS + f"\nclass Tool(ExecutableJob):\n    {attributes}\n",
        "from fission.core.pipes import BytesPipe as B\nfrom net.jobs.jobs import *\n"
        "USER = ''\nNODES = []\n"
        "JOBS = [Source(outputs=[B(1, 4)]), Tool([B(1, 4)], [B(2, 4)]), Sink([B(2, 4)])]\n",
    )
    done = project.manage("simulate", fails=True)
    code, said = WRONG[attributes]
    assert done.returncode == code, done.stderr
    assert said in done.stderr.splitlines()[-1]
