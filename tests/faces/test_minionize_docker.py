"""DockerCallback, over real containers (Podman's, behind Docker's API)."""

import functools
import gc
import os
import signal
import sys

import docker
import pytest

from brokers.podman_server import IMAGE, PodmanServer
from brokers.server import running
from minionize import DockerCallback, Engine, EntryPoint
from support import opened_shell, until

pytestmark = pytest.mark.xdist_group("podman")

SCRIPT = """
from minionize import DockerCallback, minionizer

class Sleeping(DockerCallback):
    def to_kwargs(self, param):
        return {"command": ["sh", "-c", f"echo {param}; sleep 300"], "network_mode": "none"}

minionizer(Sleeping("IMAGE")).run()
"""


@pytest.fixture
def podman(monkeypatch):
    """Podman, alone on its socket; a container that outlives the test fails it."""
    server = running(PodmanServer)
    monkeypatch.setenv("DOCKER_HOST", server.host)
    yield server
    left = server.containers()
    for container in left:
        server.podman("rm", "--force", "--time", "0", container["Id"])
    assert not left, left


@pytest.fixture
def shell(podman, tmp_path):
    for shell in opened_shell(tmp_path):
        shell.environment["DOCKER_HOST"] = podman.host
        shell.environment |= {"MINION_ENGINE": "file", "FILE_PATH": "params"}
        (tmp_path / "params").write_text("one\ntwo\n")
        (tmp_path / "script.py").write_text(SCRIPT.replace("IMAGE", IMAGE))
        yield shell


class OneParam(Engine):
    def __init__(self, param):
        self.params = [param]

    def next(self):
        return self.params.pop() if self.params else None


class Shell(DockerCallback):
    """Runs the param as a script; `more` are further arguments."""

    more = {}  # noqa: RUF012

    def to_kwargs(self, param):
        return {"command": ["sh", "-c", param], "network_mode": "none", **self.more}


class Events:
    def __init__(self):
        self.events = []

    def report(self, event):
        self.events.append(event)


def run(callback, param):
    events = Events()
    EntryPoint(callback, OneParam(param), events).run()
    return events.events[0]


def test_a_container_is_run_with_the_arguments_of_a_param_and_removed(podman, capsys):
    callback = Shell(IMAGE)
    callback.more = {"environment": {"A": "1"}, "labels": ["mine"], "remove": True}
    assert run(callback, "echo $A; echo aside >&2").error is None
    assert sorted(capsys.readouterr().out.splitlines()) == ["1", "aside"]
    assert not podman.containers()


def test_it_has_the_users_labels_and_ours(podman, capsys):
    seen = []

    class Looking(Shell):
        def _run(self, client, errors, kwargs):
            seen.append(kwargs["labels"])
            super()._run(client, errors, kwargs)

    callback = Looking(IMAGE)
    for given in ({"mine": "x"}, ["mine"]):
        callback.more = {"labels": given}
        assert run(callback, "true").error is None
    assert [labels["mine"] for labels in seen] == ["x", ""]
    assert all("maniple.owner" in labels for labels in seen)


def test_a_container_that_fails_is_a_failure_and_is_removed(podman):
    event = run(Shell(IMAGE), "echo why >&2; exit 7")
    assert event.cause == "exit 7"
    assert "why" in event.error


def test_one_that_is_silent_for_longer_than_the_sdk_waits_for_an_answer_is_a_success(
    podman, monkeypatch, capsys
):
    monkeypatch.setattr(docker, "from_env", functools.partial(docker.from_env, timeout=15))
    assert run(Shell(IMAGE), "sleep 17; echo late").error is None
    assert capsys.readouterr().out == "late\n"


def test_one_that_closes_its_outputs_is_waited_for(podman):
    assert run(Shell(IMAGE), "exec >&- 2>&-; sleep 1; exit 4").cause == "exit 4"


def test_output_of_a_terminal_and_letters_cut_in_two_are_passed_on(podman, capsys):
    callback = Shell(IMAGE)
    assert run(callback, "printf '\\303'; sleep 0.3; printf '\\251\\303'").error is None
    assert capsys.readouterr().out == "é\N{REPLACEMENT CHARACTER}"
    callback.more = {"tty": True}
    assert run(callback, "test -t 1 && echo terminal").error is None
    assert capsys.readouterr().out == "terminal\r\n"


def test_one_stream_can_be_left_out(podman, capsys):
    callback = Shell(IMAGE)
    callback.more = {"stderr": False}
    assert "aside" in run(callback, "echo out; echo aside >&2; exit 1").error
    assert capsys.readouterr().out == "out\n"


def test_two_networks_at_once_are_a_failure(podman):
    callback = Shell(IMAGE)
    callback.more = {"network": "some"}
    assert "not both" in run(callback, "true").error


def test_even_one_that_would_remove_itself(podman):
    callback = Shell(IMAGE)
    callback.more = {"auto_remove": True}
    assert run(callback, "exit 3").cause == "exit 3"


def test_an_image_that_is_not_there_is_a_failure(podman):
    assert "nosuch" in run(Shell("127.0.0.1:9/nosuch:1"), "true").error


def test_arguments_that_no_container_can_have_are_a_failure(podman):
    callback = Shell(IMAGE)
    callback.more = {"no_such_argument": 1}
    assert "no_such_argument" in run(callback, "true").error


def test_podman_is_taken_where_there_is_no_docker(podman, monkeypatch, tmp_path, capsys):
    if os.path.exists("/var/run/docker.sock"):
        pytest.skip("there is a Docker here")
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").symlink_to(podman.socket)
    assert run(Shell(IMAGE), "echo here").error is None
    assert capsys.readouterr().out == "here\n"


# the SDK forgets to close the socket on which nobody answered, and frees it in its own time
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_docker_a_param_fails_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nobody'}")
    assert "DockerException" in run(Shell(IMAGE), "true").error
    gc.collect()


def test_without_the_sdk_a_param_fails_and_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", None)
    assert "maniple[docker]" in run(Shell(IMAGE), "true").error


def test_a_dry_run_writes_the_call_of_the_sdk(capsys):
    EntryPoint(Shell("alpine"), OneParam("hello"), None, dry=True).run()
    said = capsys.readouterr().out
    assert "containers.run('alpine', command=['sh', '-c', 'hello']" in said


def started(shell, podman):
    """Start a script whose container sleeps, and wait until it does."""
    process = shell.start(under=(sys.executable, "script.py", "--"))
    until(lambda: [each for each in podman.containers() if each["State"] == "running"])
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_removes_the_container(shell, podman, number):
    process = started(shell, podman)
    process.send_signal(number)
    code, _, err = shell.finish(process)
    assert code in {128 + number, -number}, err
    assert not podman.containers()


def test_what_a_killed_minion_left_is_removed_by_the_next(shell, podman, capsys):
    process = started(shell, podman)
    (left,) = podman.containers()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not shell.alive())
    assert run(Shell(IMAGE), "true").error is None
    assert left["Id"] not in {each["Id"] for each in podman.containers()}
