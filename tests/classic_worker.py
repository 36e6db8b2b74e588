"""Runs loaders as browsers do: in a worker that has globals and no modules."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Answer, Call
from maniple.algorithm.javascript import JavascriptSandbox
from maniple.algorithm.package import Package
from maniple.runner import Cancel

PATIENCE = 300.0

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]

# deno has no classic workers: an indirect eval in a module worker is the nearest thing
_DENO = """
const [folder] = Deno.args;
const text = (name) => Deno.readTextFileSync(`${folder}/${name}`);
const start = `self.require = () => { throw new Error("no require here"); };
(0, eval)(${JSON.stringify(text("loader.js"))});`;
const worker = new Worker(`data:application/javascript,${encodeURIComponent(start)}`, {
  type: "module",
  deno: { permissions: "none" },
});
const answers = [];
worker.onmessage = (event) => {
  answers.push(event.data);
  console.log(JSON.stringify(event.data));
  worker.terminate();
};
worker.onerror = (event) => {
  console.error(event.message);
  Deno.exit(1);
};
worker.postMessage(JSON.parse(text("message.json")));
"""

_PAGE = b"""<!doctype html><title>worker</title><script>
const send = (what) => fetch("/answer", { method: "POST", body: JSON.stringify(what) });
(async () => {
  const message = await (await fetch("/message.json")).json();
  const worker = new Worker("/loader.js");
  const answers = [];
  worker.onmessage = (event) => send(event.data);
  worker.onerror = (event) => send({ broken: event.message });
  worker.postMessage(message);
})();
</script>"""


# the native workers of the earlier platform ran on Node, whose worker threads have no postMessage
_NODE = """
const fs = require("fs");
const { Worker } = require("worker_threads");
const folder = process.argv[2];
const worker = new Worker(`${folder}/loader.js`);
worker.on("message", (answer) => {
  console.log(JSON.stringify(answer));
  worker.terminate();
});
worker.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
worker.postMessage(JSON.parse(fs.readFileSync(`${folder}/message.json`)));
"""


class Reply(msgspec.Struct):
    """What a loader answered, taken apart."""

    value: Any
    files: dict[str, bytes]
    stdout: bytes
    stderr: bytes
    exit_code: int


def reply_of(answer: dict[str, Any]) -> Reply:
    body = json.loads(gzip.decompress(base64.b64decode(answer["body"])))
    return Reply(
        body.pop("data"),
        {path: base64.b64decode(content) for path, content in body.items()},
        *(base64.b64decode(answer[name] or "") for name in ("stdout", "stderr")),
        answer.get("exitCode", 0),
    )


def message_of(wasm: bytes, **keys: Any) -> dict[str, Any]:
    return {
        "wasm": base64.b64encode(wasm).decode(),
        "params": [],
        "arguments": [],
        "preload_files": {},
        "result_files": {},
        "data_link": None,
        **keys,
    }


def in_deno(folder: Path, loader: bytes, message: dict[str, Any]) -> Reply:
    path = os.pathsep.join([str(_beside_python()), os.environ["PATH"]])
    deno = shutil.which("deno", path=path)
    if deno is None:
        return _without("deno is not installed: pip install deno")
    flags = ["--quiet", "--no-remote", "--no-config", "--unstable-worker-options"]
    return _in_engine(
        [deno, "run", *flags, f"--allow-read={folder}"], _DENO, folder, loader, message
    )


def in_node(folder: Path, loader: bytes, message: dict[str, Any]) -> Reply:
    node = shutil.which("node")
    if node is None:
        return _without("node is not installed: apt-get install nodejs")
    return _in_engine([node], _NODE, folder, loader, message)


def _in_engine(
    words: list[str], harness: str, folder: Path, loader: bytes, message: dict[str, Any]
) -> Reply:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loader.js").write_bytes(loader)
    (folder / "message.json").write_text(json.dumps(message))
    (folder / "harness.js").write_text(harness)
    done = subprocess.run(
        [*words, str(folder / "harness.js"), str(folder)],
        env={"PATH": os.environ["PATH"], "DENO_DIR": str(folder / "deno"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == 1, done
    return reply_of(json.loads(answers[0]))


def in_chromium(folder: Path, loader: bytes, message: dict[str, Any]) -> Reply:
    chromium = shutil.which("chromium")
    if chromium is None:
        return _without("chromium is not installed: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    served = {
        "/": ("text/html", _PAGE),
        "/loader.js": ("text/javascript", loader),
        "/message.json": ("application/json", json.dumps(message).encode()),
    }
    answers: list[dict[str, Any]] = []
    came = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind, content = served.get(self.path, ("text/plain", b""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            came.set()

        def log_message(self, format, *args):  # noqa: A002 - the name is http.server's
            pass

    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        (folder / "chromium.log").open("wb") as log,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [
                chromium,
                *_FLAGS,
                f"--user-data-dir={folder / 'profile'}",
                f"http://127.0.0.1:{server.server_port}/",
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        try:
            arrived = came.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
    assert arrived, (folder / "chromium.log").read_text()
    (answer,) = answers
    assert "broken" not in answer, answer
    return reply_of(answer)


def in_sandbox(folder: Path, package: Package, call: Call) -> Answer:
    """Run a package's loader in the sandbox that workers have for them."""
    sandbox = JavascriptSandbox(ready=1)
    cancel = Cancel()
    try:
        parts = package.unpack(Blobs(str(folder / "blobs")), str(folder / "cache"))
        return sandbox.run(call, parts, cancel)
    finally:
        sandbox.close()
        cancel.close()


def _beside_python() -> Path:
    return Path(sys.executable).parent


def _without(reason: str) -> Any:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
