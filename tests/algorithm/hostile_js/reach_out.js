// Answers all that it could reach and should not have.
onmessage = async (event) => {
  const [path, url] = event.data.params;
  const reached = [];
  const ways = {
    deno: () => Deno.readTextFileSync(path),
    environment: () => Deno.env.toObject(),
    process: () => process.env,
    internal: () => globalThis[Object.getOwnPropertySymbols(globalThis)[0]].internal,
    require: () => require("fs").readFileSync(path),
    importFile: () => import(`file://${path}`),
    importText: () => import(`file://${path}`, { with: { type: "text" } }),
    importBytes: () => import(`file://${path}`, { with: { type: "bytes" } }),
    importJson: () => import(`file://${path}`, { with: { type: "json" } }),
    importWeb: () => import(`${url}/x.js`),
    importNpm: () => import("npm:chalk"),
    importJsr: () => import("jsr:@std/fs"),
    importExt: () => import("ext:core/ops"),
    importBare: () => import("fs"),
    fetchFile: () => fetch(`file://${path}`).then((response) => response.text()),
    fetchPath: () => fetch(path).then((response) => response.text()),
    fetchWeb: () => fetch(url),
    fetchRequest: () => fetch(new Request(url)),
    fetchEnvironment: () => fetch("file:///proc/self/environ").then((response) => response.text()),
    request: () => {
      const request = new XMLHttpRequest();
      request.open("GET", url, false);
      request.send();
      return request.response;
    },
    requestFile: () => {
      const request = new XMLHttpRequest();
      request.open("GET", `file://${path}`, false);
      request.send();
      return request.response;
    },
    socket: () => new WebSocket(url.replace("http", "ws")),
    stream: () => new WebSocketStream(url.replace("http", "ws")),
    events: () => new EventSource(url),
    transport: () => new WebTransport(url),
    scripts: () => importScripts(url),
    worker: () => new Worker(url),
    workerData: () => new Worker("data:text/javascript,1", { type: "module" }),
    storage: () => localStorage.setItem("a", "b") ?? "kept",
    caches: () => caches.open("a"),
    gpu: () => navigator.gpu.requestAdapter(),
    node: () => globalThis.global.process,
    prototype: () => new (Object.getPrototypeOf(globalThis).constructor)(),
    getter: () => Object.getPrototypeOf(console).constructor.constructor("return Deno")(),
  };
  const modules = [
    "fs", "process", "child_process", "net", "http", "https", "dns", "os", "v8", "vm", "module",
    "worker_threads", "inspector", "cluster", "sqlite", "test", "wasi", "repl", "tty", "dgram", "tls",
  ];
  for (const name of modules) ways[`node:${name}`] = () => import(`node:${name}`);
  for (const [name, way] of Object.entries(ways)) {
    try {
      const found = await way();
      if (found !== undefined && found !== null) reached.push(`${name}: ${String(found).slice(0, 80)}`);
    } catch { /* as it should be */ }
  }
  postMessage({ body: reached });
};
