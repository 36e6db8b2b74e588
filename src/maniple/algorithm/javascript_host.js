// The host of one call: reads a job from standard input, runs the loader as a browser would run a
// classic worker script, and writes what it says to standard output, in frames.
//
// Loader and host share a realm, so whatever is needed after the loader has begun is taken into
// constants here, before; nothing below that point looks a method up on a built-in prototype. The
// secret in front of each frame is known to this file alone. A loader that found it could forge no
// more than its own answer: the parent holds all limits, and trusts nothing that is said here.

import { furnish } from "./javascript_globals.js";

const internals = Deno[Deno.internal];
const { evalContext, encode, decode } = internals.core;
const { Console } = internals;
const read = Deno.stdin.readSync.bind(Deno.stdin);
const write = Deno.stdout.writeSync.bind(Deno.stdout);
const exit = Deno.exit;
const soon = queueMicrotask;
const { parse, stringify } = JSON;
const { apply, defineProperty, deleteProperty, getPrototypeOf } = Reflect;
const Bytes = Uint8Array;
const Text = String;
const set = Bytes.prototype.set;
const subarray = Bytes.prototype.subarray;
const slice = Text.prototype.slice;
const typed = getPrototypeOf(Bytes.prototype);
const listOf = Array.from;
const WasmModule = WebAssembly.Module;

const SECRET_SIZE = 16;
const HEAD_SIZE = SECRET_SIZE + 5;
const LONGEST_ERROR = 65536;
const SMALL = 65536;

// Kinds of frames; javascript_course.py has the other end.
const READY = 0x72; // r
const PREPARED = 0x70; // p
const STDOUT = 0x6f; // o
const STDERR = 0x65; // e
const ANSWER = 0x61; // a
const UNFIT = 0x75; // u: an answer that JSON cannot hold
const THROWN = 0x78; // x: an exception that nobody caught
const REJECTED = 0x6e; // n: a rejected promise that nobody caught; the loader may go on
const DONE = 0x64; // d: the turn that answered has ended
const STRAY = 0x73; // s: a message that is no answer

function take(size) {
  const bytes = new Bytes(size);
  let at = 0;
  while (at < size) {
    const count = read(apply(subarray, bytes, [at]));
    if (count === null) exit(0);
    at += count;
  }
  return bytes;
}

function number() {
  const [a, b, c, d] = take(4);
  return a + b * 0x100 + c * 0x10000 + d * 0x1000000;
}

const secret = take(SECRET_SIZE);

function put(bytes) {
  let at = 0;
  while (at < bytes.length) at += write(apply(subarray, bytes, [at]));
}

function frame(kind, payload) {
  const size = payload.length;
  const small = size <= SMALL;
  const head = new Bytes(small ? HEAD_SIZE + size : HEAD_SIZE);
  apply(set, head, [secret]);
  head[SECRET_SIZE] = kind;
  for (let i = 0, rest = size; i < 4; i++, rest = (rest - (rest % 256)) / 256) {
    head[SECRET_SIZE + 1 + i] = rest % 256;
  }
  if (small) apply(set, head, [payload, HEAD_SIZE]);
  put(head);
  if (!small) put(payload);
}

function say(kind, text) {
  frame(kind, encode(text));
}

// What was thrown, as `Name: message`, and where, whatever it is made of.
function describe(thrown) {
  let what = "something that cannot be shown";
  let where = "";
  try {
    what = Text(thrown);
    if (typeof thrown === "object" && thrown !== null && typeof thrown.stack === "string") {
      where = thrown.stack;
    }
  } catch {
    // a hostile toString or stack: the words above stand
  }
  return stringify({
    __proto__: null,
    what: apply(slice, what, [0, LONGEST_ERROR]),
    where: apply(slice, where, [0, LONGEST_ERROR]),
  });
}

let answered = false;

function fail(kind, thrown) {
  if (answered) return;
  answered = kind !== REJECTED;
  say(kind, describe(thrown));
}

// A list of numbers is a list in JSON, whichever kind of array held it.
function toList() {
  return listOf(this);
}

function jsonOf(message) {
  const own = "toJSON" in typed;
  const change = { __proto__: null, value: toList, configurable: true };
  if (!own) defineProperty(typed, "toJSON", change);
  try {
    return stringify({
      __proto__: null,
      body: message.body,
      stdout: message.stdout,
      stderr: message.stderr,
      exitCode: message.exitCode,
    });
  } finally {
    if (!own) deleteProperty(typed, "toJSON");
  }
}

function postMessage(message) {
  if (answered) return;
  if (typeof message !== "object" || message === null || !("body" in message)) {
    frame(STRAY, new Bytes(0));
    return;
  }
  let text;
  try {
    text = jsonOf(message);
  } catch (error) {
    fail(UNFIT, error);
    return;
  }
  answered = true;
  say(ANSWER, text);
  // what is printed after the answer, in the same turn, still belongs to it
  soon(() => frame(DONE, new Bytes(0)));
}

addEventListener("error", (event) => {
  event.preventDefault();
  const thrown = event.error ?? event.message;
  // the loader's own handler comes after this one, and may answer
  soon(() => fail(THROWN, thrown));
});
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  fail(REJECTED, event.reason);
});

const scope = furnish({
  console: new Console((text, level) => say(level > 1 ? STDERR : STDOUT, text)),
  postMessage,
  exit,
});

frame(READY, new Bytes(0));

let wasm, loader, data, compiled;
for (let kind = take(1)[0]; kind === 0x63; kind = take(1)[0]) {
  const sizes = [number(), number(), number()];
  wasm = take(sizes[0]);
  loader = decode(take(sizes[1]));
  data = sizes[2] ? take(sizes[2] - 1) : null;
  try {
    // V8 keeps compiled modules by their bytes for as long as one of them is held
    compiled = new WasmModule(wasm);
  } catch {
    compiled = null; // the loader finds out for itself
  }
  frame(PREPARED, new Bytes(0));
}

const head = take(number());
const params = take(number());
let job;
try {
  const { arguments: words, files, results } = parse(decode(head));
  job = { params: parse(decode(params)), arguments: words, files, results };
} catch (error) {
  fail(THROWN, error);
  exit(0);
}

const [, problem] = (() => {
  const message = scope.message(job, wasm, data);
  const outcome = evalContext(loader, scope.script);
  if (outcome[1] === null) scope.deliver(message);
  return outcome;
})();
if (problem !== null) {
  fail(THROWN, problem.thrown);
}
