"""The drop-in package `fission`: how jobs are set up, called and ended."""

import os
import pty

import pytest

from fission_project import JOBS
from support import PATIENCE


def test_setup_gets_the_arguments_of_the_constructor(numbers):
    config = (numbers.net / "config.py").read_text()
    numbers.config(
        JOBS, config.replace("outputs=[PicklePipe(1)])", "outputs=[PicklePipe(1)], limit=2)", 1)
    )
    numbers.manage("simulate")
    assert (numbers.net / "simulation" / "3" / "numbers.csv").read_text() == "pipe_2\n2\n4\n"


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
    assert process.wait(PATIENCE) == 0


def network(project, jobs, config):
    """A network without a line that could be left out."""
    project.config(
        f"import time\nfrom fission.core.jobs import Head, PythonJob\n{jobs}",
        "from fission.core.jobs import CSVSinkJob\n"
        "from fission.core.pipes import BytesPipe, PicklePipe as P\n"
        f"from net.jobs.jobs import *\nUSER = ''\nNODES = []\nJOBS = [{config}]\n",
    )
    return project


COUNT = """
class Count(PythonJob):
    def run(self):
        yield from range(1, 6)
class Print(PythonJob):
    def run(self, *values):
        print(*values)
"""


def test_a_traceback_shows_the_users_lines_only(project):
    network(
        project,
        COUNT + "class Bad(Print):\n    def run(self, a):\n        return 1 / 0\n",
        "Count(outputs=[P(1)]), Bad([P(1)])",
    )
    said = project.manage("simulate", fails=True).stderr.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert (
        said[-1] == "manage.py: job Bad-2 failed at block 1 0: ZeroDivisionError: division by zero"
    )
    assert [line for line in said if "File" in line] == [
        f'  File "{project.net}/jobs/jobs.py", line 12, in run'
    ]


def test_a_file_that_cannot_be_written_is_one_line(project):
    network(project, COUNT, "Count(outputs=[P(1)]), CSVSinkJob('no/a.csv', [P(1)])")
    assert project.manage("simulate").stderr == (
        "manage.py: job CSVSinkJob-2 failed: cannot write no/a.csv: No such file or directory\n"
    )


def test_none_from_a_connector_ends_it_and_its_neighbours(project):
    network(
        project,
        COUNT
        + """
class Endless(PythonJob):
    def run(self):
        return 7
class Three(PythonJob):
    def run(self, a, b):
        return a if a <= 3 else None
""",
        "Count(outputs=[P(1)]), Endless(outputs=[P(2)]), Three([P(1), P(2)], [P(3)]), Print([P(3)])",
    )
    assert project.well("simulate") == "1\n2\n3"


def test_what_a_sink_returns_is_ignored(project):
    network(
        project,
        COUNT + "class End(Print):\n    def run(self, a):\n        print(a)\n        return 1, 2\n",
        "Count(outputs=[P(1)]), End([P(1)])",
    )
    assert project.well("simulate").split() == ["1", "2", "3", "4", "5"]


def test_a_value_goes_to_every_output_and_a_tuple_to_one_each(project):
    network(
        project,
        COUNT
        + """
class Split(PythonJob):
    def run(self, a):
        return (a, [a]) if a % 2 else {"even": a}
""",
        "Count(outputs=[P(1)]), Split([P(1)], [P(2), P(3)]), Print([P(2), P(3)])",
    )
    assert project.well("simulate").splitlines()[:2] == ["1 [1]", "{'even': 2} {'even': 2}"]


@pytest.mark.parametrize("head", [False, True])
def test_a_tuple_of_another_length_is_an_error(project, head):
    network(
        project,
        COUNT
        + f"class Three(PythonJob):\n    HEAD = {head}\n    def run(self, a):\n        return a, a, a\n",
        "Count(outputs=[P(1)]), Three([P(1)], [P(2), P(3)]), Print([P(2), P(3)])",
    )
    done = project.manage("simulate", fails=True)
    assert done.returncode == 1
    assert "manage.py: job Three-2 failed at block 1 0: " in done.stderr
    assert "3 values were given, and the job has 2 outputs" in done.stderr


def test_finish_in_run_of_a_source_and_of_a_connector(project):
    network(
        project,
        COUNT
        + """
class Once(PythonJob):
    def setup(self):
        self.number = 0
    def run(self):
        self.number += 1
        if self.number == 4:
            self.finish()
        return self.number
class Two(PythonJob):
    def run(self, a):
        if a == 2:
            self.finish()
        return a
""",
        "Once(outputs=[P(1), P(2)]), Print([P(1)]), Two([P(2)], [P(3)]), Print([P(3)])",
    )
    assert sorted(project.well("simulate").split()) == ["1", "1", "2", "2", "3", "4"]


def test_a_reader_that_ends_before_its_writer_has_started_keeps_nobody_waiting(project):
    network(
        project,
        COUNT
        + """
import os
class Late(PythonJob):
    def setup(self):
        while not os.path.exists("../done"):
            time.sleep(0.01)
        # its reader has heard the end, and goes
        time.sleep(0.5)
    def run(self):
        return 1
class Last(Print):
    def run(self, number, hint):
        print(number, hint)
        if number == 5:
            open("../done", "w").close()
""",
        "Count(outputs=[P(1)]), Late(outputs=[H(2)]), Last([P(1), H(2)])",
    )
    path = project.net / "config.py"
    path.write_text(
        path.read_text().replace(
            "USER", "from fission.core.pipes import OptionalPicklePipe as H\nUSER", 1
        )
    )
    assert project.well("simulate").splitlines() == [f"{n} None" for n in range(1, 6)]


def test_init_runs_on_the_client_and_setup_in_the_job(project):
    network(
        project,
        COUNT
        + """
import os
class Both(PythonJob):
    def __init__(self, inputs, limit):
        super().__init__(inputs, [], limit, more=1)
        self.client = os.getpid()
        self.note = [1]
    def setup(self, limit, more):
        self.note.append(limit + more)
        self.here = os.getpid()
    def __setstate__(self, state):
        self.__dict__ = state
        self.note.append("travelled")
    def run(self, a):
        print(a, self.note, self.client != self.here, self.inputs[0].id, self.id)
""",
        "Count(outputs=[P(1)]), Both([P(1)], 40)",
    )
    assert project.well("simulate").splitlines()[0] == "1 [1, 'travelled', 41] True 1 2"


def test_modules_and_folders_that_a_job_depends_on_are_where_it_runs(project):
    (project.net / "source" / "words").mkdir()
    (project.net / "source" / "words" / "helper_of_words.py").write_text("word = 'hello'\n")
    (project.net / "tools.py").write_text("")
    network(
        project,
        COUNT
        + """
import os
from net import jobs, tools
class Needs(PythonJob):
    DEPENDENCIES = ["words", tools, jobs]
    def setup(self):
        import helper_of_words
        print(sorted(set(os.listdir()) - {"__pycache__"}), helper_of_words.word)
    def run(self, a):
        pass
""",
        "Count(outputs=[P(1)]), Needs([P(1)])",
    )
    assert project.well("simulate") == "['helper_of_words.py', 'jobs', 'tools.py'] hello"


def test_heads_of_lists_own_reduction_and_the_frameworks_bits(project):
    network(
        project,
        """
class Count(PythonJob):
    HEAD = True
    def run(self):
        for number in range(4):
            self.head = Head(1 << number, 2)
            if number == 1:
                self.out_heads = [Head(1 << 8, 2)]
            if number == 3:
                self.finish()
            yield number
class Two(P2 := __import__("fission.core.pipes", fromlist=["x"]).PicklePipe):
    BLOCK_COUNT = 2
class Last(PythonJob):
    HEAD = True
    def head_reduce(self, heads):
        return heads[0] << 1
    def run(self, pair):
        return pair
class End(PythonJob):
    HEAD = True
    def run(self, pair):
        print(pair, int(self.in_heads[0]) & 0x1FFF, self.head.finished, self.head.reset, len(self.head))
""",
        "Count(outputs=[Two(1)]), Last([Two(1)], [P(2)]), End([P(2)])",
    )
    path = project.net / "config.py"
    path.write_text(path.read_text() + "\nHEAD_SIZE = 2\n")
    first, second = (1 | 1 << 8) << 1, (4 | 8) << 1
    assert project.well("simulate").splitlines() == [
        f"[0, 1] {first} False False 2",
        # shifted by one, the bit of the end is the one that says reset
        f"[2, 3] {second} False True 2",
    ]


def test_an_interactive_job_runs_without_a_live_view_in_a_terminal(project):
    network(
        project,
        COUNT + "from fission.core.jobs import InteractiveJob\n",
        "InteractiveJob(outputs=[P(1)]), Print([P(1)])",
    )
    path = project.net / "config.py"
    path.write_text(
        path.read_text().replace(
            "NODES = []", "from fission.core.nodes import *\nNODES = [LocalNode()]"
        )
    )
    leader, follower = pty.openpty()
    process = project.popen("run", stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    while b"ready for lines" not in seen:
        seen += os.read(leader, 4096)
    os.write(leader, b"hello\n\x04")
    while True:
        try:
            seen += os.read(leader, 4096)
        except OSError:
            break
    os.close(leader)
    assert process.wait(PATIENCE) == 0
    assert b"Print-2          | hello" in seen
