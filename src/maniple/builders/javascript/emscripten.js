// Runs a program of Emscripten on the files, the words and the params of a question.

const ABORTED = 134;

// Emscripten prints byte by byte.
class Printed {
  constructor() {
    this.chunks = [];
    this.chunk = new Uint8Array(0);
    this.size = 0;
  }

  add(byte) {
    if (byte === null) return;
    if (this.size === this.chunk.length) {
      if (this.size) this.chunks.push(this.chunk);
      this.chunk = new Uint8Array(Math.min(1 << 20, 2 * this.size || 1024));
      this.size = 0;
    }
    this.chunk[this.size] = byte;
    this.size += 1;
  }

  get bytes() {
    return joined([...this.chunks, this.chunk.subarray(0, this.size)]);
  }
}

function putInto(FS, path, bytes) {
  const words = path.split("/").filter((word) => word !== "");
  const name = bytes === null ? null : words.pop();
  FS.mkdirTree(`/${words.join("/")}`);
  if (bytes !== null) FS.writeFile(`/${[...words, name].join("/")}`, bytes);
}

function takeFrom(FS, path) {
  try {
    return FS.readFile(path);
  } catch {
    return null;
  }
}

async function runProgram(question) {
  const stdin = encodeText(JSON.stringify(question.params));
  const stdout = new Printed();
  const stderr = new Printed();
  let taken = 0;
  const print = (to) => (line) => encodeText(`${line}\n`).forEach((byte) => to.add(byte));
  const module = await createProgram({
    wasmBinary: question.wasm,
    thisProgram: NAME,
    noInitialRun: true,
    stdin: () => (taken < stdin.length ? stdin[taken++] : null),
    stdout: (byte) => stdout.add(byte),
    stderr: (byte) => stderr.add(byte),
    print: print(stdout),
    printErr: print(stderr),
  });
  const { FS } = module;
  if (question.zip) await unzip(question.zip, (path, bytes) => putInto(FS, path, bytes));
  for (const [path, bytes] of question.preload) putInto(FS, path, bytes);
  let exitCode;
  try {
    exitCode = module.callMain(question.words);
  } catch (error) {
    exitCode = ABORTED;
    print(stderr)(typeof error === "number" ? "an exception that nothing caught" : error);
  }
  return {
    exitCode,
    value: valuePrinted(stdout.bytes),
    stdout: stdout.bytes,
    stderr: stderr.bytes,
    getFile: (path) => takeFrom(FS, path),
  };
}

// Node has no name for the global scope of a worker, where Emscripten looks for its own address.
if (typeof self === "undefined") {
  globalThis.self = globalThis;
  globalThis.location = { href: "" };
}
serve(runProgram);
