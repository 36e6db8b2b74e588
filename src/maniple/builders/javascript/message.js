// What every loader does with its message: one question in, one answer out.

const CANNOT_RUN = 126;
const encodeText = (text) => new TextEncoder().encode(text);
const decodeText = (bytes) => new TextDecoder().decode(bytes);

// Splits what was typed on a command line as a POSIX shell would, quotes and all.
function wordsTyped(line) {
  const words = [];
  let word = null;
  let quote = "";
  for (let at = 0; at < line.length; at += 1) {
    const letter = line[at];
    const escapes = letter === "\\" && quote !== "'" && at + 1 < line.length;
    if (escapes && (quote === "" || '"\\$`'.includes(line[at + 1]))) {
      at += 1;
      word = (word || "") + line[at];
    } else if (quote) {
      if (letter === quote) quote = "";
      else word += letter;
    } else if (letter === "'" || letter === '"') {
      quote = letter;
      word = word || "";
    } else if (/\s/.test(letter)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word || "") + letter;
    }
  }
  if (word !== null) words.push(word);
  return words;
}

function bytesOf(data) {
  if (typeof data === "string") return fromBase64(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
}

async function questionOf(message) {
  let zip = message.data_link || null;
  if (typeof zip === "string") {
    const response = await fetch(zip);
    if (!response.ok) throw new Error(`${zip}: HTTP status ${response.status}`);
    zip = await response.arrayBuffer();
  }
  const typed = message.arguments || [];
  const preload = Object.entries(message.preload_files || {});
  const results = message.result_files || [];
  return {
    wasm: bytesOf(message.buffWasm || message.wasm),
    params: message.params || [],
    words: typeof typed === "string" ? wordsTyped(typed) : Array.from(typed, String),
    zip: zip === null ? null : bytesOf(zip),
    preload: preload.map(([path, content]) => [path, bytesOf(content)]),
    results: Array.isArray(results) ? results : Object.keys(results),
  };
}

// The text of a value, where what was printed is the JSON of one.
function valuePrinted(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    JSON.parse(text);
    return text.trim();
  } catch {
    return "null";
  }
}

// `value` is JSON already, so that numbers keep every digit they were printed with.
async function bodyOf(value, files) {
  const parts = [`"data":${value}`];
  for (const [path, bytes] of files) {
    parts.push(`${JSON.stringify(path)}:"${toBase64(bytes)}"`);
  }
  return toBase64(await gzip(encodeText(`{${parts.join(",")}}`)));
}

// Answers each message once. `run` takes a question and gives {exitCode, value, stdout, stderr,
// getFile}; whatever it throws says why it could not run.
function serve(run) {
  const answer = async (message) => {
    let ran;
    let files = [];
    try {
      const question = await questionOf(message);
      ran = await run(question);
      files = question.results
        .map((path) => [path, ran.getFile(path)])
        .filter(([, bytes]) => bytes !== null);
    } catch (error) {
      ran = { exitCode: CANNOT_RUN, value: "null", stdout: [], stderr: encodeText(`${error}\n`) };
    }
    const reply = {
      body: await bodyOf(ran.value, files),
      stdout: ran.stdout.length ? toBase64(ran.stdout) : null,
      stderr: ran.stderr.length ? toBase64(ran.stderr) : null,
    };
    if (ran.exitCode) reply.exitCode = ran.exitCode;
    return reply;
  };
  if (typeof postMessage === "function") {
    globalThis.onmessage = async (event) => postMessage(await answer(event.data));
  } else {
    const { parentPort } = require("worker_threads");
    parentPort.on("message", async (data) => parentPort.postMessage(await answer(data)));
  }
}
