"""The drop-in package `fission`: pipes of all kinds, and what stands in for lost blocks."""

import re

import pytest


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


JOBS = """
import os, struct, time
from fission.core.jobs import Head, PythonJob

class Fast(PythonJob):
    def run(self):
        yield from range(1, 201)
        with open("../done", "w"):
            pass

class Slow(PythonJob):
    HEAD = True
    MAX_QUEUE = 3
    def setup(self):
        self.seen, self.bad = [], []
    def run(self, *values):
        while not os.path.exists("../done"):
            time.sleep(0.01)
        self.seen.append(values[0])
        self.bad.append(self.head.corrupted)
        if values[0] == 200:
            real = {v for v, bad in zip(self.seen, self.bad) if not bad}
            least = min(v or 0 for v in self.seen)
            print(len(self.seen), len(real), sum(self.bad), least, max(real))
"""

CONFIG = """
from fission.core.pipes import *
from net.jobs.jobs import *
USER = ""
NODES = []
"""


def lost(project, pipe):
    """What a job sees that must drop most of 200 blocks."""
    project.config(JOBS, f"{CONFIG}\n{pipe}\nJOBS = [Fast(outputs=[P(1)]), Slow([P(1)])]\n")
    calls, distinct, bad, least, most = map(int, project.well("simulate").split())
    assert most == 200
    return calls, distinct, bad, least


def test_the_block_before_stands_in_for_a_lost_one_with_the_corrupted_bit(project):
    calls, distinct, bad, _ = lost(project, "P = PicklePipe")
    assert calls == 200
    assert 3 <= distinct < 200
    assert bad == calls - distinct


def test_a_dummy_stands_in_where_the_pipe_has_one(project):
    calls, _, bad, least = lost(
        project, "class P(JSONPipe):\n    def get_dummy(self):\n        return -7"
    )
    assert calls == 200
    assert least == -7
    assert bad > 0


def test_an_async_pipe_leaves_no_holes(project):
    calls, distinct, bad, _ = lost(project, "class P(PicklePipe):\n    ASYNC = True")
    assert calls == distinct < 200
    assert bad == 0


def test_zeros_stand_in_for_a_first_block_of_fixed_size(project):
    from fission.core.pipes import BytesPipe, PicklePipe

    assert BytesPipe(1, 4).stand_in(None) == bytes(4)
    assert BytesPipe(1, 4).stand_in(b"abcd") == b"abcd"
    assert PicklePipe(1).stand_in(None) is None


OPTIONAL = """
import time
from fission.core.jobs import PythonJob

class Hints(PythonJob):
    def run(self):
        yield from "abc"

class Ticks(PythonJob):
    def run(self):
        while True:
            time.sleep(0.005)
            yield 0

class Watch(PythonJob):
    def setup(self):
        self.seen = []
        self.after = 0
    def run(self, tick, hint):
        self.seen.append(hint)
        self.after += "c" in self.seen
        if self.after == 4:
            print("".join(h or "." for h in self.seen).lstrip("."))
            self.finish()
        return 0

class End(PythonJob):
    def run(self, value):
        pass
"""


SOME = {"c", "bc", "abc", "ac"}


@pytest.mark.parametrize(
    ("attributes", "seen", "end", "between"),
    [
        ("", SOME, "cccc", ""),
        ("OPTIONAL_STORE = False", SOME, "c...", "."),
        ("OPTIONAL_STORE = False; OPTIONAL_DEFAULT = '-'", SOME, "c---", "-"),
        ("OPTIONAL_BUFFER_SIZE = 5", {"abc"}, "cccc", ""),
    ],
)
def test_an_optional_pipe_gives_the_newest_the_stored_or_the_default(
    project, attributes, seen, end, between
):
    project.config(
        OPTIONAL,
        f"""{CONFIG}
class H(OptionalMixIn, PicklePipe):
    {attributes or "pass"}
P = PicklePipe
JOBS = [Hints(outputs=[H("h")]), Ticks(outputs=[P(1)]), Watch([P(1), H("h")], [P(2)]), End([P(2)])]
""",
    )
    found = project.well("simulate").lstrip("-")
    # how many ticks come before the next hint is nobody's business
    given = found.replace(between, "") if between else found
    assert re.sub(r"(\w)\1*", r"\1", given) in seen
    assert found[-4:] == end


def test_the_delete_mode_says_which_goes():
    from fission.core.pipes import OptionalPicklePipe
    from maniple.errors import UsageError

    class Keep(OptionalPicklePipe):
        OPTIONAL_DELETE_MODE = "newest"

    assert Keep(1).keep_oldest
    assert not OptionalPicklePipe(1).keep_oldest

    class Wrong(OptionalPicklePipe):
        OPTIONAL_DELETE_MODE = "both"

    with pytest.raises(UsageError, match="Wrong: OPTIONAL_DELETE_MODE is 'oldest' or 'newest'"):
        Wrong(1)


def test_bytes_of_another_size_are_an_error_that_names_the_pipe(project):
    project.config(
        "from fission.core.jobs import PythonJob\n"
        "class S(PythonJob):\n    def run(self):\n        yield b'abc'\n"
        "class E(PythonJob):\n    def run(self, a):\n        pass\n",
        f"{CONFIG}\nJOBS = [S(outputs=[BytesPipe(1, 4)]), E([BytesPipe(1, 4)])]\n",
    )
    done = project.manage("simulate")
    assert done.returncode == 1
    assert done.stderr == "manage.py: job S-1 failed: pipe 1 takes blocks of 4 bytes, not of 3\n"
