// What a dedicated classic worker of a browser finds in its global scope, made of what deno has:
// no deno, no Node, no window, no storage, no network. See the HTML Standard, chapter 10 (Web
// workers), and the Fetch and XMLHttpRequest standards for what is imitated.

import { furnishRequests } from "./javascript_requests.js";

const SCRIPT = "http://localhost/algorithm.js";

// Where one of these exists, an Emscripten build takes its Node branch, a program could write to
// the disk or reach a driver of the machine, or a second worker would have them all again.
const HIDDEN = [
  "Deno", "process", "Buffer", "global", "setImmediate", "clearImmediate",
  "Window", "alert", "confirm", "prompt", "closed", "onload", "onbeforeunload", "onunload",
  "localStorage", "sessionStorage", "Storage", "caches", "CacheStorage", "Cache",
  "WebSocket", "WebSocketStream", "WebSocketError", "EventSource", "WebTransport",
  "BroadcastChannel", "Worker", "OffscreenCanvas", "ImageBitmap", "ImageBitmapRenderingContext",
  "createImageBitmap", "LockManager", "Lock", "Navigator", "NavigatorUAData",
];

function hide() {
  const names = Object.getOwnPropertyNames(globalThis);
  for (const name of names) {
    if (HIDDEN.includes(name) || name.startsWith("GPU")) delete globalThis[name];
  }
}

function define(name, value) {
  Object.defineProperty(globalThis, name, {
    value, writable: true, enumerable: true, configurable: true,
  });
}

// A class that scripts ask `self instanceof` of.
function scopeClass(name) {
  const made = {
    [name]: class {
      constructor() {
        throw new TypeError("Illegal constructor");
      }
      static [Symbol.hasInstance](value) {
        return value === globalThis;
      }
    },
  }[name];
  define(name, made);
}

function place() {
  const url = new URL(SCRIPT);
  const location = {};
  for (const part of ["href", "origin", "protocol", "host", "hostname", "port", "pathname"]) {
    location[part] = url[part];
  }
  location.search = location.hash = "";
  location.toString = () => SCRIPT;
  return Object.freeze(location);
}

// Loaders walk through the result files as through a list of paths, or as through an object whose
// keys are the paths: this is both. (`JSON.stringify` shows a list.)
function listAndKeys(paths) {
  const both = [...paths];
  for (let i = 0; i < paths.length; i++) Object.defineProperty(both, i, { enumerable: false });
  for (const path of paths) {
    Object.defineProperty(both, path, { value: path, enumerable: true, configurable: true });
  }
  return both;
}

const AGENT = "Mozilla/5.0 (Maniple)";

export function furnish({ console, postMessage, exit }) {
  const dispatch = globalThis.dispatchEvent.bind(globalThis);
  const listen = globalThis.addEventListener.bind(globalThis);
  const { getOwnPropertyDescriptor } = Object;
  const { apply } = Reflect;
  const Message = MessageEvent;
  const soon = queueMicrotask;

  hide();
  const publish = furnishRequests(SCRIPT);
  scopeClass("WorkerGlobalScope");
  scopeClass("DedicatedWorkerGlobalScope");
  define("self", globalThis);
  define("name", "");
  define("console", console);
  define("location", place());
  define("navigator", Object.freeze({
    userAgent: AGENT, appVersion: "5.0", appName: "Netscape", product: "Gecko",
    platform: "Linux", language: "en", languages: Object.freeze(["en"]),
    hardwareConcurrency: 1, onLine: false,
  }));
  define("postMessage", postMessage);
  define("close", () => exit(0));
  define("importScripts", () => {
    throw new DOMException(
      "importScripts finds nothing in the sandbox: an algorithm's loader must be one file",
      "NetworkError",
    );
  });
  define("Worker", class Worker {
    constructor() {
      throw new DOMException(
        "a worker inside an algorithm cannot be started in the sandbox", "NotSupportedError",
      );
    }
  });

  // The handler: assigned, or declared as a function of the script, which replaces the property.
  let handler = null;
  let listened = false;
  let held = null;
  const wanted = () => {
    if (held !== null && ready()) {
      const message = held;
      held = null;
      soon(() => dispatch(new Message("message", { data: message })));
    }
  };
  const ready = () => {
    const own = getOwnPropertyDescriptor(globalThis, "onmessage");
    return listened || typeof (own?.get === get ? handler : own?.value) === "function";
  };
  const get = () => handler;
  Object.defineProperty(globalThis, "onmessage", {
    get,
    set(value) {
      handler = value;
      wanted();
    },
    enumerable: true,
    configurable: true,
  });
  define("onmessageerror", null);
  listen("message", function (event) {
    const current = globalThis.onmessage;
    if (typeof current === "function") return apply(current, globalThis, [event]);
  });
  const add = EventTarget.prototype.addEventListener;
  define("addEventListener", function (type, ...rest) {
    apply(add, this ?? globalThis, [type, ...rest]);
    if (type === "message" && (this === undefined || this === globalThis)) {
      listened = true;
      wanted();
    }
  });

  return {
    script: SCRIPT,
    // The one message that a loader gets.
    message({ params, arguments: words, files, results }, wasm, data) {
      publish(".wasm", wasm, "application/wasm");
      let encoded;
      return {
        params,
        arguments: words,
        buffWasm: wasm,
        // seldom read beside the bytes, and a third longer
        get wasm() {
          return (encoded ??= wasm.toBase64());
        },
        data_link: data === null ? null : publish(".data.zip", data, "application/zip"),
        preload_files: files,
        result_files: listAndKeys(results),
      };
    },
    // Hand the message over; where nobody listens yet, as soon as somebody does.
    deliver(message) {
      if (ready()) dispatch(new Message("message", { data: message }));
      else held = message;
    },
  };
}
