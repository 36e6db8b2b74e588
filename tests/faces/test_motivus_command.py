"""The command `motivus` of the earlier platform."""

import http.server
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from loop_back import loop_back
from projects import project
from rust import tools_folder
from support import PATIENCE, until

MOTIVUS = str(Path(sys.executable).with_name("motivus"))
ADD = '#include <stdio.h>\nint main(void) { double a, b; scanf("[%lf ,%lf]", &a, &b); printf("%g", a + b); }\n'


def motivus(folder, *words, **variables):
    kept = {
        name: value
        for name, value in os.environ.items()
        if "TOKEN" not in name and name not in {"WEBSOCKET_URI", "ALGORITHM_REPO_HOST"}
    }
    return subprocess.run(
        [MOTIVUS, *words],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )


def said(done, code):
    """Assert that a command refused with one line; give it."""
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("motivus: ")
    return line.removeprefix("motivus: ")


# ---- new, build, clean


def test_a_new_project_in_rust_is_built_to_the_files_that_it_always_was(tmp_path):
    tools = tools_folder()
    made = motivus(tmp_path, "new", "scale", "--description", "scales", "--license", "MIT")
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "scale"
    manifest = yaml.safe_load((folder / "motivus.yml").read_text())
    assert manifest["version"] == 1.0
    assert manifest["build"]["compiler"] == "mvrc"
    assert manifest["package"]["metadata"]["license"] == "MIT"
    done = motivus(folder, "build", "-c", "motivus.yml", MANIPLE_TOOLS=tools)
    assert done.returncode == 0, done.stderr
    assert sorted(name for name in os.listdir(folder / "build") if name[0] != ".") == [
        "scale-0.1.0.js",
        "scale-0.1.0.wasm",
        "scale-0.1.0.zip",
    ]
    assert motivus(folder, "clean").stdout == "removed build\n"


def test_in_a_terminal_it_asks_for_what_the_options_do_not_say(tmp_path):
    ours, theirs = pty.openpty()
    words = [MOTIVUS, "new", "asked", "--license", "MIT"]
    process = subprocess.Popen(words, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"says hello\nAnn\nhttp://a\nhttp://b\n")
    printed = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
    os.close(ours)
    assert process.wait(PATIENCE) == 0, printed
    manifest = yaml.safe_load((tmp_path / "asked" / "motivus.yml").read_text())
    assert manifest["package"]["metadata"] == {
        "short_description": "says hello",
        "license": "MIT",
        "author": "Ann",
        "url": "http://a",
        "upstream_url": "http://b",
        "long_description": "README.md",
    }


def test_the_build_folder_may_be_another_and_a_build_may_be_for_debugging(tmp_path):
    folder = project(tmp_path, {"main.c": ADD}, "mvcc")
    assert motivus(folder, "build", "--build-dir", "quick").returncode == 0
    done = motivus(folder, "build", "-D", "--build-dir", "slow")
    assert done.returncode == 0, done.stderr
    sizes = [(folder / name / "thing-0.1.0.wasm").stat().st_size for name in ("quick", "slow")]
    assert sizes[1] > 2 * sizes[0]


def test_a_mistake_is_said_in_a_line(tmp_path):
    assert said(motivus(tmp_path, "build"), 2).startswith("no motivus.yml: run this in")
    assert (
        said(motivus(tmp_path, "nothing"), 2) == "No such command 'nothing'. (see motivus --help)"
    )


# ---- push


@pytest.fixture
def built(tmp_path):
    folder = project(tmp_path / "p", {"main.c": ADD}, "mvcc")
    done = motivus(folder, "build")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hub").mkdir()
    with loop_back(tmp_path / "hub", tmp_path / "shelf") as environment:
        yield environment["WEBSOCKET_URI"]


def test_a_version_is_pushed_to_the_loop_back_cluster_and_run_there(built, hub):
    done = motivus(built, "push", WEBSOCKET_URI=hub)
    assert done.returncode == 0, done.stderr
    host = re.search(r"//([^/]+)/", hub)[1]
    assert done.stdout == f"pushed thing@0.1.0 to {host} (a new algorithm)\n"
    driver = "import maniple\nwith maniple.connect() as c: print(c.run('thing@0.1.0', 1, 2))"
    ran = subprocess.run(
        [sys.executable, "-c", driver],
        env={**os.environ, "WEBSOCKET_URI": hub},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.stdout == "3\n", ran.stderr


def test_a_version_never_changes_once_it_is_pushed(built, hub):
    assert motivus(built, "push", WEBSOCKET_URI=hub).returncode == 0
    (built / "main.c").write_text("int main(void) { return 1; }\n")
    assert motivus(built, "build").returncode == 0
    line = said(motivus(built, "push", WEBSOCKET_URI=hub), 2)
    assert "does not take it" in line
    text = (built / "motivus.yml").read_text().replace("0.1.0", "0.1.1")
    (built / "motivus.yml").write_text(text)
    assert motivus(built, "build").returncode == 0
    done = motivus(built, "push", WEBSOCKET_URI=hub)
    assert done.stdout.startswith("pushed thing@0.1.1 to ")
    assert "new" not in done.stdout


def test_what_was_not_built_cannot_be_pushed(tmp_path):
    folder = project(tmp_path / "p", {"main.c": ADD}, "mvcc")
    assert said(motivus(folder, "push"), 2) == ("there is no build/thing-0.1.0.zip: build it first")


class Registry:
    """A registry that answers as it is told, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.asked = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                size = int(self.headers.get("Content-Length") or 0)
                registry.asked.append(
                    (self.command, self.path, self.headers, self.rfile.read(size))
                )
                status, body = registry.answers.pop(0)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):
                self.do_GET()

            def log_message(self, format, *args):  # noqa: A002 - the name is http.server's
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def registry(*answers):
    made = Registry(answers)
    try:
        yield made
    finally:
        made.close()


KNOWN = {"data": [{"id": 7, "name": "thing", "versions": []}]}


def test_the_request_is_as_the_earlier_platform_has_it(built):
    made = {"data": {"id": 7, "name": "thing"}}
    with registry((200, {"data": []}), (201, made), (201, {"data": {"id": 1}})) as there:
        done = motivus(
            built,
            "push",
            "--cost",
            "0.5",
            ALGORITHM_REPO_HOST=there.host,
            MOTIVUS_PERSONAL_ACCESS_TOKEN="secret-token",
        )
        assert done.returncode == 0, done.stderr
        find, create, upload = there.asked
        assert "secret-token" not in done.stdout + done.stderr
    assert find[:2] == ("GET", "/api/package_registry/algorithms/?name=thing")
    assert create[:2] == ("POST", "/api/package_registry/algorithms/")
    assert json.loads(create[3]) == {
        "algorithm": {
            "name": "thing",
            "is_public": False,
            "cost": 0.5,
            "charge_schema": "PER_EXECUTION",
        }
    }
    assert upload[:2] == ("POST", "/api/package_registry/algorithms/7/versions")
    assert all(asked[2]["Authorization"] == "Bearer secret-token" for asked in there.asked)
    assert upload[2].get_content_type() == "multipart/form-data"
    assert b'name="version"' in upload[3]
    assert b'{"name": "0.1.0", "metadata": {}}' in upload[3]
    assert b'name="package"; filename="thing-0.1.0.zip"' in upload[3]
    assert (built / "build" / "thing-0.1.0.zip").read_bytes() in upload[3]


@pytest.mark.parametrize(
    ("answers", "code", "message"),
    [
        (
            [(401, {"errors": {"detail": "Unauthorized"}})],
            3,
            "HOST does not take the token: check PERSONAL_ACCESS_TOKEN",
        ),
        (
            [(200, KNOWN), (403, {})],
            3,
            "HOST: this algorithm is not yours, and may not be changed",
        ),
        (
            [(200, KNOWN), (422, {"errors": {"name": ["has already been taken"]}})],
            2,
            "HOST does not take it: name has already been taken",
        ),
        ([(500, b"oops")], 3, "HOST does not take it: HTTP status 500"),
        (
            [(200, b"<html>")],
            3,
            "HOST answers something else than a registry: is a hub there?",
        ),
    ],
)
def test_each_refusal_of_a_registry_has_its_sentence(built, answers, code, message):
    with registry(*answers) as there:
        done = motivus(
            built, "push", ALGORITHM_REPO_HOST=there.host, PERSONAL_ACCESS_TOKEN="secret-token"
        )
    assert said(done, code).replace(there.host, "HOST") == message


def test_nobody_there_is_said(built):
    line = said(motivus(built, "push", WEBSOCKET_URI="ws://localhost:1/x"), 3)
    assert line.startswith("no answer from the registry at localhost:1: ")


def test_a_registry_elsewhere_wants_a_token(built):
    line = said(motivus(built, "push", WEBSOCKET_URI="wss://hub.invalid/x"), 2)
    assert line.startswith("which token? set PERSONAL_ACCESS_TOKEN to a personal access token")


# ---- loopback, worker


def test_loopback_prints_the_line_that_drivers_need_and_workers_join(tmp_path):
    log = tmp_path / "log"
    started = []
    environment = {**os.environ, "MANIPLE_ALGORITHMS": str(tmp_path / "shelf")}
    with log.open("wb") as output:
        words = [MOTIVUS, "loopback", "-p", "0", "-j", "1"]
        started.append(
            subprocess.Popen(
                words, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.DEVNULL
            )
        )
        try:
            pattern = r"export WEBSOCKET_URI=ws://(localhost:\d+)/client_socket/websocket\n"
            host = until(lambda: re.search(pattern, log.read_text()))[1]
            words = [MOTIVUS, "worker", "-t", "2", "--backend-host", host, "--no-tls"]
            started.append(
                subprocess.Popen(
                    [*words, "--token", "any"], cwd=tmp_path, env=environment, stdout=output
                )
            )

            def workers():
                with urllib.request.urlopen(f"http://{host}/", timeout=PATIENCE) as page:
                    return int(re.search(r"workers (\d+)", page.read().decode())[1])

            until(lambda: workers() == 3)
            started[1].send_signal(signal.SIGINT)
            assert started[1].wait(PATIENCE) == 130
            until(lambda: workers() == 1)
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGINT)
                process.wait(PATIENCE)
