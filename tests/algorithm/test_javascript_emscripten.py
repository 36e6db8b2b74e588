"""Programs that Emscripten really built run in the sandbox as they are."""

import base64
import gzip
import json
import os
import shutil
import subprocess

import pytest

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.javascript import JavascriptSandbox
from maniple.algorithm.sandbox import Parts
from maniple.runner import Cancel

PROGRAM = r"""
#include <stdio.h>
int main(int argc, char **argv) {
  FILE *in = fopen("/in/data.txt", "r");
  double sum = 0, x;
  if (!in) { fprintf(stderr, "no data\n"); return 4; }
  while (fscanf(in, "%lf", &x) == 1) sum += x;
  fclose(in);
  FILE *out = fopen("/out/sum.txt", "w");
  fprintf(out, "%g\n", sum);
  fclose(out);
  printf("%d arguments, %s\n", argc - 1, argc > 1 ? argv[1] : "none");
  fprintf(stderr, "done\n");
  return 0;
}
"""

COMMON = """
function bring(FS, data) {
  FS.mkdir('/in'); FS.mkdir('/out');
  for (const path in data.preload_files) {
    FS.writeFile(path, Uint8Array.from(atob(data.preload_files[path]), (c) => c.charCodeAt(0)));
  }
}
async function reply(FS, data, code) {
  const whole = { data: code };
  for (const path of data.result_files) {
    try { whole[path] = btoa(String.fromCharCode(...FS.readFile(path))); } catch (error) { /* not there */ }
  }
  const stream = new Blob([JSON.stringify(whole)]).stream().pipeThrough(new CompressionStream('gzip'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  postMessage({ body: btoa(String.fromCharCode(...packed)), stdout: null, stderr: null, exitCode: code });
}
"""

# The message comes first, the glue is evaluated with what it holds.
INSIDE = """
onmessage = function (event) {
  const data = event.data;
  var Module = {
    wasmBinary: data.buffWasm, arguments: data.arguments,
    preRun: [() => bring(FS, data)],
    quit: () => {},
    onExit: (code) => reply(FS, data, code),
  };
%s
};
"""

# The glue is evaluated at once, with a global `Module` that waits for the module's bytes.
GLOBAL = """
var arrived;
var message = new Promise((resolve) => { arrived = resolve; });
var Module = {
  noInitialRun: true,
  instantiateWasm(imports, done) {
    message.then((data) => WebAssembly.instantiate(Uint8Array.from(atob(data.wasm), (c) => c.charCodeAt(0)), imports))
      .then((made) => done(made.instance));
    return {};
  },
  onRuntimeInitialized() {
    message.then((data) => { bring(FS, data); reply(FS, data, callMain(data.arguments) || 0); });
  },
};
onmessage = (event) => arrived(event.data);
%s
"""

# As GLOBAL, but the glue looks for the module beside itself.
BESIDE = """
var Module = { noInitialRun: true };
%s
onmessage = (event) => {
  const run = () => { bring(FS, event.data); reply(FS, event.data, callMain(event.data.arguments) || 0); };
  if (runtimeInitialized) run(); else Module.onRuntimeInitialized = run;
};
"""

MODULARIZED = """
%s
self.addEventListener('message', async ({ data }) => {
  const url = URL.createObjectURL(new Blob([data.buffWasm], { type: 'application/wasm' }));
  const made = await createModule({ locateFile: () => url, noInitialRun: true });
  bring(made.FS, data);
  reply(made.FS, data, made.callMain(data.arguments) || 0);
});
"""

FLAGS = ("-sFORCE_FILESYSTEM=1", "-sEXPORTED_RUNTIME_METHODS=callMain,FS")
MODULARIZE = ("-sMODULARIZE", "-sEXPORT_NAME=createModule")
WAYS = {
    "inside": (INSIDE, ("-sEXIT_RUNTIME=1",)),
    "global": (GLOBAL, ()),
    "beside": (BESIDE, ()),
    "modularized": (MODULARIZED, MODULARIZE),
}
ENVIRONMENTS = {"worker": ("-sENVIRONMENT=worker",), "any": ()}


def build(folder, *flags):
    emcc = shutil.which("emcc")
    if emcc is None:
        if os.environ.get("CI"):
            pytest.fail("emcc is not installed")
        pytest.skip("emcc is not installed")
    source = folder / "program.c"
    source.write_text(PROGRAM)
    environment = dict(os.environ)
    environment.setdefault("NODE_PATH", "/usr/share/nodejs")
    words = [emcc, "-O1", str(source), "-o", str(folder / "program.js"), *FLAGS, *flags]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "program.wasm").read_bytes(), (folder / "program.js").read_text()


@pytest.fixture(scope="module")
def sandbox():
    sandbox = JavascriptSandbox()
    yield sandbox
    sandbox.close()


def run(sandbox, folder, wasm, loader, **fields):
    blobs = Blobs(str(folder / "blobs"))
    parts = Parts(
        wasm=blobs.path(blobs.put(wasm)),
        cache=str(folder / "cache"),
        loader=blobs.path(blobs.put(loader.encode())),
    )
    cancel = Cancel()
    try:
        call = Call(code=Code("0" * 64), limits=Limits(seconds=60), **fields)
        return sandbox.run(call, parts, cancel)
    finally:
        cancel.close()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("way", WAYS)
def test_a_c_program_reads_and_leaves_files(sandbox, tmp_path, way, environment):
    template, flags = WAYS[way]
    wasm, glue = build(tmp_path, *flags, *ENVIRONMENTS[environment])
    loader = COMMON + template % glue
    answer = run(
        sandbox,
        tmp_path,
        wasm,
        loader,
        arguments=["fast", "-n"],
        files={"/in/data.txt": b"1 2 3.5\n"},
        results=["/out/sum.txt", "/out/other.txt"],
    )
    assert answer.ok, answer
    assert json.loads(answer.value) == 0
    assert answer.files == {"/out/sum.txt": b"6.5\n"}
    assert answer.missing == ["/out/other.txt"]
    assert (answer.stdout, answer.stderr) == (b"2 arguments, fast\n", b"done\n")


def test_an_exit_code_of_a_c_program_is_a_failure(sandbox, tmp_path):
    wasm, glue = build(tmp_path)
    answer = run(sandbox, tmp_path, wasm, COMMON + GLOBAL % glue)
    assert (answer.ok, answer.cause, answer.exit_code) == (False, "exit 4", 4)
    assert answer.stderr == b"no data\n"


def test_an_abort_of_a_c_program_is_a_failure(sandbox, tmp_path):
    wasm, glue = build(tmp_path)
    loader = COMMON + (GLOBAL % glue).replace("bring(FS, data);", "abort('out of luck');")
    answer = run(sandbox, tmp_path, wasm, loader)
    assert (answer.ok, answer.cause) == (False, "exception")
    assert "out of luck" in answer.error


def test_the_bytes_of_a_gzipped_answer_are_read_as_python_writes_them(sandbox, tmp_path):
    body = base64.b64encode(gzip.compress(b'{"data": [1, 2], "/a": "eA=="}')).decode()
    loader = (
        f"onmessage = () => postMessage({{ body: '{body}', stdout: btoa('hello'), stderr: '' }})"
    )
    answer = run(sandbox, tmp_path, b"\0asm\1\0\0\0", loader, results=["/a"])
    assert (answer.value, answer.files, answer.stdout) == (b"[1, 2]", {"/a": b"x"}, b"hello")
