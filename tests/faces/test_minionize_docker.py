"""DockerCallback, against a small server that speaks Docker's API over a socket."""

import gc
import json
import socketserver
import struct
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from minionize import DockerCallback, Engine, EntryPoint


class Docker(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.calls = []
        self.created = []
        self.code = 0
        self.missing = False

    def names(self):
        return [name for name in self.calls if name != "version"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "docker"

    def answer(self, code, content=None, raw=None):
        body = json.dumps(content).encode() if raw is None else raw
        self.send_response(code)
        kind = "application/json" if raw is None else "application/vnd.docker.raw-stream"
        self.send_header("Content-Type", kind)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if code != 204:
            self.wfile.write(body)

    def handle_call(self, method):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}")
        url = urlsplit(self.path)
        parts = [p for p in url.path.split("/") if p and not p.startswith("v1")]
        name = "remove" if method == "DELETE" else parts[-1]
        self.server.calls.append(name)
        if name == "version":
            self.answer(200, {"ApiVersion": "1.45", "Version": "26"})
        elif name == "create":
            if self.server.missing:
                self.answer(404, {"message": "no such image"})
                return
            self.server.created.append(body)
            self.answer(201, {"Id": "abc", "Warnings": []})
        elif name in {"start", "kill"}:
            self.answer(204)
        elif name == "wait":
            self.answer(200, {"StatusCode": self.server.code})
        elif name == "logs":
            wanted = parse_qs(url.query)
            said = b"to out\n" if wanted.get("stdout") == ["1"] else b""
            self.answer(200, raw=b"\x01\0\0\0" + struct.pack(">I", len(said)) + said)
        elif name == "remove":
            assert parse_qs(url.query)["force"] == ["True"]
            self.answer(204)
        else:
            config = {"Tty": False, "Image": "image"}
            host = {"LogConfig": {"Type": "json-file"}}
            self.answer(200, {"Id": "abc", "Name": "/abc", "Config": config, "HostConfig": host})

    def do_GET(self):
        self.handle_call("GET")

    def do_POST(self):
        self.handle_call("POST")

    def do_DELETE(self):
        self.handle_call("DELETE")


@pytest.fixture
def docker(tmp_path, monkeypatch):
    path = tmp_path / "docker.sock"
    with Docker(path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield server
        server.shutdown()
        thread.join()


class OneParam(Engine):
    def __init__(self, param):
        self.params = [param]

    def next(self):
        return self.params.pop() if self.params else None


class Greeting(DockerCallback):
    def to_kwargs(self, param):
        return {"command": ["echo", param], "environment": {"A": "1"}, "remove": True}


class Events:
    def __init__(self):
        self.events = []

    def report(self, event):
        self.events.append(event)


def run(callback):
    events = Events()
    EntryPoint(callback, OneParam("hello"), events).run()
    return events.events[0]


def test_a_container_is_run_with_the_arguments_of_a_param_and_removed(docker, capsys):
    assert run(Greeting("alpine")).error is None
    (created,) = docker.created
    assert created["Image"] == "alpine"
    assert created["Cmd"] == ["echo", "hello"]
    assert created["Env"] == ["A=1"]
    assert [docker.names()[0], docker.names()[-1]] == ["create", "remove"]
    assert capsys.readouterr().out == "to out\n"


def test_a_container_that_fails_is_a_failure_and_is_removed(docker):
    docker.code = 7
    event = run(Greeting("alpine"))
    assert event.cause == "exit 7"
    assert docker.names()[-1] == "remove"


def test_an_image_that_is_not_there_is_a_failure(docker):
    docker.missing = True
    assert run(Greeting("alpine")).error is not None


# the SDK forgets to close the socket on which nobody answered, and frees it in its own time
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_docker_a_param_fails_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nobody'}")
    assert "DockerException" in run(Greeting("alpine")).error
    gc.collect()


def test_a_dry_run_writes_the_call_of_the_sdk(capsys):
    EntryPoint(Greeting("alpine"), OneParam("hello"), None, dry=True).run()
    assert "containers.run('alpine', command=['echo', 'hello']" in capsys.readouterr().out
