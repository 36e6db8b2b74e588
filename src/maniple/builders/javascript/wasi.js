// WASI preview 1 (and the snapshot before it, wasi_unstable) on files in memory.
// Function by function as in WebAssembly/WASI, legacy/preview1/docs.md.

const TYPE = { UNKNOWN: 0, FOLDER: 3, FILE: 4 };
const OPEN = { CREATE: 1, FOLDER: 2, EXCLUSIVE: 4, TRUNCATE: 8 };
const MAY_READ = 1n << 1n;
const MAY_WRITE = 1n << 6n;
const ALL_RIGHTS = (1n << 29n) - 1n;
const NO_SEEKING = ALL_RIGHTS & ~((1n << 2n) | (1n << 5n));
const APPEND = 1;
const ROOT = 3;
const PREOPENED_FOLDER = 0;
const CLOCK = { REAL: 0, MONOTONIC: 1, LAST: 3 };
const ABSOLUTE = 1;
const RANDOM_AT_ONCE = 65536;

class Exit {
  constructor(code) {
    this.code = code;
  }
}

// What a descriptor stands for.
class Handle {
  constructor(node, { stream = false, read = true, write = true, append = false, path = null } = {}) {
    this.node = node;
    this.stream = stream;
    this.mayRead = read;
    this.mayWrite = write;
    this.append = append;
    this.path = path;
    this.offset = 0;
    this.listing = [];
  }

  get rights() {
    return this.stream ? NO_SEEKING : ALL_RIGHTS;
  }
}

function typeOf(node) {
  return node instanceof Folder ? TYPE.FOLDER : TYPE.FILE;
}

// Waits without an event loop. A browser without shared memory keeps its processor busy.
function pause(nanoseconds) {
  const milliseconds = Number(nanoseconds) / 1e6;
  let cell = null;
  try {
    const shared = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer;
    cell = new Int32Array(shared);
    Atomics.wait(cell, 0, 0, milliseconds);
  } catch {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
  }
}

class Wasi {
  constructor({ root, words, stdin }) {
    this.memory = null;
    this.stdout = new File();
    this.stderr = new File();
    this.words = words.map((word) => encodeText(`${word}\0`));
    this.handles = new Map([
      [0, new Handle(new File(stdin), { stream: true, write: false })],
      [1, new Handle(this.stdout, { stream: true, read: false, append: true })],
      [2, new Handle(this.stderr, { stream: true, read: false, append: true })],
      [ROOT, new Handle(root, { path: encodeText("/") })],
    ]);
    this.began = performance.now();
  }

  get imports() {
    return {
      wasi_snapshot_preview1: this.functions({ whence: ["set", "current", "end"], old: false }),
      wasi_unstable: this.functions({ whence: ["current", "end", "set"], old: true }),
    };
  }

  functions(snapshot) {
    const bound = {};
    for (const [name, call] of Object.entries(CALLS)) {
      bound[name] = (...values) => {
        try {
          return call(this, snapshot, ...values) || 0;
        } catch (error) {
          if (error instanceof Failure) return error.errno;
          if (error instanceof RangeError) return ERRNO.FAULT;
          throw error;
        }
      };
    }
    return bound;
  }

  get view() {
    return new DataView(this.memory.buffer);
  }

  bytes(at, size) {
    return new Uint8Array(this.memory.buffer, at >>> 0, size >>> 0);
  }

  text(at, size) {
    return decodeText(this.bytes(at, size).slice());
  }

  handle(number) {
    return this.handles.get(number) || fail("BADF");
  }

  folder(number) {
    const { node } = this.handle(number);
    return node instanceof Folder ? node : fail("NOTDIR");
  }

  file(number, right) {
    const handle = this.handle(number);
    if (handle.node instanceof Folder) fail(right === "mayWrite" ? "BADF" : "ISDIR");
    return handle[right] ? handle : fail("BADF");
  }

  seekable(number, right) {
    const handle = this.file(number, right);
    return handle.stream ? fail("SPIPE") : handle;
  }

  buffers(at, count) {
    const { view } = this;
    return Array.from({ length: count }, (_, index) => {
      const place = (at >>> 0) + 8 * index;
      return this.bytes(view.getUint32(place, true), view.getUint32(place + 4, true));
    });
  }

  read(handle, offset, buffers) {
    let at = offset;
    for (const buffer of buffers) {
      const part = handle.node.bytes.subarray(at, at + buffer.length);
      buffer.set(part);
      at += part.length;
      if (part.length < buffer.length) break;
    }
    handle.node.read = now();
    return at - offset;
  }

  write(handle, offset, buffers) {
    let at = offset;
    for (const buffer of buffers) {
      handle.node.write(buffer, at);
      at += buffer.length;
    }
    return at - offset;
  }

  putStrings(strings, pointers, at) {
    const { view } = this;
    let place = at >>> 0;
    for (const [index, bytes] of strings.entries()) {
      view.setUint32((pointers >>> 0) + 4 * index, place, true);
      this.bytes(place, bytes.length).set(bytes);
      place += bytes.length;
    }
  }

  putStat(at, node, type, old) {
    const { view } = this;
    const place = at >>> 0;
    this.bytes(place, old ? 56 : 64).fill(0);
    view.setBigUint64(place + 8, node.id, true);
    view.setUint8(place + 16, type);
    if (old) view.setUint32(place + 20, node.links, true);
    else view.setBigUint64(place + 24, BigInt(node.links), true);
    const rest = place + (old ? 24 : 32);
    view.setBigUint64(rest, BigInt(node.size), true);
    view.setBigUint64(rest + 8, node.read, true);
    view.setBigUint64(rest + 16, node.written, true);
    view.setBigUint64(rest + 24, node.changed, true);
  }

  clock(id) {
    if (id === CLOCK.REAL) return now();
    if (id > CLOCK.LAST) fail("INVAL");
    const since = id === CLOCK.MONOTONIC ? 0 : this.began;
    return BigInt(Math.round((performance.now() - since) * 1e6));
  }

  free() {
    let number = ROOT + 1;
    while (this.handles.has(number)) number += 1;
    return number;
  }
}

function setTimes(node, read, written, flags) {
  if ((flags & 3) === 3 || (flags & 12) === 12) fail("INVAL");
  if (flags & 1) node.read = BigInt.asUintN(64, read);
  if (flags & 2) node.read = now();
  if (flags & 4) node.written = BigInt.asUintN(64, written);
  if (flags & 8) node.written = now();
  node.changed = now();
}
