// The files of one call: a tree in memory. No owners, no permissions, no symbolic links.

// Error numbers of WASI preview 1 (wasi-libc, <wasi/api.h>).
const ERRNO = {
  BADF: 8, BUSY: 10, EXIST: 20, FAULT: 21, INVAL: 28, ISDIR: 31, NOENT: 44, NOSPC: 51,
  NOSYS: 52, NOTDIR: 54, NOTEMPTY: 55, NOTSOCK: 57, NOTSUP: 58, PERM: 63, SPIPE: 70,
};

class Failure {
  constructor(errno) {
    this.errno = errno;
  }
}

function fail(name) {
  throw new Failure(ERRNO[name]);
}

const now = () => BigInt(Date.now()) * 1000000n;
let nodes = 0n;

class Node {
  constructor() {
    nodes += 1n;
    this.id = nodes;
    this.links = 1;
    this.read = this.written = this.changed = now();
  }

  touch() {
    this.written = this.changed = now();
  }
}

class File extends Node {
  constructor(bytes = new Uint8Array(0)) {
    super();
    this.room = bytes;
    this.size = bytes.length;
  }

  get bytes() {
    return this.room.subarray(0, this.size);
  }

  resize(size) {
    if (size > this.room.length) {
      let room;
      try {
        room = new Uint8Array(Math.max(size, Math.min(2 * this.room.length, this.size + 2 ** 26)));
      } catch {
        fail("NOSPC");
      }
      room.set(this.bytes);
      this.room = room;
    } else if (size < this.size) {
      this.room.fill(0, size, this.size);
    }
    this.size = size;
    this.touch();
  }

  write(bytes, offset) {
    if (offset + bytes.length > this.size) this.resize(offset + bytes.length);
    this.room.set(bytes, offset);
    this.touch();
  }
}

class Folder extends Node {
  constructor() {
    super();
    this.entries = new Map();
  }

  get size() {
    return this.entries.size;
  }

  add(name, node) {
    this.entries.set(name, node);
    this.touch();
  }

  remove(name) {
    const node = this.entries.get(name);
    this.entries.delete(name);
    node.links -= 1;
    this.touch();
  }

  holds(node) {
    if (this === node) return true;
    for (const entry of this.entries.values()) {
      if (entry instanceof Folder && entry.holds(node)) return true;
    }
    return false;
  }
}

// Where a relative path leads: {folder, name, node}; the node is undefined where nothing is.
// The path "." and what ends in ".." have no name. What would leave the base is not permitted.
function locate(base, path) {
  if (path === "") fail("NOENT");
  if (path[0] === "/") fail("PERM");
  const words = path.split("/").filter((word) => word !== "" && word !== ".");
  const trail = [base];
  let found = { folder: null, name: null, node: base };
  for (const [index, word] of words.entries()) {
    const folder = trail[trail.length - 1];
    if (folder === undefined) fail("NOENT");
    if (!(folder instanceof Folder)) fail("NOTDIR");
    if (word === "..") {
      if (trail.length === 1) fail("PERM");
      trail.pop();
      found = { folder: null, name: null, node: trail[trail.length - 1] };
    } else {
      const node = folder.entries.get(word);
      trail.push(node);
      found = { folder, name: word, node };
    }
  }
  const asFolder = /\/\.?$/.test(path);
  if (asFolder && found.node instanceof File) fail("NOTDIR");
  return { ...found, asFolder };
}

function existing(base, path) {
  const found = locate(base, path);
  if (found.node === undefined) fail("NOENT");
  return found;
}

function rename(from, to) {
  if (from.name === null || to.name === null) fail("BUSY");
  if (from.node === to.node) return;
  if (from.node instanceof Folder) {
    if (from.node.holds(to.folder)) fail("INVAL");
    if (to.node instanceof File) fail("NOTDIR");
    if (to.node && to.node.size) fail("NOTEMPTY");
  } else {
    if (to.node instanceof Folder) fail("ISDIR");
    if (to.asFolder) fail("NOTDIR");
  }
  if (to.node) to.folder.remove(to.name);
  to.folder.add(to.name, from.node);
  from.folder.entries.delete(from.name);
  from.folder.touch();
}

// Absolute paths, as drivers and zips give them: what would go above the root stays there.
function wordsOf(path) {
  const words = [];
  for (const word of path.split("/")) {
    if (word === "..") words.pop();
    else if (word !== "" && word !== ".") words.push(word);
  }
  return words;
}

function makeFolder(root, words, path) {
  let folder = root;
  for (const word of words) {
    if (!folder.entries.has(word)) folder.add(word, new Folder());
    folder = folder.entries.get(word);
    if (!(folder instanceof Folder)) throw new Error(`${path}: ${word} is a file, not a folder`);
  }
  return folder;
}

function putFile(root, path, bytes) {
  const words = wordsOf(path);
  if (bytes === null) {
    makeFolder(root, words, path);
    return;
  }
  const name = words.pop();
  const folder = makeFolder(root, words, path);
  if (name === undefined || folder.entries.get(name) instanceof Folder) {
    throw new Error(`${path}: it is a folder, not a file`);
  }
  folder.add(name, new File(bytes));
}

function getFile(root, path) {
  let node = root;
  for (const word of wordsOf(path)) {
    node = node instanceof Folder ? node.entries.get(word) : undefined;
  }
  return node instanceof File ? node.bytes : null;
}
