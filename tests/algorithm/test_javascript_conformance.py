"""The sandbox for JavaScript loaders does what every sandbox does."""

import pytest

from conformance.sandbox_suite import MIB, PATIENCE, Program, SandboxConformance
from maniple.algorithm.call import Limits
from maniple.algorithm.javascript import JavascriptSandbox

EMPTY = b"\0asm\1\0\0\0"

# A loader with files of its own, as Emscripten's are: in memory, started from the zip.
FILES = """
const files = new Map();
const bytesOf = (text) => Uint8Array.fromBase64(text);
async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
async function unzip(link) {
  const bytes = new Uint8Array(await (await fetch(link)).arrayBuffer());
  const view = new DataView(bytes.buffer);
  let end = bytes.length - 22;
  while (view.getUint32(end, true) !== 0x06054b50) end--;
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    const length = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + length));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.slice(start, start + view.getUint32(at + 20, true));
    files.set("/" + name, view.getUint16(at + 10, true) === 8 ? await inflate(packed) : packed);
    at += 46 + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}
async function start(data) {
  if (data.data_link) await unzip(data.data_link);
  for (const [path, content] of Object.entries(data.preload_files)) files.set(path, bytesOf(content));
}
async function finish(data, value) {
  const whole = { data: value };
  for (const path of data.result_files) if (files.has(path)) whole[path] = files.get(path).toBase64();
  const stream = new Blob([JSON.stringify(whole)]).stream().pipeThrough(new CompressionStream("gzip"));
  postMessage({ body: new Uint8Array(await new Response(stream).arrayBuffer()).toBase64() });
}
onmessage = async ({ data }) => { await start(data); await finish(data, await main(data)); };
"""

MAIN = {
    "noop": "null",
    "echo": "data.params",
    "argv": "data.arguments",
    "copy": 'files.set("/out/result.bin", files.get("/in/data.bin")) && null',
    "environment": "typeof process === 'undefined' && typeof Deno === 'undefined' ? {} : 'seen'",
    "plant": 'files.set("/out/result.bin", `link to ${data.params[0]}`) && null',
}

PLAIN = {
    "say": 'console.log("out"); console.error("err"); postMessage({ body: null, stdout: null });',
    "exit3": 'console.error("sorry"); postMessage({ body: null, exitCode: 3 });',
    "crash": 'console.error("before"); null.x;',
    "loop": "for (;;);",
    "sleep": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3600000);",
    "allocate": "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1));",
    "print": 'for (;;) console.log("x".repeat(99));',
    "print_error": 'for (;;) console.error("x".repeat(99));',
    "remember": """
        const before = "left" in globalThis || "left" in Object.prototype;
        globalThis.left = Object.prototype.left = true;
        postMessage({ body: before });
    """,
    "escape": """
        const [path] = event.data.params;
        const all = [];
        const ways = [
          () => fetch(`file://${path}`).then((found) => found.text()),
          () => fetch(path).then((found) => found.text()),
          () => import(`file://${path}`, { with: { type: "text" } }),
          () => import(`file:///../../..${path}`, { with: { type: "bytes" } }),
          () => Deno.readTextFileSync(path),
          () => require("fs").readFileSync(path),
          () => import("node:fs").then((fs) => fs.readFileSync(path)),
        ];
        (async () => {
          for (const way of ways) { try { all.push(String(await way())); } catch { /* good */ } }
          postMessage({ body: all });
        })();
    """,
    # results that are larger than they may be, which is all that a disk limit can mean here
    "fill": """
        const content = btoa("x".repeat(3 << 20));
        const whole = { data: null };
        for (const path of event.data.result_files) whole[path] = content;
        const pipe = new CompressionStream("gzip");
        new Response(new Blob([JSON.stringify(whole)]).stream().pipeThrough(pipe)).bytes()
          .then((bytes) => postMessage({ body: bytes.toBase64() }));
    """,
}


class TestJavascript(SandboxConformance):
    def make(self):
        return JavascriptSandbox()

    def program(self, name):
        if name in MAIN:
            loader = f"{FILES}\nconst main = (data) => {MAIN[name]};"
        else:
            loader = f"onmessage = (event) => {{ {PLAIN[name]} }};"
        return Program(EMPTY, loader.encode())

    def test_the_disk_limit_ends_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, disk=8 * MIB)
        answer = call("fill", limits=limits, results=["/a", "/b", "/c"])
        self.limited(answer, "disk limit", "8 MiB")
        works()

    def test_the_limit_on_files_ends_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, files=200)
        answer = call("noop", limits=limits, files={f"/{i}": b"" for i in range(201)})
        self.limited(answer, "disk limit", "200 files")
        works()

    @pytest.mark.parametrize("path", ["/../evil", "evil", "/", ""])
    def test_a_bad_path_is_named(self, call, path):
        answer = call("noop", files={path: b"x"})
        assert (answer.cause, repr(path) in answer.error) == ("bad file", True)
