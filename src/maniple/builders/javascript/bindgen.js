// How a module with wasm-bindgen's JavaScript is called: main(...params), and what it prints to the
// console is its output. `begin(module)` and `wasm_bindgen` come from that JavaScript.

const RAISED = 1;

// Stands before the JavaScript of wasm-bindgen, in the place of the global `console`.
function recorder() {
  const streams = { out: [], error: [] };
  const to = (stream) => (...values) => {
    const words = values.map((value) => (typeof value === "object" ? jsonOf(value) : `${value}`));
    stream.push(`${words.join(" ")}\n`);
  };
  const out = to(streams.out);
  const error = to(streams.error);
  return { log: out, info: out, debug: out, error, warn: error, trace: error, assert() {}, streams };
}

// JSON of whatever Rust returned: its arrays of numbers are typed arrays here.
function jsonOf(value) {
  const plain = (_key, inner) => {
    if (typeof inner === "bigint") return Number(inner);
    if (ArrayBuffer.isView(inner)) return Array.from(inner, (item) => plain("", item));
    if (inner instanceof Map) return Object.fromEntries(inner);
    if (inner instanceof Set) return Array.from(inner);
    return inner;
  };
  return JSON.stringify(value, plain) ?? "null";
}

serve(async ({ wasm, params }) => {
  let exitCode = 0;
  let value = "null";
  try {
    await begin(new WebAssembly.Module(wasm));
    value = jsonOf(await wasm_bindgen.main(...params));
  } catch (error) {
    exitCode = RAISED;
    console.error(`${error}`);
  }
  return {
    exitCode,
    value,
    stdout: encodeText(console.streams.out.join("")),
    stderr: encodeText(console.streams.error.join("")),
    getFile: () => null,
  };
});
