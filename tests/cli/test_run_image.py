"""`maniple run --image`: tasks in real containers, and none of those left, whoever is killed."""

import os
import signal

import pytest

from brokers.podman_server import IMAGE, PodmanServer
from brokers.server import running
from support import children, minions, one_line, until

pytestmark = pytest.mark.xdist_group("podman")
Q = "sqlite:q.db"


@pytest.fixture
def podman(shell):
    """Podman for the commands of the shell; a container that outlives the test fails it."""
    server = running(PodmanServer)
    shell.environment["DOCKER_HOST"] = server.host
    yield server
    # the guard of a run that was killed may be at work yet
    left = []

    def gone():
        left[:] = server.containers()
        return not left

    try:
        until(gone)
    finally:
        for container in left:
            server.podman("rm", "--force", "--time", "0", container["Id"])
    until(lambda: not server.runtime())


def held(shell, podman, *options, url=Q, script="echo said; sleep 300"):
    """Start a run of two tasks and wait until a container runs."""
    shell.maniple("sweep", "x=1..2", "-q", url)
    process = shell.start(
        "run", "-q", url, "-j", 1, "--image", IMAGE, *options, "--", "sh", "-c", script, "sh", "{x}"
    )
    until(lambda: [each for each in podman.containers() if each["State"] == "running"])
    return process


def test_tasks_run_in_fresh_containers_of_an_image(shell, podman):
    shell.maniple("sweep", "x=1..6", "-q", Q)
    script = 'echo "$1" of "$(hostname)"; echo aside >&2; exit $(( $1 == 5 ))'
    result = shell.maniple(
        "run", "-q", Q, "-j", 2, "--image", IMAGE, "--results", "r.jsonl",
        "--", "sh", "-c", script, "sh", "{x}",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    said = [line.split(" of ") for line in result.stdout.splitlines()]
    assert sorted(number for number, _ in said) == ["1", "2", "3", "4", "5", "6"]
    assert len({host for _, host in said}) == 6
    assert result.stderr.count("aside") >= 6
    stats = shell.stats()
    assert (stats["done"], stats["failed"], stats["waiting"], stats["leased"]) == (5, 1, 0, 0)
    assert "exit 1" in shell.maniple("queue", "failed", "-q", Q).stdout
    assert len(shell.lines("r.jsonl")) == 6


def test_options_reach_the_container(shell, podman):
    (shell.folder / "data").mkdir()
    (shell.folder / "data" / "in.txt").write_text("content\n")
    (shell.folder / "out").mkdir()
    shell.environment["PASSED"] = "on"
    script = "cat in.txt; echo $GIVEN $PASSED; id -u; pwd; echo done > /out/file; touch /data/x"
    result = shell.maniple(
        "run", "x=1", "--image", IMAGE, "--engine", "docker", "--mount", "data:/data",
        "--mount", "out:/out:rw", "--workdir", "/data", "--env", "GIVEN=this", "--env", "PASSED",
        "--user", "0:0", "--memory", "64m", "--cpus", "0.5", "--pids", "32", "--network", "none",
        "--", "sh", "-c", script,
    )  # fmt: skip
    assert result.stdout == "content\nthis on\n0\n/data\n"
    assert "Read-only file system" in result.stderr
    assert (shell.folder / "out" / "file").read_text() == "done\n"


def test_a_shell_of_the_container_may_read_the_words(shell, podman):
    result = shell.maniple(
        "run", "--shell", "name=a b;c", "--image", IMAGE, "--", "echo {name} | tr a-z A-Z"
    )
    assert result.stdout == "A B;C\n", result.stderr


def test_live_output_and_output_in_files(shell, podman):
    line = ("run", "x=1..2", "-j", 1, "--image", IMAGE)
    result = shell.maniple(*line, "--output", "live", "--", "echo", "{x}")
    assert result.stdout == "1\n2\n"
    shell.maniple(*line, "--output-dir", "out", "--", "echo", "{x}")
    assert shell.lines("out/2.out") == ["2"]


def test_commands_are_printed_without_an_engine(shell):
    shell.environment["DOCKER_HOST"] = "unix:///nobody"
    result = shell.maniple("run", "x=1", "--dry-run", "--image", IMAGE, "--", "echo", "{x}")
    assert result.stdout == "echo 1\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--image", "localhost/nosuch:1"], "there is no image localhost/nosuch:1 here: --pull"),
        (["--image", "127.0.0.1:9/no:1", "--pull"], "cannot fetch the image 127.0.0.1:9/no:1"),
        (["--image", IMAGE, "--network", "nosuch"], "network not found"),
        (["--image", IMAGE, "--mount", "nosuch:/data"], "there is no"),
        (["--image", IMAGE, "--mount", "data"], "write SRC:DST"),
        (["--image", IMAGE, "--memory", "much"], "512m"),
        (["--image", IMAGE, "--memory", "1k"], "too little"),
        (["--image", IMAGE, "--pids", "0"], "too few"),
        (["--image", IMAGE, "--env", "NOT_SET_HERE"], "not set here"),
        (["--image", IMAGE, "--engine", "apptainer"], "no command apptainer"),
        (["--image", ""], "is no image"),
        (["--mount", "/a:/b"], "--mount is for containers: name an --image"),
        (["--memory", "1g"], "--memory is for containers"),
        (["--network", "host"], "--network is for containers"),
        (["--pull"], "--pull is for containers"),
        (["--engine", "docker"], "--engine is for containers"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_what_cannot_work_is_said_before_any_task_is_taken(shell, podman, options, text):
    shell.maniple("sweep", "x=1..3", "-q", Q)
    result = shell.maniple("run", "-q", Q, *options, "--", "true")
    assert result.returncode == 2
    assert text in one_line(result.stderr)
    assert shell.stats()["waiting"] == 3
    assert not (shell.folder / "minion-report").exists()


def test_without_an_engine_it_says_how_to_get_one(shell, tmp_path):
    shell.environment["DOCKER_HOST"] = f"unix://{tmp_path}/nobody"
    result = shell.maniple("run", "x=1", "--image", IMAGE, "--", "true")
    assert result.returncode == 2
    assert "podman system service" in one_line(result.stderr)


def test_the_time_limit_ends_a_container(shell, podman):
    for limit in ("500ms", "5s", "50s"):
        result = shell.maniple(
            "run",
            "x=1",
            "--timeout",
            limit,
            "--image",
            IMAGE,
            "--",
            "sh",
            "-c",
            "echo said; sleep 300",
        )
        assert result.returncode == 1
        # a busy machine may need all of that to start it
        if result.stdout:
            break
    assert result.stdout == "said\n"
    assert "time limit" in result.stderr
    assert not podman.containers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_containers_and_gives_tasks_back(shell, podman, number):
    process = held(shell, podman, script="trap '' TERM INT; sleep 300")
    code, in_time = shell.interrupt(process, number)
    assert code == 128 + number
    assert not podman.containers()

    def given_back():
        stats = shell.stats()
        return (stats["waiting"], stats["leased"]) == (2, 0)

    assert given_back() if in_time else until(given_back)


def test_a_killed_minion_is_replaced_and_its_container_removed(shell, podman):
    script = '[ -e /go/go ] || sleep 300; echo "$1" >> /go/ended'
    (shell.folder / "go").mkdir()
    process = held(shell, podman, "--mount", "go:/go:rw", "--lease", 5, script=script)
    (old,) = podman.containers()
    (shell.folder / "go" / "go").touch()
    (minion,) = minions(process.pid)
    os.kill(minion, signal.SIGKILL)
    code, _, err = shell.finish(process)
    assert code == 0, err
    assert "1 minion killed, replaced" in err
    assert old["Id"] not in {each["Id"] for each in podman.containers()}
    assert sorted(shell.lines("go/ended")) == ["1", "2"]


def test_when_the_first_process_is_killed_its_containers_end(shell, podman):
    process = held(shell, podman)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not podman.containers() and not shell.alive())


def test_when_all_is_killed_at_one_stroke_the_guard_removes_the_containers(shell, podman):
    process = held(shell, podman)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not podman.containers() and not shell.alive())


def test_when_the_guard_is_killed_too_the_next_run_removes_them(shell, podman):
    process = held(shell, podman)
    guards = set(children(process.pid)) - set(minions(process.pid))
    assert len(guards) == 1
    for pid in guards:
        os.kill(pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    (left,) = podman.containers()
    result = shell.maniple("run", "x=1", "--image", IMAGE, "--", "true")
    assert result.returncode == 0, result.stderr
    assert left["Id"] not in {each["Id"] for each in podman.containers()}


def test_when_the_engine_goes_the_run_ends_with_one_line_and_loses_no_task(shell, podman):
    process = held(shell, podman, "--quiet")
    podman.stop(hard=True)
    try:
        code, _, err = shell.finish(process)
    finally:
        podman.start()
    assert code == 3
    assert "engine" in one_line(err)
    assert shell.stats()["waiting"] == 2
    # nobody could remove it; the next run does
    assert shell.maniple("run", "x=1", "--image", IMAGE, "--", "true").returncode == 0
    assert not podman.containers()
