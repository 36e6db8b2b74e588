onmessage = (event) => {
  const bad = () => { throw new Error("polluted"); };
  const define = Reflect.defineProperty;
  const prototypes = [Map, WeakMap, RegExp, Promise, Uint8Array, Function, String, Array, Object, Number];
  const all = prototypes.map((made) => [made.prototype, Reflect.ownKeys(made.prototype)]);
  all.push([Object.getPrototypeOf(Uint8Array.prototype), ["set", "subarray", "slice"]]);
  all.push([MessageEvent.prototype, ["data"]], [EventTarget.prototype, ["dispatchEvent"]]);
  all.push([JSON, ["parse", "stringify"]], [Reflect, Reflect.ownKeys(Reflect)]);
  all.push([globalThis, ["Uint8Array", "String", "Promise", "TextEncoder", "Error", "queueMicrotask"]]);
  for (let i = 0; i < all.length; i++) {
    const [target, names] = [all[i][0], all[i][1]];
    for (let j = 0; j < names.length; j++) {
      if (names[j] === "constructor" || names[j] === "length" || names[j] === "prototype" || names[j] === Symbol.iterator) continue;
      const change = { __proto__: null, value: bad, configurable: true, writable: true };
      define(target, names[j], change);
    }
  }
  define(Array.prototype, Symbol.iterator, { __proto__: null, value: bad });
  define(Object.prototype, "get", { __proto__: null, value: bad });
  postMessage({ body: "as ever" });
};
