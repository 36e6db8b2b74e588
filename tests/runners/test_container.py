"""The runner for images, over real containers: what they get, what they cannot, and that none stays."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from brokers.podman_server import IMAGE, PodmanServer, tree
from brokers.server import free_port, listens, program, running
from maniple import owner
from maniple.errors import MissingExtraError, StorageError, UsageError
from maniple.runner import Cancel, Context
from maniple.runners import container as subject
from maniple.runners.container import ContainerRunner
from maniple.runners.container_box import Box, Mount, parse_environment, parse_memory, parse_mount
from maniple.runners.container_leftovers import OWNER, RUN
from maniple.runners.container_ready import prepare
from maniple.runners.container_stream import Attached
from maniple.runners.process import KEPT_OUTPUT, LONGEST_VARIABLE
from maniple.task import Task
from support import until

pytestmark = pytest.mark.xdist_group("podman")


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
    # the runtime tidies up behind Podman's back
    until(lambda: not server.runtime())


@pytest.fixture
def cancel():
    cancel = Cancel()
    yield cancel
    cancel.close()


@pytest.fixture
def context(cancel):
    return Context(cancel=cancel)


@pytest.fixture
def box(podman, context):
    """Run words in a container; options go to the box and the runner."""
    opened = []

    def run(*words, param=0, ctx=context, output=None, live=False, **options):
        runner = ContainerRunner(
            lambda p, number, slot: list(words),
            Box(IMAGE, **options),
            output=output,
            live=live,
        )
        opened.append(runner)
        return runner.run(Task.of(param), ctx)

    yield run
    for runner in opened:
        runner.close()


@pytest.fixture
def shell(box):
    return lambda script, *words, **options: box("sh", "-c", script, "sh", *words, **options)


# How it ended


def test_a_command_that_ends_well_is_done(shell):
    outcome = shell("echo out; echo err >&2")
    assert (outcome.ok, outcome.exit_code, outcome.cause, outcome.error) == (True, 0, None, None)
    assert (outcome.stdout, outcome.stderr) == (b"out\n", b"err\n")
    assert outcome.start <= outcome.end


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_an_exit_status_is_a_failure_and_its_cause(shell, code):
    outcome = shell(f"exit {code}")
    assert (outcome.ok, outcome.exit_code, outcome.cause) == (False, code, f"exit {code}")


def test_the_last_line_it_printed_is_in_the_error(shell):
    assert shell("echo first; echo why >&2; exit 2").error == "exit status 2: why"
    assert shell("echo only here; exit 2").error == "exit status 2: only here"


def test_a_signal_is_named(shell):
    outcome = shell("sh -c 'kill -9 $$'; exit $?")
    assert (outcome.cause, outcome.error) == ("exit 137", "exit status 137 (SIGKILL): Killed")


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["no-such-program"], "not found"),
        (["/no/such/program"], "not found"),
        (["/etc/passwd"], "not executable"),
        (["echo", "a\0b"], "cannot start"),
        (["echo", "a\udcff"], "cannot start"),
        (["echo", "x" * 200_000], "too long"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_command_that_cannot_be_started_says_why(box, words, cause):
    outcome = box(*words)
    assert (outcome.ok, outcome.cause) == (False, cause)
    assert outcome.error
    assert "\n" not in outcome.error


def test_a_param_that_makes_no_command_fails_its_task_only(podman, context):
    def command(param, number, slot):
        raise UsageError("there is no {y}")

    runner = ContainerRunner(command, Box(IMAGE))
    outcome = runner.run(Task.of(1), context)
    assert (outcome.ok, outcome.cause, outcome.error) == (False, "UsageError", "there is no {y}")
    runner.close()


def test_a_command_may_close_its_outputs_and_go_on(shell):
    assert shell("echo said; exec >&- 2>&-; sleep 0.5; exit 5").exit_code == 5


# Its output


def test_any_bytes_come_through(shell):
    outcome = shell("printf '\\000\\001\\377\\n\\r'; printf '\\376' >&2")
    assert (outcome.stdout, outcome.stderr) == (b"\0\1\xff\n\r", b"\xfe")


def test_of_much_output_the_end_is_kept_and_all_of_it_handed_on(box):
    sizes = []

    def output(task, outcome, stdout, stderr):
        sizes.append((os.fstat(stdout).st_size, stderr))
        assert os.pread(stdout, 6, 0) == b"begin\n"

    script = "echo begin; yes 0123456789abcde | head -c 5000000; echo; echo end"
    outcome = box("sh", "-c", script, output=output)
    assert sizes == [(5_000_000 + 11, None)]
    assert len(outcome.stdout) == KEPT_OUTPUT
    assert outcome.stdout.endswith(b"\nend\n")


def test_the_second_task_does_not_see_the_output_of_the_first(podman, context):
    runner = ContainerRunner(lambda p, number, slot: ["echo", p], Box(IMAGE))
    assert runner.run(Task.of("first"), context).stdout == b"first\n"
    assert runner.run(Task.of("2"), context).stdout == b"2\n"
    runner.close()


def test_live_output_is_passed_on_at_once(box, capfd):
    outcome = box("sh", "-c", "echo out; echo err >&2", live=True)
    assert (outcome.stdout, outcome.stderr) == (b"", b"")
    assert capfd.readouterr() == ("out\n", "err\n")


# What it gets


def test_words_are_passed_as_they_are(box):
    nasty = ["; rm -rf *", "$(x)", "a b", "", "'\"\\", "é\n"]
    outcome = box("sh", "-c", 'for w; do printf "%s|" "$w"; done', "sh", *nasty)
    assert outcome.stdout.decode() == "".join(f"{word}|" for word in nasty)


def test_the_command_replaces_the_images_entry_point(podman, context):
    podman.podman("import", "--change", 'ENTRYPOINT ["echo","entry"]', "-", "localhost/entry:1",
                  input=tree(program("busybox", "busybox-static")))  # fmt: skip
    runner = ContainerRunner(lambda p, number, slot: ["echo", "mine"], Box("localhost/entry:1"))
    assert runner.run(Task.of(1), context).stdout == b"mine\n"
    runner.close()
    podman.podman("rmi", "localhost/entry:1")


def test_the_environment_of_the_host_stays_outside(shell, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    monkeypatch.setenv("MANIPLE_QUEUE", "redis://me:do-not-tell@example/q")
    outcome = shell("env", environment={"GIVEN": "a=b c"}, param={"x": [1, "é"]})
    said = dict(line.split("=", 1) for line in outcome.stdout.decode().splitlines())
    assert b"tell" not in outcome.stdout
    assert said["GIVEN"] == "a=b c"
    assert json.loads(said["MANIPLE_PARAM"]) == {"x": [1, "é"]}
    assert (said["MANIPLE_ATTEMPT"], said["MANIPLE_SLOT"], said["HOME"]) == ("1", "1", "/tmp")
    assert said["MANIPLE_TASK"] == Task.of({"x": [1, "é"]}).id
    assert not {"SECRET_TOKEN", "MANIPLE_QUEUE", "DOCKER_HOST"} & said.keys()


def test_a_param_too_long_for_a_variable_is_in_a_file(podman, context, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    words = ["sh", "-c", 'wc -c < "$MANIPLE_PARAM_FILE"; tail -c 6 "$MANIPLE_PARAM_FILE"']
    runner = ContainerRunner(lambda p, number, slot: words, Box(IMAGE))
    param = "x" * LONGEST_VARIABLE + "tail"
    outcome = runner.run(Task.of(param), context)
    assert outcome.stdout == b'%d\nxtail"' % (len(param) + 2)
    runner.close()
    assert not list(tmp_path.iterdir())


def test_standard_input_is_empty(shell):
    assert shell("wc -c").stdout == b"0\n"


def test_it_starts_where_it_was_told(box):
    assert box("pwd", workdir="/etc").stdout == b"/etc\n"


def test_it_runs_as_us_or_as_whom_we_name(shell):
    assert shell("id -u; id -g").stdout == b"%d\n%d\n" % (os.getuid(), os.getgid())
    assert shell("id -un; id -g", user="nobody").stdout == b"nobody\n65534\n"
    assert shell("id -u; id -g; echo $HOME", user="1234:5678").stdout.startswith(b"1234\n5678\n")


# What it cannot


def test_there_is_no_network_unless_asked(shell):
    assert [line.split(":")[0] for line in shell("cat /proc/net/dev").stdout.decode().split("\n")[2:] if line] == ["    lo"]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reach = f"nc -w 60 127.0.0.1 {port} < /dev/null && echo reached"
        assert b"reached" not in shell(reach).stdout

        def answer():
            listener.accept()[0].close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert b"reached" in shell(reach, network="host").stdout
        thread.join()


def test_the_root_cannot_be_written_but_tmp_can(shell):
    outcome = shell("touch /x; touch /etc/passwd; touch /bin/sh; echo $?")
    assert outcome.stderr.count(b"Read-only file system") == 3
    script = "echo 'echo run' > /tmp/x; chmod +x /tmp/x; /tmp/x"
    assert shell(script).stdout == b"run\n"
    assert shell(script, user="1234:5678").stdout == b"run\n"
    assert shell("ls /tmp").stdout == b""


def test_a_writable_root_is_gone_with_its_container(shell):
    assert shell("echo new > /x; cat /x", writable=True).stdout == b"new\n"
    assert not shell("cat /x", writable=True).ok


def test_of_the_machine_it_sees_what_is_mounted(shell, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in").write_text("mine\n")
    (tmp_path / "secret").write_text("not yours\n")
    read = Mount(str(tmp_path / "data"), "/data")
    outcome = shell(
        "cat /data/in; touch /data/out; rm /data/in; mount -o remount,rw /data", mounts=(read,)
    )
    assert outcome.stdout == b"mine\n"
    assert outcome.stderr.count(b"Read-only file system") == 2
    assert os.listdir(tmp_path / "data") == ["in"]
    assert not shell(f"cat {tmp_path}/secret").ok
    written = shell("echo result > /data/out", mounts=(read._replace(writable=True),))
    assert written.ok
    assert (tmp_path / "data" / "out").read_text() == "result\n"
    assert (tmp_path / "data" / "out").stat().st_uid == os.getuid()


def test_it_has_no_privileges_even_as_root(shell):
    script = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; mount -t tmpfs none /mnt; hostname new; mknod /tmp/disk b 254 0"
    outcome = shell(script)
    assert (
        outcome.stdout.split()
        == b"CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1".split()
    )
    assert not outcome.ok
    assert not shell("echo b > /proc/sysrq-trigger").ok
    assert not shell("ls /dev/[hsv]da* /dev/mem").ok
    assert int(shell("ls -d /proc/[0-9]* | wc -l").stdout) < 10


def test_a_fork_bomb_meets_the_limit_of_processes(shell):
    script = "for i in $(seq 100); do sleep 60 & done; echo end"
    outcome = shell(script, pids=20)
    assert not outcome.ok
    assert outcome.cause == "exit 2 (too many processes?)"
    assert "--pids" in outcome.error
    assert b"Resource temporarily unavailable" in outcome.stderr
    bomb = shell("f() { f | f & f; }; f", pids=20)
    assert not bomb.ok


def test_there_is_a_limit_of_processes_by_default(shell):
    script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    assert shell(script).stdout == b"1024\n"


def test_too_much_memory_is_a_failure_that_says_so_and_loses_no_output(shell):
    script = "echo before; echo said >&2; x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo after"
    outcome = shell(script, memory=32 << 20)
    assert not outcome.ok
    assert outcome.exit_code == 137
    assert outcome.cause in {"exit 137 (out of memory)", "exit 137 (out of memory?)"}
    assert (outcome.stdout, outcome.stderr) == (b"before\n", b"said\n")
    assert shell("head -c 10000000 /dev/zero | wc -c", memory=32 << 20).ok


def test_what_is_written_to_tmp_counts_as_memory(shell):
    assert not shell("exec dd if=/dev/zero of=/tmp/x bs=1M count=100", memory=32 << 20).ok


def test_processors_are_limited(shell):
    script = "cat /sys/fs/cgroup/cpu.max || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
    quota, period = map(int, shell(script, cpus=0.5).stdout.split())
    assert quota / period == 0.5


# Its end


@pytest.fixture
def limited(shell, cancel):
    """Run a script that never ends, with the shortest limit that lets it say so much here."""

    def run(script, least=1):
        began = time.monotonic()
        for limit in (0.5, 2, 8, 32):
            outcome = shell(script, ctx=Context(cancel=cancel, time_limit=limit))
            assert (outcome.ok, outcome.cause) == (False, "time limit")
            if len(outcome.stdout) >= least:
                break
        assert time.monotonic() - began < 200
        return outcome

    return run


def test_the_time_limit_ends_it_and_keeps_what_it_said(limited, podman):
    assert limited("echo said; sleep 300").stdout == b"said\n"
    assert not podman.containers()


def test_a_command_may_say_a_last_word_when_its_time_is_up(limited):
    script = "trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.05; done"
    assert limited(script).stdout == b"hello\nbye\n"


def test_the_time_limit_ends_one_that_never_stops_writing(limited):
    assert len(limited("yes", KEPT_OUTPUT).stdout) == KEPT_OUTPUT


def test_what_runs_in_the_background_ends_with_it(shell, podman):
    assert shell("sleep 300 & echo said").stdout == b"said\n"


def test_a_cancel_ends_it_at_once(shell, context, cancel, podman):
    timer = threading.Timer(0.7, cancel.request)
    timer.start()
    outcome = shell("trap '' TERM; sleep 300")
    timer.join()
    assert outcome.interrupted
    assert not podman.containers()


def test_an_exception_leaves_no_container(podman, cancel):
    def raising():
        raise RuntimeError("of the minion")

    runner = ContainerRunner(lambda p, number, slot: ["sleep", "300"], Box(IMAGE))
    with pytest.raises(RuntimeError):
        runner.run(Task.of(1), Context(cancel=cancel, meanwhile=raising))
    runner.close()


def test_a_disk_that_is_full_ends_the_work_and_leaves_no_container(podman, context, monkeypatch):
    full = os.open("/dev/full", os.O_WRONLY)
    runner = ContainerRunner(lambda p, number, slot: ["yes"], Box(IMAGE))
    kept, runner._files = runner._files, (full, full)
    with pytest.raises(StorageError, match="the disk is full"):
        runner.run(Task.of(1), context)
    runner._files = kept
    runner.close()
    os.close(full)


def test_when_the_engine_is_gone_the_work_ends_and_what_is_left_is_removed_later(podman, context):
    runner = ContainerRunner(lambda p, number, slot: ["sleep", "300"], Box(IMAGE))

    def stop():
        # killed earlier, Podman itself forgets what its runtime has begun
        until(lambda: [each for each in podman.containers() if each["State"] == "running"])
        podman.stop(hard=True)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        with pytest.raises(StorageError, match="cannot be reached"):
            runner.run(Task.of(1), context)
    finally:
        thread.join()
        podman.start()
    assert podman.containers()
    runner.close()
    assert not podman.containers()


def test_the_end_that_an_engine_forgets_to_tell_is_found_by_looking(monkeypatch, shell):
    silent, other = socket.socketpair()

    class Deaf(Attached):
        def fileno(self):
            return silent.fileno()

    monkeypatch.setattr(subject, "Attached", Deaf)
    monkeypatch.setattr(subject, "QUIET_SECONDS", 0.2)
    with silent, other:
        assert shell("exit 3").cause == "exit 3"


def test_containers_of_dead_owners_are_removed_and_of_others_not(podman):
    script = "from maniple import owner; print(owner.identity())"
    dead = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    elsewhere = "0" * 32 + "-1.1-1-1-elsewhere"
    for name, maker in (("dead", dead), ("mine", owner.identity()), ("other", elsewhere)):
        words = (
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            "none",
            "--stop-timeout",
            "0",
            "--label",
        )
        podman.podman(*words, f"{OWNER}={maker}", "--label", f"{RUN}=x", IMAGE, "sleep", "300")
    podman.podman("run", "--detach", "--name", "user", "--network", "none", IMAGE, "sleep", "300")
    prepare(Box(IMAGE))
    left = {name for container in podman.containers() for name in container["Names"]}
    for name in left:
        podman.podman("rm", "--force", "--time", "0", name.strip("/"))
    assert left == {"/mine", "/other", "/user"}


def test_a_run_that_is_over_leaves_none_even_of_those_that_were_just_asked_for(podman):
    ready = prepare(Box(IMAGE))
    podman.podman("create", "--label", f"{RUN}={ready.run}", "--network", "none", IMAGE, "true")
    ready.clear(killed=False)
    assert not podman.containers()


# Before any task


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image": "localhost/nosuch:1"}, "there is no image localhost/nosuch:1 here"),
        ({"image": "localhost/nosuch:1", "pull": True}, "cannot fetch the image"),
        ({"network": "nosuch"}, "network not found"),
        ({"mounts": (Mount("/no/such/folder", "/data"),)}, "there is no /no/such/folder"),
        ({"engine": "apptainer"}, "no command apptainer"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_work_is_said_at_once(podman, options, text):
    with pytest.raises(UsageError, match=text) as caught:
        prepare(Box(**{"image": IMAGE, **options}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image": ""}, "is no image"),
        ({"image": "-v"}, "is no image"),
        ({"engine": "lxc"}, "no engine 'lxc'"),
        ({"network": ""}, "is no network"),
        ({"network": "container:abc"}, "is no network"),
        ({"memory": 1000}, "too little"),
        ({"cpus": 0.0}, "no number of processors"),
        ({"cpus": float("nan")}, "no number of processors"),
        ({"pids": 0}, "too few"),
        ({"workdir": "data"}, "must be a path in the container"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_that_make_no_sense_are_refused(options, text):
    with pytest.raises(UsageError, match=text):
        prepare(Box(**{"image": IMAGE, **options}))


def test_without_an_engine_it_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for path in ("/var/run/docker.sock", "/run/podman/podman.sock"):
        if os.path.exists(path):
            pytest.skip(f"there is an engine at {path}")
    with pytest.raises(UsageError, match="podman system service"):
        prepare(Box(IMAGE))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    with pytest.raises(UsageError, match=r"nobody \(DOCKER_HOST\) does not answer"):
        prepare(Box(IMAGE))
    monkeypatch.setenv("DOCKER_HOST", "ssh://me:secret@machine")
    with pytest.raises(UsageError, match="DOCKER_HOST=machine cannot be used") as caught:
        prepare(Box(IMAGE))
    assert "secret" not in str(caught.value)


def test_who_answers_but_is_no_engine_is_told(monkeypatch, tmp_path):
    class Nobody(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404, "nothing here")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nobody) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        with pytest.raises(UsageError, match="fails"):
            prepare(Box(IMAGE))
        server.shutdown()
        thread.join()


def test_podman_is_found_on_its_usual_socket(podman, monkeypatch, tmp_path, context):
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").symlink_to(podman.socket)
    runner = ContainerRunner(lambda p, number, slot: ["true"], Box(IMAGE, engine="podman"))
    assert runner.run(Task.of(1), context).ok
    runner.close()
    monkeypatch.setenv("CONTAINER_HOST", podman.host)
    prepare(Box(IMAGE, engine="podman"))


def test_without_the_sdk_it_names_the_extra(podman, monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(MissingExtraError, match=r"maniple\[docker\]"):
        prepare(Box(IMAGE))


def test_an_engine_behind_tcp_works_alike(podman, monkeypatch, context):
    port = free_port()
    service = subprocess.Popen(
        ["podman", "system", "service", "--time", "0", f"tcp://127.0.0.1:{port}"],
        env=podman.environment,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: listens(port))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        words = ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; exit 3"]
        runner = ContainerRunner(lambda p, number, slot: words, Box(IMAGE))
        outcome = runner.run(Task.of(1), context)
        assert (outcome.exit_code, outcome.stdout) == (3, b"x" * 300_000)
        assert runner.run(Task.of("x" * LONGEST_VARIABLE), context).cause == "too long"
        runner.close()
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(20)


@contextmanager
def registry(port):
    """Serve one image, `small:1`, as a registry does."""
    layer = tree(program("busybox", "busybox-static"))

    def named(content):
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [named(layer)]},
        }
    ).encode()
    oci = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": {
                "mediaType": f"{oci}.config.v1+json",
                "digest": named(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": f"{oci}.layer.v1.tar",
                    "digest": named(layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    blobs = {named(each): each for each in (config, layer, manifest)}
    fetched = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            name = self.path.rpartition("/")[2]
            body = {"": b"{}", "1": manifest}.get(name) or blobs.get(name)
            if body is None:
                self.send_error(404)
                return
            fetched.append(name)
            self.send_response(200)
            kind = f"{oci}.manifest.v1+json" if body is manifest else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fetched
        finally:
            server.shutdown()
            thread.join()


def test_an_image_is_fetched_when_that_is_asked_for_and_only_then(podman, context):
    image = f"127.0.0.1:{podman.port}/small:1"
    with registry(podman.port) as fetched:
        with pytest.raises(UsageError, match="--pull"):
            prepare(Box(image))
        assert not fetched
        ready = prepare(Box(image, pull=True))
        assert fetched
        fetched.clear()
        prepare(Box(image, pull=True))
        assert not fetched
    runner = ContainerRunner(lambda p, number, slot: ["echo", "fetched"], ready)
    assert runner.run(Task.of(1), context).stdout == b"fetched\n"
    runner.close()
    podman.podman("rmi", image)


# How options are written


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("512m", 512 << 20),
        ("1.5G", 3 << 29),
        ("2GiB", 2 << 30),
        ("64 kb", 64 << 10),
    ],
)
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1m", "1x", "1m2", "1e3"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(UsageError, match="512m"):
        parse_memory(text)


def test_mounts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse_mount("/a:/b") == Mount("/a", "/b", writable=False)
    assert parse_mount("data:/b:rw") == Mount(str(tmp_path / "data"), "/b", writable=True)
    assert parse_mount("/a:b:/c/:ro") == Mount("/a:b", "/c", writable=False)
    assert parse_mount(".:/w:rw").source == str(tmp_path)


@pytest.mark.parametrize("text", ["", "/a", "/a:", ":/b", "/a:b", "/a:/b:xy", "/a:/", "/a:b:rw"])
def test_what_is_no_mount(text):
    with pytest.raises(UsageError, match="--mount"):
        parse_mount(text)


def test_variables(monkeypatch):
    monkeypatch.setenv("OURS", "mine")
    monkeypatch.delenv("UNSET", raising=False)
    assert parse_environment(["A=1", "B=", "C=x=y", "OURS"]) == {
        "A": "1",
        "B": "",
        "C": "x=y",
        "OURS": "mine",
    }
    for wrong in ("UNSET", "=1", "a b=1", "1A=2"):
        with pytest.raises(UsageError, match="--env"):
            parse_environment([wrong])
