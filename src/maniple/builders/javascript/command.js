// Runs a module on the files, the words and the params of a question.

const ABORTED = 134;

function lineOf(error) {
  const thrown = WebAssembly.Exception && error instanceof WebAssembly.Exception;
  return encodeText(`${thrown ? "an exception that nothing caught" : error}\n`);
}

async function runModule(question) {
  const root = new Folder();
  if (question.zip) await unzip(question.zip, (path, bytes) => putFile(root, path, bytes));
  for (const [path, bytes] of question.preload) putFile(root, path, bytes);
  const module = await WebAssembly.compile(question.wasm);
  const names = WebAssembly.Module.exports(module).map((entry) => entry.name);
  const wasi = new Wasi({
    root,
    words: [NAME, ...question.words],
    stdin: encodeText(JSON.stringify(question.params)),
  });
  const asCommand = names.includes("_start");
  const numbers = asCommand ? [] : numbersFor(question.wasm, question.params);
  let exitCode = 0;
  let value = null;
  try {
    const { exports } = await WebAssembly.instantiate(module, wasi.imports);
    wasi.memory = exports.memory;
    if (asCommand) {
      exports._start();
    } else {
      if (names.includes("_initialize")) exports._initialize();
      value = jsonOf(exports.main(...numbers));
    }
  } catch (error) {
    if (error instanceof Exit) {
      exitCode = error.code;
    } else {
      exitCode = ABORTED;
      wasi.stderr.write(lineOf(error), wasi.stderr.size);
    }
  }
  return {
    exitCode,
    value: value || valuePrinted(wasi.stdout.bytes),
    stdout: wasi.stdout.bytes,
    stderr: wasi.stderr.bytes,
    getFile: (path) => getFile(root, path),
  };
}

serve(runModule);
