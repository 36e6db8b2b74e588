"""Apptainer and Singularity: the command line that is written, and what a stand-in makes of it.

There is no Debian package of either; the stand-in refuses what it does not know, and runs the rest
with nothing but the variables that the real one would pass in.
"""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from maniple.errors import UsageError
from maniple.runner import Cancel, Context
from maniple.runners.container import ContainerRunner, prepare
from maniple.runners.container_apptainer import PARAM_PATH, command_line
from maniple.runners.container_box import Box, Mount
from maniple.runners.process import LONGEST_VARIABLE
from maniple.task import Task
from support import one_line

STAND_IN = """#!{python}
import json, os, subprocess, sys
name = os.path.basename(sys.argv[0])
words = sys.argv[1:]
assert words.pop(0) == "--silent"
verb = words.pop(0)
if verb == "pull":
    assert words.pop(0) == "--force"
    path, uri = words
    if "nosuch" in uri:
        print("INFO: looking", file=sys.stderr)
        sys.exit("FATAL: no such image in the registry")
    open(path, "w").write(uri)
    sys.exit(0)
assert verb == "exec", verb
flags = {{"--containall", "--no-eval", "--net", "--writable-tmpfs"}}
valued = {{"--network", "--memory", "--memory-swap", "--cpus", "--pids-limit", "--bind", "--pwd"}}
given = {{}}
while words[0].startswith("-"):
    word = words.pop(0)
    if word in valued:
        given.setdefault(word, []).append(words.pop(0))
    else:
        assert word in flags, word
        given[word] = True
for bind in given.get("--bind", []):
    source, target, mode = bind.split(":")
    assert os.path.exists(source) and target.startswith("/") and mode in ("ro", "rw"), bind
image = words.pop(0)
assert os.path.exists(image), image
with open(os.path.join(os.path.dirname(sys.argv[0]), "seen"), "a") as seen:
    seen.write(json.dumps([given, image, words]) + "\\n")
prefix = name.upper() + "ENV_"
inside = {{k[len(prefix):]: v for k, v in os.environ.items() if k.startswith(prefix)}}
sys.exit(subprocess.run(words, env={{"PATH": os.environ["PATH"], **inside}}).returncode)
"""


class Engine:
    def __init__(self, folder, name):
        self.folder = folder
        self.program = folder / name
        self.program.write_text(STAND_IN.format(python=sys.executable))
        self.program.chmod(0o755)

    def seen(self):
        return [json.loads(line) for line in (self.folder / "seen").read_text().splitlines()]


@pytest.fixture
def engine(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Engine(folder, "apptainer")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.sif"
    path.touch()
    return str(path)


@pytest.fixture
def run(engine, image):
    opened = []
    cancel = Cancel()

    def run(*words, param=1, limit=None, **options):
        box = Box(**{"image": image, "engine": "apptainer", **options})
        runner = ContainerRunner(lambda p, number, slot: list(words), box)
        opened.append(runner)
        return runner.run(Task.of(param), Context(cancel=cancel, time_limit=limit))

    yield run
    for runner in opened:
        runner.close()
    cancel.close()


def test_the_command_line_of_a_plain_box():
    assert command_line("/bin/apptainer", Box("x.sif"), "/x.sif", ["echo", "a b"]) == [
        "/bin/apptainer", "--silent", "exec", "--containall", "--no-eval",
        "--net", "--network", "none", "/x.sif", "echo", "a b",
    ]  # fmt: skip


def test_the_command_line_of_a_box_with_everything():
    box = Box(
        "x.sif",
        network="host",
        memory=1 << 20,
        cpus=1.5,
        pids=9,
        mounts=(Mount("/a", "/b"), Mount("/c", "/d", writable=True)),
        workdir="/b",
        writable=True,
    )
    assert command_line("singularity", box, "/x.sif", ["true"], "/tmp/p")[5:] == [
        "--memory", "1048576", "--memory-swap", "1048576", "--cpus", "1.5", "--pids-limit", "9",
        "--writable-tmpfs", "--bind", "/a:/b:ro", "--bind", "/c:/d:rw",
        "--bind", f"/tmp/p:{PARAM_PATH}:ro", "--pwd", "/b", "/x.sif", "true",
    ]  # fmt: skip


def test_a_task_runs_and_ends_as_a_process_does(run, engine, image, monkeypatch):
    monkeypatch.setenv("SECRET", "do not tell")
    monkeypatch.setenv("APPTAINERENV_MINE", "do not tell")
    monkeypatch.setenv("MANIPLE_QUEUE", "redis://me:do-not-tell@example/q")
    outcome = run("sh", "-c", "env; echo err >&2; exit 3", environment={"GIVEN": "a,b=c"})
    assert (outcome.exit_code, outcome.cause, outcome.stderr) == (3, "exit 3", b"err\n")
    said = dict(line.split("=", 1) for line in outcome.stdout.decode().splitlines())
    assert b"tell" not in outcome.stdout
    assert (said["GIVEN"], said["MANIPLE_PARAM"], said["MANIPLE_SLOT"]) == ("a,b=c", "1", "1")
    ((given, path, words),) = engine.seen()
    assert given["--network"] == ["none"]
    assert (path, words[0]) == (image, "sh")


def test_a_long_param_is_shown_as_a_file(run, engine):
    outcome = run("sh", "-c", "echo $MANIPLE_PARAM_FILE", param="x" * LONGEST_VARIABLE)
    assert outcome.stdout.decode().strip() == PARAM_PATH
    assert engine.seen()[0][0]["--bind"][0].endswith(f":{PARAM_PATH}:ro")
    assert run("sh", "-c", "echo $MANIPLE_PARAM_FILE").stdout == b"\n"


def test_the_time_limit_ends_it_with_all_it_started(run, tmp_path):
    mark = tmp_path / "alive"
    began = time.monotonic()
    # the shortest that lets it come so far here
    for limit in (0.5, 2, 8, 32):
        outcome = run("sh", "-c", f"echo said; sleep 300; touch {mark}", limit=limit)
        assert outcome.cause == "time limit"
        if outcome.stdout:
            break
    assert time.monotonic() - began < 200
    assert outcome.stdout == b"said\n"
    assert not mark.exists()


def test_auto_takes_it_for_its_own_images(engine, image):
    assert prepare(Box(image)).place.program == str(engine.program)


def test_singularity_is_the_same(engine, image, tmp_path):
    other = Engine(tmp_path / "bin", "singularity")
    runner = ContainerRunner(
        lambda p, number, slot: ["sh", "-c", "echo $MANIPLE_PARAM"],
        Box(image, engine="singularity"),
    )
    cancel = Cancel()
    assert runner.run(Task.of(7), Context(cancel=cancel)).stdout == b"7\n"
    runner.close()
    cancel.close()
    assert other.seen()


def test_an_image_is_fetched_once_when_that_is_asked_for(run, engine, tmp_path):
    with pytest.raises(UsageError, match="--pull"):
        run("true", image="debian:12")
    assert run("true", image="debian:12", pull=True).ok
    assert run("true", image="debian:12").ok
    (kept,) = (tmp_path / "cache" / "maniple" / "images").iterdir()
    assert kept.read_text() == "docker://debian:12"
    assert {path for _, path, _ in engine.seen()} == {str(kept)}
    with pytest.raises(UsageError, match="FATAL: no such image in the registry$"):
        run("true", image="docker://nosuch:1", pull=True)
    assert len(list(Path(kept).parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image": "missing.sif"}, "no image missing.sif"),
        ({"user": "0:0"}, "run commands as you"),
        ({"mounts": (Mount("/no/such/folder", "/data"),)}, "there is no /no/such/folder"),
        ({"mounts": (Mount("/tmp", "/a:b"),)}, "colon"),
        ({"engine": "singularity"}, "no command singularity"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_it_cannot_do_is_said_at_once(run, options, text):
    with pytest.raises(UsageError, match=text):
        run("true", **options)


def test_the_command_takes_it_too(shell_of, engine, image):
    result = shell_of.maniple(
        "run", "x=1..3", "-j", 1, "--image", image, "--", "echo", "got", "{x}"
    )
    assert (result.returncode, result.stdout) == (0, "got 1\ngot 2\ngot 3\n"), result.stderr
    result = shell_of.maniple("run", "x=1", "--image", "missing.sif", "--", "true")
    assert "no image missing.sif" in one_line(result.stderr)


@pytest.fixture
def shell_of(tmp_path, engine):
    from support import opened_shell

    yield from opened_shell(tmp_path)
