// fetch and XMLHttpRequest where there is no network: they find `data:` and `blob:` URLs, and
// beside the script the module and the starting file system of the package.

const OFFLINE = "there is no network in the sandbox";

const { apply } = Reflect;
const Bytes = Uint8Array;
const NativeBlob = Blob;
const NativeRequest = Request;
const nativeCreate = URL.createObjectURL;
const nativeRevoke = URL.revokeObjectURL;
const encoder = new TextEncoder();
const fromBase64 = Bytes.fromBase64;

// What blobs are made of: deno gives their content asynchronously only, and a synchronous
// XMLHttpRequest cannot wait.
const made = new WeakMap();

function piece(part) {
  if (part instanceof NativeBlob) return part;
  if (ArrayBuffer.isView(part)) {
    return new Bytes(part.buffer, part.byteOffset, part.byteLength).slice();
  }
  if (part instanceof ArrayBuffer || Object.prototype.toString.call(part) === "[object ArrayBuffer]") {
    return new Bytes(part).slice();
  }
  return String(part);
}

function join(pieces) {
  const all = pieces.map((part) =>
    typeof part === "string" ? encoder.encode(part) : part instanceof NativeBlob ? bytesOf(part) : part
  );
  const whole = new Bytes(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function bytesOf(blob) {
  const source = made.get(blob);
  if (source === undefined) throw new DOMException("this blob cannot be read at once", "NetworkError");
  if (Array.isArray(source)) return join(source);
  return bytesOf(source.blob).slice(source.start, source.end);
}

function remember(Native) {
  const Remembering = new Proxy(Native, {
    construct(target, [parts, ...rest], newTarget) {
      const list = parts === undefined ? [] : Array.from(parts, piece);
      const blob = Reflect.construct(target, [list, ...rest], newTarget);
      made.set(blob, list);
      return blob;
    },
  });
  Native.prototype.constructor = Remembering;
  return Remembering;
}

function rememberSlices() {
  const native = NativeBlob.prototype.slice;
  NativeBlob.prototype.slice = function slice(start = 0, end = this.size, type = "") {
    const blob = native.call(this, start, end, type);
    made.set(blob, { blob: this, start, end });
    return blob;
  };
}

// The content of a data: URL, as the Fetch Standard says, chapter 6.
function ofData(url) {
  const comma = url.indexOf(",");
  if (comma < 0) return null;
  let type = url.slice(5, comma).trim();
  let body = decodeBytes(url.slice(comma + 1).replace(/#.*$/s, ""));
  const coded = /;\x20*base64$/i.exec(type);
  if (coded) {
    type = type.slice(0, coded.index);
    const text = new TextDecoder("latin1").decode(body);
    try {
      body = fromBase64.call(Bytes, text.replace(/[\t\n\f\r\x20]/g, ""));
    } catch {
      return null;
    }
  }
  if (type.startsWith(";")) type = `text/plain${type}`;
  return { bytes: body, type: type || "text/plain;charset=US-ASCII" };
}

function decodeBytes(text) {
  if (!text.includes("%")) return encoder.encode(text);
  const source = encoder.encode(text);
  const out = new Bytes(source.length);
  let length = 0;
  for (let at = 0; at < source.length; at++) {
    const pair = source[at] === 0x25 ? String.fromCharCode(source[at + 1], source[at + 2]) : "";
    if (/^[0-9a-f]{2}$/i.test(pair)) {
      out[length++] = parseInt(pair, 16);
      at += 2;
    } else {
      out[length++] = source[at];
    }
  }
  return out.subarray(0, length);
}

export function furnishRequests(script) {
  const blobs = new Map(); // URL to blob
  const beside = new Map(); // ending to what is beside the script

  rememberSlices();
  globalThis.Blob = remember(NativeBlob);
  globalThis.File = remember(File);
  URL.createObjectURL = function createObjectURL(blob) {
    const url = nativeCreate.call(URL, blob);
    blobs.set(url, blob);
    return url;
  };
  URL.revokeObjectURL = function revokeObjectURL(url) {
    blobs.delete(String(url));
    nativeRevoke.call(URL, url);
  };

  // {bytes or blob, type} of what a URL names, or null.
  function find(address) {
    const text = String(address);
    if (/^data:/i.test(text)) return ofData(text);
    const blob = blobs.get(text.replace(/#.*$/s, ""));
    if (blob !== undefined) return { blob, type: blob.type };
    let url;
    try {
      url = new URL(text, script);
    } catch {
      return null;
    }
    if (url.origin !== new URL(script).origin) return null;
    for (const [ending, found] of beside) {
      if (url.pathname.endsWith(ending)) return found;
    }
    return null;
  }

  // relative to the script, as in a browser
  globalThis.Request = new Proxy(NativeRequest, {
    construct(target, [input, ...rest], newTarget) {
      const url = typeof input === "string" ? new URL(input, script).href : input;
      return Reflect.construct(target, [url, ...rest], newTarget);
    },
  });

  function headersOf(found, size) {
    return { "content-type": found.type, "content-length": String(size) };
  }

  globalThis.fetch = async function fetch(input, init) {
    const request = input instanceof NativeRequest ? input : null;
    const asked = request?.url ?? input;
    const signal = init?.signal ?? request?.signal;
    signal?.throwIfAborted();
    const found = find(asked);
    if (found === null) throw new TypeError(`fetch of ${String(asked).slice(0, 200)}: ${OFFLINE}`);
    const size = found.blob ? found.blob.size : found.bytes.length;
    return new Response(found.blob ?? found.bytes, { headers: headersOf(found, size) });
  };

  globalThis.XMLHttpRequest = requestClass((url) => {
    const found = find(url);
    if (found === null) return null;
    const bytes = found.bytes ?? bytesOf(found.blob);
    return { bytes, headers: headersOf(found, bytes.length) };
  });

  // Put something beside the script; return a URL that only this call knows.
  return function publish(ending, bytes, type) {
    beside.set(ending, { bytes, type });
    if (ending === ".wasm") return `${script}${ending}`;
    return URL.createObjectURL(new Blob([bytes], { type }));
  };
}

const EVENTS = [
  "readystatechange", "loadstart", "progress", "abort", "error", "load", "timeout", "loadend",
];

// XMLHttpRequest over what can be found at once.
function requestClass(find) {
  class XMLHttpRequestUpload extends EventTarget {}

  class XMLHttpRequest extends EventTarget {
    #method = "GET";
    #url = "";
    #async = true;
    #sent = false;
    #wanted = {};
    #type = null;
    #found = null;
    #cached;

    responseType = "";
    timeout = 0;
    withCredentials = false;
    upload = new XMLHttpRequestUpload();
    readyState = 0;
    status = 0;
    statusText = "";
    responseURL = "";
    responseXML = null;

    constructor() {
      super();
      for (const name of EVENTS) {
        this[`on${name}`] = null;
        this.addEventListener(name, (event) => {
          const handler = this[`on${name}`];
          if (typeof handler === "function") apply(handler, this, [event]);
        });
      }
    }

    open(method, url, asynchronous = true) {
      this.#method = String(method).toUpperCase();
      this.#url = String(url);
      this.#async = Boolean(asynchronous);
      this.#sent = false;
      this.#wanted = {};
      this.#forget();
      this.#state(1);
    }

    setRequestHeader(name, value) {
      this.#wanted[String(name).toLowerCase()] = String(value);
    }

    overrideMimeType(type) {
      this.#type = String(type);
    }

    send() {
      if (this.readyState !== 1 || this.#sent) {
        throw new DOMException("the request is not open", "InvalidStateError");
      }
      this.#sent = true;
      if (this.#async) {
        this.#tell("loadstart");
        setTimeout(() => this.#sent && this.#finish());
      } else if (!this.#load()) {
        throw new DOMException(`XMLHttpRequest of ${this.#url.slice(0, 200)}: ${OFFLINE}`, "NetworkError");
      }
    }

    abort() {
      if (this.#sent && this.readyState !== 4) {
        this.#sent = false;
        this.#forget();
        this.#state(4);
        this.#tell("abort");
        this.#tell("loadend");
      }
      this.readyState = 0;
    }

    getResponseHeader(name) {
      return this.#found?.headers[String(name).toLowerCase()] ?? null;
    }

    getAllResponseHeaders() {
      const headers = Object.entries(this.#found?.headers ?? {});
      return headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    }

    get response() {
      if (this.responseType === "" || this.responseType === "text") return this.#text();
      if (this.#found === null || this.readyState !== 4) return null;
      return (this.#cached ??= this.#as(this.responseType));
    }

    get responseText() {
      if (this.responseType !== "" && this.responseType !== "text") {
        throw new DOMException("the response is no text", "InvalidStateError");
      }
      return this.#text();
    }

    #text() {
      if (this.#found === null) return "";
      return (this.#cached ??= decodeText(this.#found.bytes, this.#type));
    }

    #as(kind) {
      const { bytes, headers } = this.#found;
      if (kind === "arraybuffer") return bytes.slice().buffer;
      if (kind === "blob") return new Blob([bytes], { type: this.#type ?? headers["content-type"] });
      try {
        return kind === "json" ? JSON.parse(new TextDecoder().decode(bytes)) : null;
      } catch {
        return null;
      }
    }

    #forget() {
      this.#found = null;
      this.#cached = undefined;
      this.status = 0;
      this.statusText = this.responseURL = "";
    }

    #load() {
      const found = this.#method === "GET" || this.#method === "HEAD" ? find(this.#url) : null;
      if (found === null) return false;
      let { bytes, headers } = found;
      const range = /^bytes=(\d+)-(\d*)$/.exec(this.#wanted.range ?? "");
      if (range) {
        const end = range[2] === "" ? bytes.length : Number(range[2]) + 1;
        bytes = bytes.slice(Number(range[1]), end);
        headers = { ...headers, "content-length": String(bytes.length) };
      }
      headers = { ...headers, "accept-ranges": "bytes" };
      this.#found = { bytes: this.#method === "HEAD" ? new Bytes(0) : bytes, headers };
      this.status = range ? 206 : 200;
      this.statusText = range ? "Partial Content" : "OK";
      this.responseURL = this.#url;
      if (!this.#async) this.readyState = 4;
      return true;
    }

    #finish() {
      let loaded = false;
      try {
        loaded = this.#load();
      } catch {
        this.#forget();
      }
      if (loaded) {
        this.#state(2);
        this.#state(3);
        this.#tell("progress");
      }
      this.#sent = false;
      this.#state(4);
      this.#tell(loaded ? "load" : "error");
      this.#tell("loadend");
    }

    #state(value) {
      this.readyState = value;
      this.dispatchEvent(new Event("readystatechange"));
    }

    #tell(name) {
      const size = this.#found?.bytes.length ?? 0;
      const about = { loaded: size, total: size, lengthComputable: this.#found !== null };
      this.dispatchEvent(new ProgressEvent(name, about));
    }
  }

  ["UNSENT", "OPENED", "HEADERS_RECEIVED", "LOADING", "DONE"].forEach((name, value) => {
    XMLHttpRequest[name] = XMLHttpRequest.prototype[name] = value;
  });
  return XMLHttpRequest;
}

function decodeText(bytes, type) {
  const charset = /charset=([^;\s]+)/i.exec(type ?? "")?.[1] ?? "utf-8";
  if (charset.toLowerCase() === "x-user-defined") {
    // bytes from 0x80 on are the private letters from U+F780 on
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte < 0x80 ? byte : 0xf700 + byte);
    return text;
  }
  return new TextDecoder(charset).decode(bytes);
}
