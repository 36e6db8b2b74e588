// Base64, gzip and zip. Browsers bring the hard parts; what one lacks is done without.

function toBase64(bytes) {
  const words = [];
  for (let at = 0; at < bytes.length; at += 0x8000) {
    words.push(String.fromCharCode.apply(null, bytes.subarray(at, at + 0x8000)));
  }
  return btoa(words.join(""));
}

function fromBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

function joined(chunks) {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

async function through(transform, bytes) {
  const writer = transform.writable.getWriter();
  const reader = transform.readable.getReader();
  const chunks = [];
  const written = writer.write(bytes).then(() => writer.close());
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
  }
  await written;
  return joined(chunks);
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc;
}

// RFC 1952 around RFC 1951 blocks that are stored as they are.
function gzipStored(bytes) {
  const chunks = [new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])];
  let at = 0;
  do {
    const block = bytes.subarray(at, at + 0xffff);
    at += block.length;
    const head = new DataView(new ArrayBuffer(5));
    head.setUint8(0, at === bytes.length ? 1 : 0);
    head.setUint16(1, block.length, true);
    head.setUint16(3, ~block.length, true);
    chunks.push(new Uint8Array(head.buffer), block);
  } while (at < bytes.length);
  const tail = new DataView(new ArrayBuffer(8));
  tail.setInt32(0, crc32(bytes), true);
  tail.setUint32(4, bytes.length, true);
  chunks.push(new Uint8Array(tail.buffer));
  return joined(chunks);
}

const WORTH_COMPRESSING = 512;

async function gzip(bytes) {
  if (bytes.length < WORTH_COMPRESSING || typeof CompressionStream !== "function") {
    return gzipStored(bytes);
  }
  return through(new CompressionStream("gzip"), bytes);
}

const ZIP_END = 0x06054b50;
const ZIP_ENTRY = 0x02014b50;
const ZIP64_MARK = 0xffffffff;
const STORED = 0;
const DEFLATED = 8;

// Reads a zip (PKWARE's APPNOTE): calls `put` with the name and the bytes of each entry, in order;
// a folder has null for bytes.
async function unzip(bytes, put) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== ZIP_END) end -= 1;
  if (end < 0) throw new Error("the file system of this algorithm is not a zip");
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  for (let entry = 0; entry < count; entry += 1) {
    if (view.getUint32(at, true) !== ZIP_ENTRY) throw new Error("the zip is damaged");
    const method = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 20, true);
    const nameSize = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    if (size === ZIP64_MARK || local === ZIP64_MARK) throw new Error("the zip is in ZIP64");
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameSize));
    at += 46 + nameSize + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.slice(start, start + size);
    if (name.endsWith("/")) {
      put(name, null);
    } else if (method === STORED) {
      put(name, packed);
    } else if (method === DEFLATED) {
      put(name, await through(new DecompressionStream("deflate-raw"), packed));
    } else {
      throw new Error(`${name}: compressed in a way (${method}) that is not read here`);
    }
  }
}
