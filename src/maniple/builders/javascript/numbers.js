// Calls an exported `main` of numbers. JavaScript would turn 2.5 into the integer 2, and does not
// say which types a function takes, so these are read from the module (WebAssembly Core
// Specification, chapter 5.5).

const NUMBER_TYPES = { 0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64" };
const SECTION = { TYPES: 1, FUNCTIONS: 3, EXPORTS: 7 };
const FUNCTION_TYPE = 0x60;
const FUNCTION = 0;
const HEADER_SIZE = 8;

class Reader {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    this.at += 1;
    return this.bytes[this.at - 1];
  }

  number() {
    let value = 0;
    for (let place = 1; ; place *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * place;
      if (byte < 0x80) return value;
    }
  }

  list(item) {
    return Array.from({ length: this.number() }, () => item());
  }

  name() {
    const size = this.number();
    this.at += size;
    return decodeText(this.bytes.subarray(this.at - size, this.at));
  }
}

// The types of the params of an exported function, in a module that imports nothing.
function paramTypes(wasm, wanted) {
  const reader = new Reader(wasm, HEADER_SIZE);
  const types = () => reader.list(() => NUMBER_TYPES[reader.byte()] || "no number");
  let signatures = [];
  let functions = [];
  while (reader.at < wasm.length) {
    const section = reader.byte();
    const size = reader.number();
    const end = reader.at + size;
    if (section === SECTION.TYPES) {
      signatures = reader.list(() => {
        if (reader.byte() !== FUNCTION_TYPE) throw new Error("a type that is not known here");
        const params = types();
        types();
        return params;
      });
    } else if (section === SECTION.FUNCTIONS) {
      functions = reader.list(() => reader.number());
    } else if (section === SECTION.EXPORTS) {
      for (let left = reader.number(); left > 0; left -= 1) {
        const name = reader.name();
        const kind = reader.byte();
        const index = reader.number();
        if (kind === FUNCTION && name === wanted) return signatures[functions[index]];
      }
    }
    reader.at = end;
  }
  throw new Error(`the module exports neither _start nor ${wanted}`);
}

function fitted(value, type, place) {
  const problem = `param ${place} of main is ${JSON.stringify(value)}`;
  if (typeof value !== "number") throw new Error(`${problem}, and not a number (${type})`);
  if (type === "f32" || type === "f64") return value;
  if (!Number.isInteger(value)) throw new Error(`${problem}, and not a whole number (${type})`);
  const bits = type === "i32" ? 32 : 64;
  if (value < -(2 ** (bits - 1)) || value >= 2 ** bits) {
    throw new Error(`${problem}, which is too large for ${type}`);
  }
  return type === "i64" ? BigInt(value) : value;
}

function numbersFor(wasm, params) {
  const types = paramTypes(wasm, "main");
  if (params.length !== types.length) {
    const wanted = types.join(", ");
    throw new Error(`main takes ${types.length} params (${wanted}), not ${params.length}`);
  }
  return params.map((param, index) => fitted(param, types[index], index + 1));
}

function jsonOf(result) {
  if (Array.isArray(result)) return `[${result.map(jsonOf).join(",")}]`;
  if (typeof result === "bigint") return String(result);
  return result === undefined ? "null" : JSON.stringify(result);
}
