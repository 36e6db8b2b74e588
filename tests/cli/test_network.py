"""`maniple network`: what a user types, and what is said when it is wrong."""

import os
import pty
import re
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

import pytest

from support import LONG, MANIPLE, PATIENCE, until


def maniple(*words, cwd, **options):
    done = subprocess.run(
        [MANIPLE, "network", *words],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LONG,
        **options,
    )
    assert "Traceback" not in done.stderr or "jobs.py" in done.stderr
    return done


@pytest.fixture
def demo(tmp_path):
    made = maniple("new", "demo", cwd=tmp_path)
    assert made.stdout == "made demo: try  maniple network simulate demo/network.yaml\n"
    return tmp_path / "demo"


def test_a_new_network_runs_as_it_is(demo):
    done = maniple("simulate", "demo/network.yaml", cwd=demo.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert (demo.parent / "doubled.csv").read_text().split() == [
        "doubled",
        *(str(2 * number) for number in range(10)),
    ]


def test_its_test_passes(demo):
    done = maniple("test", ".", "-q", cwd=demo)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_check_says_that_nothing_is_wrong(demo):
    assert maniple("check", "network.yaml", cwd=demo).stdout == (
        "doubles: 3 jobs, 2 pipes, nothing wrong\n"
    )


def test_a_network_in_a_python_file_runs(tmp_path):
    (tmp_path / "squares.py").write_text(
        "from maniple.network import Network\n"
        "def count():\n    yield from range(3)\n"
        "def make():\n"
        "    network = Network('squares')\n"
        "    network.add(count, outputs=['n'])\n"
        "    network.add(lambda n: print(n * n), inputs=['n'], name='show')\n"
        "    return network\n"
        "network = make()\n"
    )
    for target in ("squares.py", "squares.py:make", "squares"):
        done = maniple("simulate", target, cwd=tmp_path)
        assert done.stdout.splitlines() == ["show  | 0", "show  | 1", "show  | 4"], done.stderr
    assert maniple("simulate", "squares.py", "--raw", cwd=tmp_path).stdout == "0\n1\n4\n"
    assert maniple("simulate", "squares.py", "--only", "count", cwd=tmp_path).stdout == ""
    assert (tmp_path / ".maniple-network" / "show.log").read_text() == "0\n1\n4\n"


def test_a_job_that_fails_is_named_with_its_block_and_traceback(demo):
    jobs = demo / "jobs.py"
    jobs.write_text(jobs.read_text().replace("return 2 * number", "return 2 // (number - 4)"))
    done = maniple("run", "network.yaml", cwd=demo)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1].startswith("maniple: job double failed at block numbers 4: ZeroDivisionError")


WRONG = {
    "nothing": ("", "'jobs:' with a name for each job is needed"),
    "no yaml": ("jobs: [", "is no YAML"),
    "unknown key": ("jobs: {}\nnodes: {}", "no key 'nodes': there are name, jobs, pipes"),
    "unknown job key": ("jobs: {a: {runs: x}}", "job a: no key 'runs'"),
    "no function": (
        "jobs: {a: {outputs: [p]}}",
        "job a: one of run: MODULE:FUNCTION, program: COMMAND and csv",
    ),
    "no colon": ("jobs: {a: {run: jobs}}", "job a: run: jobs: write MODULE:FUNCTION"),
    "no module": ("jobs: {a: {run: 'nowhere:f'}}", "job a: no module nowhere"),
    "no name": ("jobs: {a: {run: 'jobs:f'}}", "job a: module jobs (jobs.py) has no f"),
    "bad queue": ("jobs: {a: {csv: x, max_queue: -1}}", "job a: max_queue is a number, not -1"),
    "queue of a program": (
        "jobs: {a: {program: x, inputs: p, max_queue: 3}}",
        "job a: a program has no max_queue",
    ),
    "bad program": ("jobs: {a: {program: '\"'}}", "job a: program: No closing quotation"),
    "no program": ("jobs: {a: {program: ''}}", "a program needs a command"),
    "no reader": (
        "jobs: {a: {run: 'jobs:count', with: {limit: 1}, outputs: p}}",
        "pipe p: a writes it, no job reads it",
    ),
    "no pipes": ("jobs: {}\npipes: [3]", "wrong.yaml: pipes: 'key: value' pairs are needed"),
    "bad number": ("jobs: {}\npipes: {p: {blocks: no}}", "pipe p: blocks is a number, not False"),
    "bad argument": (
        "jobs: {a: {run: 'jobs:count', with: {lim: 1}, outputs: p}}",
        "job a, with: got an unexpected keyword argument 'lim'",
    ),
    "no module name": ("jobs: {a: {run: '.:f'}}", "job a: run: .:f: '.' is no module"),
    "bad pipe": ("jobs: {}\npipes: {p: {colour: red}}", "pipe p: no key 'colour'"),
    "bad encoding": ("jobs: {}\npipes: {p: {encoding: xml}}", "pipe p: no encoding 'xml'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_description_is_one_line(demo, case):
    text, said = WRONG[case]
    (demo / "wrong.yaml").write_text(text)
    done = maniple("check", "wrong.yaml", cwd=demo)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


CODE = {
    "x = = 3": "mine.py, line 1: invalid syntax",
    "\nimport nowhere.more": "mine.py, line 2: no module 'nowhere': mend the import, or install it",
    "import json\njson.loads('{')": "mine.py, line 2: json.decoder.JSONDecodeError: Expecting",
    "raise SystemExit": "mine.py, line 1: SystemExit",
    "from maniple.network import *\nnetwork = Network('n', [3])": "mine.py, line 2: a job needs a",
    "network = 3": "mine.py is no Network but int",
}


@pytest.mark.parametrize("text", CODE)
def test_what_is_wrong_with_the_users_code_is_one_line(demo, text):
    (demo / "mine.py").write_text(text)
    (demo / "mine.yaml").write_text("jobs: {a: {run: 'mine:f', outputs: [p]}}")
    done = maniple("check", "mine.py", cwd=demo)
    assert done.returncode == 2
    assert CODE[text] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = maniple("check", "mine.yaml", cwd=demo)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_description_may_have_programs_groups_and_bounds(demo):
    (demo / "more.yaml").write_text("""
jobs:
  count: {run: "jobs:count", with: {limit: 4}, outputs: n, groups: here}
  upper: {program: sh -c 'cat <"$1" >"$2"' sh, with: {input_flag: "", output_flag: ""}, inputs: n, outputs: m}
  save: {csv: more.csv, inputs: m, max_queue: 100, groups: [there, ALL]}
pipes: {n: {encoding: json}, m: {encoding: json}}
""")
    done = maniple("simulate", "more.yaml", cwd=demo)
    assert (done.returncode, done.stderr) == (0, "")
    assert (demo / "more.csv").read_text().split() == ["m", "0", "1", "2", "3"]
    drawn = maniple("graph", "more.yaml", cwd=demo).stdout
    assert 'label="here"' in drawn
    assert 'label="there"' in drawn


def test_a_folder_with_a_network_is_a_network(demo):
    assert maniple("check", "demo", cwd=demo.parent).returncode == 0


def test_a_file_may_have_the_name_of_a_module_that_is_used_here(demo):
    (demo / "queue.py").write_text(
        "from maniple.network import load\nnetwork = load('network.yaml')\n"
    )
    assert maniple("check", "queue.py", cwd=demo).stdout.startswith("doubles: 3 jobs")
    assert maniple("simulate", "queue.py", cwd=demo).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", "nowhere.yaml"], "cannot read nowhere.yaml: No such file"),
        (["simulate", "nowhere.py"], "no file nowhere.py"),
        (["simulate", "no_such_module"], "no module no_such_module"),
        (["check", ""], "no network '': name a .yaml or .py file, or a module"),
        (["check", "demo/network"], "no network 'demo/network': name a"),
        (["simulate", "jobs.py"], "jobs.py has no network"),
        (["simulate", "jobs.py:count"], "jobs.py:count cannot be made"),
        (["simulate", "network.yaml", "--only", "x"], "no job 'x' in doubles: there are count,"),
        (["simulate", "network.yaml", "--logs", "jobs.py/x"], "cannot write the logs to jobs.py/x"),
        (["graph", "network.yaml", "-o", "a.gif"], "cannot draw a.gif: end it in .svg"),
        (["graph", "network.yaml", "-o", "no/a.svg"], "cannot write no/a.svg"),
        (["new", "."], ". is there already"),
        (["test", "nowhere"], "no folder nowhere"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2_or_3(demo, words, said):
    done = maniple(*words, cwd=demo)
    assert done.returncode in {2, 3}
    assert said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_network_is_drawn(demo):
    dot = maniple("graph", "network.yaml", cwd=demo).stdout
    assert 'j0 -> j1 [label="numbers"]' in dot
    mermaid = maniple("graph", "network.yaml", "--mermaid", cwd=demo).stdout
    assert mermaid.startswith("flowchart LR\n")
    assert 'j1 -->|"doubled"| j2' in mermaid
    if shutil.which("dot") is None and not os.environ.get("CI"):
        pytest.skip("graphviz is not installed: apt-get install graphviz")
    for kind, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        done = maniple("graph", "network.yaml", "-o", f"n.{kind}", cwd=demo)
        assert done.stdout == f"wrote n.{kind}\n", done.stderr
        assert (demo / f"n.{kind}").read_bytes().startswith(start)


def test_an_incomplete_network_is_drawn_and_tried(demo):
    (demo / "part.yaml").write_text("jobs: {double: {run: 'jobs:double', inputs: a, outputs: b}}")
    assert maniple("graph", "part.yaml", cwd=demo).stdout.count('label="?"') == 2
    done = maniple("interactive", "part.yaml", cwd=demo, input="print(call('double', 4))\n")
    assert "8" in done.stdout


def test_without_graphviz_it_is_said_what_to_install(demo):
    done = maniple("graph", "network.yaml", "-o", "n.svg", cwd=demo, env={"PATH": "/nowhere"})
    assert "pictures need graphviz: apt-get install graphviz" in done.stderr


def test_the_console_knows_the_network(demo):
    script = "print(network.name, sorted(jobs), sorted(pipes))\nprint(call('double', 21))\n"
    done = maniple("interactive", "network.yaml", cwd=demo, input=script)
    assert "doubles ['count', 'double', 'save'] ['doubled', 'numbers']" in done.stdout
    assert "42" in done.stdout


@pytest.fixture
def endless(demo):
    jobs = demo / "jobs.py"
    text = jobs.read_text().replace(
        "yield from range(limit)", "yield from __import__('itertools').count()"
    )
    jobs.write_text(
        text.replace("return 2 * number", "__import__('time').sleep(0.001); return number")
    )
    return demo


def test_a_running_network_is_seen_live_and_its_rates_are_drawn(endless):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [MANIPLE, "network", "run", "network.yaml"],
        cwd=endless,
        stdout=follower,
        stderr=follower,
        stdin=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    seen = b""

    def read():
        # a terminal that nobody reads would hold it up
        nonlocal seen
        with suppress(OSError):  # the other end is closed
            while data := os.read(leader, 65536):
                seen += data

    reader = threading.Thread(target=read)
    reader.start()
    try:
        until(lambda: re.search(rb"double +.{1,20}running.*k? ", seen))
        # the rates are old soon, where drawing them takes long
        label = re.compile(r'label="numbers\\n[\d.]+( k)?/s"')
        until(lambda: label.search(maniple("graph", "network.yaml", cwd=endless).stdout))
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
        reader.join()
        os.close(leader)
    assert code == 130
    assert not (endless / ".maniple-network" / "status.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_network(endless, number, code):
    process = subprocess.Popen(
        [MANIPLE, "network", "simulate", "network.yaml"], cwd=endless, stderr=subprocess.PIPE
    )
    until((endless / "doubled.csv").exists)
    process.send_signal(number)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == code
    assert said.strip() == b""
