"""The drop-in package `fission`: what a config.py may say, and where jobs are placed."""

import pytest

from fission_project import CONFIG, JOBS

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
    "no job": ("JOBS.append(3)", "config.py: JOBS holds 3, which is no job"),
    "class": ("JOBS.append(Source)", "JOBS holds the class Source: make a job of it with Source("),
    "twice": ("JOBS.append(JOBS[0])", "JOBS holds Source-1 twice"),
    "no node": ("NODES.append(3)", "NODES holds 3, which is no node"),
    "no list": ("NODES = None", "NODES is a list, not None"),
    "level": ("LOG_LEVEL = 'LOUD'", "LOG_LEVEL is one of CRITICAL, FATAL, ERROR"),
    "log": ("LOG_FILE = 'no/such/folder'", "LOG_FILE: cannot write "),
    "head": ("HEAD_SIZE = 0", "HEAD_SIZE is bytes, at least 1, not 0"),
    "xml": ("XML_FILE = 'no.xml'", "no.xml: No such file or directory"),
    "syntax": ("USER = ", "net/config.py, line 15: invalid syntax"),
    "name": ("JOBS += [Sorce()]", "net/config.py, line 15: NameError: name 'Sorce' is not defined"),
    "import": ("import nowhere.else_", "net/config.py, line 15: no module 'nowhere': mend"),
    "import of a name": ("from net.jobs.jobs import Sorce", "line 15: ImportError: cannot import"),
    "exit": ("raise SystemExit(3)", "net/config.py, line 15: SystemExit: 3"),
    "size": ("from fission.core.pipes import *\nBytesPipe(7, 0)", "line 16: pipe 7: block_size mu"),
    "sizes": (
        (
            "from fission.core.pipes import BytesPipe\n"
            "JOBS[1].outputs, JOBS[2].inputs = [BytesPipe(2, 4)], [BytesPipe(2, 8)]"
        ),
        "pipe 2: Double-2 writes blocks of 4 bytes, CSVSinkJob-3 reads blocks of 8",
    ),
    "inputs": (
        "JOBS[1].inputs.append(PicklePipe(3))\nJOBS.append(Source(outputs=[PicklePipe(3)]))",
        "job Double-2: its function (number) does not take its inputs (1, 3)",
    ),
    "no pipe": ("JOBS[1].inputs = [1]", "job Double-2: 1 is no pipe of fission.core.pipes"),
    "depends": ("Double.DEPENDENCIES = 'nowhere'", "job Double-2: DEPENDENCIES names nowhere, wh"),
    "pickle": (
        "JOBS[1].file = open(__file__)",
        "job Double-2 cannot travel to its node: self.file cannot be pickled (cannot pickle",
    ),
    "pulse": ("PULSE_INTERVAL = 0", "PULSE_INTERVAL is seconds from 0.1 to 1000, not 0"),
    "long pulse": ("PULSE_INTERVAL = 1000.5", "PULSE_INTERVAL is seconds from 0.1 to 1000, not"),
    "no pulse": ("PULSE_INTERVAL = '1'", "PULSE_INTERVAL is seconds from 0.1 to 1000, not '1'"),
    "no star": (
        "from fission.core.nodes import MultiNode\nMultiNode('192.168.0.1')",
        "line 16: MultiNode('192.168.0.1'): an address with a * is needed",
    ),
    "source": (
        (
            "class P(PicklePipe):\n    SOURCE_JOBS = (Double,)\n"
            "JOBS[0].outputs = [P(1)]\nJOBS[1].inputs = [P(1)]"
        ),
        "pipe 1 must not be written by Source-1: SOURCE_JOBS has Double",
    ),
    "classes": (
        (
            "class P(PicklePipe):\n    DESTINATION_JOBS = [Source]\n"
            "JOBS[1].outputs = [P(2)]\nJOBS[2].inputs = [P(2)]"
        ),
        "pipe 2 must not be read by CSVSinkJob-3: DESTINATION_JOBS has Source",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_config_is_one_line_before_anything_runs(numbers, case):
    more, said = WRONG[case]
    numbers.config(JOBS, f"{CONFIG}\n{more}\n")
    done = numbers.manage("simulate")
    assert done.returncode in {2, 3}
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
    assert numbers.manage("simulate").returncode == 0


def test_only_three_names_are_needed_and_simulate_needs_no_nodes(numbers):
    numbers.config(JOBS, CONFIG.replace("NODES = [LocalNode()]", ""))
    assert numbers.manage("simulate").returncode == 0
    done = numbers.manage("run")
    assert done.returncode == 2
    assert "job Source-1 has no node: NODES is empty; write NODES = [LocalNode()]" in done.stderr


def test_all_settings_may_be_there(numbers):
    numbers.config(
        JOBS,
        f"{CONFIG}\nREMOTE_ROOT = '/tmp/x'\nCLIENT_IP = '127.0.0.1'\nPRE_COPY = True\n"
        "PULSE_INTERVAL = 0.1\nHEAD_SIZE = 2\nXML_FILE = None\nLOG_FILE = None\nDEBUG_WINDOW = 1\n",
    )
    assert numbers.manage("run").returncode == 0


def test_a_multi_node_matches_addresses():
    from fission.core.nodes import MultiNode

    assert MultiNode("192.168.0.*").matches("192.168.0.17")
    assert not MultiNode("192.168.0.*").matches("192.168.1.17")


PLACES = """
from fission.core.nodes import BaseNode

class Fast(BaseNode):
    GROUPS = "fast"

class Small(BaseNode):
    GROUPS = ["small", "tiny"]
    MAX_JOBS = 1

NODES = [LocalNode("127.0.0.1", "one"), Fast("127.0.0.2", "two"), Small("127.0.0.3", "three")]
"""


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("Source.GROUPS = 'fast'", "job 1 Source-1: two"),
        ("Source.GROUPS = ['none', 'tiny']", "job 1 Source-1: three"),
        (
            "Source.GROUPS = ['tiny', 'fast']; Double.GROUPS = ['tiny', 'fast']",
            "job 2 Double-2: two",
        ),
        ("Source.DEFAULT_NODE = '127.0.0.3'", "job 1 Source-1: three"),
        (
            "Double.preference = lambda self, facts: facts.ip == '127.0.0.3'",
            "job 2 Double-2: three",
        ),
        ("", "job 3 CSVSinkJob-3: client"),
    ],
)
def test_a_job_goes_to_its_most_wanted_group_with_room(numbers, change, where):
    numbers.config(JOBS, f"{CONFIG}\n{PLACES}\n{change}\n")
    said = numbers.well("run")
    assert where in said
    assert "node three (127.0.0.3): small, tiny, ALL" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("Source.GROUPS = 'gold'", "wants GROUPS gold: no node has it (there are ALL, fast, small"),
        ("Source.DEFAULT_NODE = '10.0.0.1'", "has DEFAULT_NODE 10.0.0.1, which is not in NODES"),
        ("Source.GROUPS = Double.GROUPS = 'tiny'", "job Double-2 finds no room: each node of tiny"),
        ("NODES[1].ip = '192.0.2.1'; Source.GROUPS = 'fast'", "belongs on 192.0.2.1: nodes on ot"),
    ],
)
def test_a_job_that_has_nowhere_to_go_is_named(numbers, change, said):
    numbers.config(JOBS, f"{CONFIG}\n{PLACES}\n{change}\n")
    done = numbers.manage("run")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_words_for_logging_go_to_the_output_and_to_the_log_file(numbers):
    jobs = f"import logging\n{JOBS}".replace(
        "print(", "logging.debug('hidden'); logging.warning('seen %d', number); print("
    )
    numbers.config(jobs, f"{CONFIG}\nLOG_LEVEL = 'WARNING'\nLOG_FILE = 'net.log'\n")
    said = numbers.manage("simulate").stdout
    assert "WARNING Double-2: seen 5" in said
    lines = (numbers.net / "net.log").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("WARNING Double-2: seen 1")
    numbers.config(jobs, f"{CONFIG}\nLOG_LEVEL = 10\n")
    assert "DEBUG Double-2: hidden" in numbers.manage("simulate").stdout


def test_nodes_from_csv_with_groups_in_columns_and_without_a_heading(numbers):
    (numbers.net / "nodes.csv").write_text("here,127.0.0.1,fast,big\nthere, 192.0.2.1 , small\n")
    numbers.config(JOBS, CONFIG.replace("[LocalNode()]", "['nodes.csv']"))
    said = numbers.well("run")
    assert "node here (127.0.0.1): fast, big, ALL" in said
    assert "node there (192.0.2.1): small, ALL (elsewhere: not used in this version)" in said


FILES = {
    "class,inputs,outputs\nnowhere.Nobody,,\n": "line 2: no module 'nowhere'",
    "class,inputs,outputs\nNobody,,\n": "line 2: write MODULE.CLASS, not 'Nobody'",
    "class,inputs,outputs\nnet.jobs.jobs.PythonJob,1:Bytes,\n": "pipe 1: write 1:Bytes:SIZE",
    "class,inputs,outputs\nnet.jobs.jobs.PythonJob,1:Odd,\n": "line 2: no pipe class 'Odd'",
    "class,inputs,outputs\nnet.jobs.jobs.PythonJob,1:a.b,\n": "line 2: no module 'a'",
    "class,inputs,outputs,arguments\nnet.jobs.jobs.Source,,1,{\n": "line 2: arguments: Expecting",
    "class,inputs,outputs\nfission.core.pipes.PicklePipe,,\n": "fission.core.pipes.PicklePipe is no job",
    "class,inputs,outputs,arguments\nfission.core.jobs.CSVSinkJob,1,,\n": "line 2: CSVSinkJob.__init__() mis",
}


@pytest.mark.parametrize("text", FILES)
def test_a_wrong_csv_file_is_one_line(numbers, text):
    (numbers.net / "jobs.csv").write_text(text)
    numbers.config(JOBS, "USER = ''\nJOBS = ['jobs.csv']\nNODES = []\n")
    done = numbers.manage("check")
    assert done.returncode == 2
    assert FILES[text] in done.stderr
    assert len(done.stderr.splitlines()) == 1


XMLS = {
    "<a": "is no XML",
    "<a><n/></a>": "<n> needs pi_id=",
    "<a><n pi_id='127.0.0.1'><j path='tool'/></n></a>": "<j> needs executable=",
    "<a><n pi_id='127.0.0.1'><j executable='x'><input pipe_id='1'/></j></n></a>": "<input> needs block_size= with",
}


@pytest.mark.parametrize("text", XMLS)
def test_a_wrong_xml_file_is_one_line(numbers, text):
    (numbers.net / "net.xml").write_text(text)
    numbers.config(JOBS, f"{CONFIG}\nXML_FILE = 'net.xml'\n")
    done = numbers.manage("check")
    assert done.returncode == 2
    assert XMLS[text] in done.stderr
    assert len(done.stderr.splitlines()) == 1


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
