"""The drop-in package `fission`: pipes and jobs tried one by one, in the console and in tests."""

import pytest

from fission_project import CONFIG, JOBS


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


def test_a_job_is_tried_with_heads_in_a_folder_of_its_own(numbers):
    numbers.config(
        JOBS
        + """
import os
from fission.core.jobs import Head
class Heads(PythonJob):
    HEAD = True
    DEPENDENCIES = "words"
    def run(self, a, b):
        self.out_heads = [Head(1)]
        return int(self.head), [a, b, os.getcwd(), os.listdir()]
class Wrong(PythonJob):
    def run(self, a):
        return a, a, a
""",
        CONFIG
        + """
from net.jobs.jobs import Heads, Wrong
P = PicklePipe
JOBS = [Heads([P(1), P(2)], [P(3), P(4)]), Source(outputs=[P(5)], limit=2), Wrong([P(6)], [P(7)])]
""",
    )
    (numbers.net / "source" / "words").mkdir()
    (numbers.net / "source" / "words" / "a.txt").write_text("")
    script = """
import os
with emulate(JOBS[1]) as source: print(source(), source(), source(), source.job.id)

wrong = emulate(JOBS[2])
try: wrong(1)
except Exception as error: print(str(error).splitlines()[-1])

wrong.kill()
wrong.kill()
try: wrong(1)
except Exception as error: print(error)

heads = emulate(JOBS[0])
try: heads(1, 2, head=5)
except Exception as error: print(str(error).splitlines()[-1])

cwd = heads.cwd
heads.kill()
print(os.path.exists(cwd))
"""
    said = numbers.manage("interactive", input=script).stdout
    assert "[1] [2] [None] 5" in said
    assert "ValueError: 3 values were given, and the job has 1 outputs" in said
    assert "job Wrong-6 was killed" in said
    assert "job Heads-4 has 2 outputs and sets 1 out_heads" in said
    assert said.rstrip(" >\n").endswith("False")
    numbers.config(
        (numbers.net / "jobs" / "jobs.py").read_text().replace("self.out_heads = [Head(1)]", ""),
        (numbers.net / "config.py").read_text(),
    )
    script = "h = emulate(JOBS[0])\nhead, rest = h(1, 2, head=5)\nprint(head, rest[:2], rest[2] == h.cwd, rest[3])\n"
    assert "5 [1, 2] True ['a.txt']" in numbers.manage("interactive", input=script).stdout


def test_what_cannot_travel_cannot_be_tried(numbers):
    script = "JOBS[1].f = lambda: 0\nemulate(JOBS[1])\nemulate(3)\n"
    said = numbers.manage("interactive", input=script, fails=True).stderr
    assert "job Double-2 cannot travel to its node: self.f cannot be pickled" in said
    assert "only pipes and jobs can be tried, not 3" in said


def test_head_is_a_bit_field():
    from fission.core.jobs import Head

    head = Head(0b101, 2)
    assert len(head) == 2
    assert (head[0], head[1], head[2], head[-1], head[:3]) == (1, 0, 1, 0, [1, 0, 1])
    assert [int(x) for x in (head & 4, head | 2, head ^ 1, ~head, head << 1, head >> 2)] == [
        4,
        7,
        4,
        0xFFFA,
        10,
        1,
    ]
    head[1] = 1
    head[-1] = 1
    assert int(head) == 0x8007
    assert head.corrupted
    head[-3:] = [1, 1, 0]
    assert (head.finished, head.reset, head.corrupted) == (True, True, False)
    assert Head.from_bytes(bytes(head)) == head
    assert 2 | head == head
    with pytest.raises(IndexError, match="bit 16 of a head of 16 bits"):
        head[16] = 1
    with pytest.raises(ValueError, match="as many bits"):
        head[0:2] = [1]
