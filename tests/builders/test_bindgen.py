"""The loader around the JavaScript of wasm-bindgen, whichever version wrote it."""

import pytest

from classic_worker import in_deno, message_of
from maniple.builders.bindgen import bindgen_loader

# (func (export "main") (param f64) (result f64)): twice the number
TWICE = bytes.fromhex(
    "0061736d0100000001060160017c017c03020100070801046d61696e00000a0901070020002000a00b"
)
BEGIN = """
let wasm_bindgen;
(function () {
  let wasm;
  const __exports = {};
  __exports.main = function (number) {
    console.log("twice", number);
    console.warn({ a: 1 });
    return Float64Array.of(wasm.main(number));
  };
"""
OLD = """
  async function init(input) {
    const made = await WebAssembly.instantiate(await input, {});
    wasm = made.exports;
    return wasm;
  }
  wasm_bindgen = Object.assign(init, __exports);
})();
"""
LATER = """
  function initSync(module) {
    if (!(module instanceof WebAssembly.Module)) throw new Error("no module");
    wasm = new WebAssembly.Instance(module, {}).exports;
  }
  wasm_bindgen = Object.assign(() => {}, { initSync }, __exports);
})();
"""
NOW = """
  function initSync(module) {
    if (Object.getPrototypeOf(module) === Object.prototype) {
      ({module} = module)
    } else {
      throw new Error("deprecated");
    }
    wasm = new WebAssembly.Instance(module, {}).exports;
  }
  wasm_bindgen = Object.assign(() => {}, { initSync }, __exports);
})();
"""


@pytest.mark.parametrize("glue", [OLD, LATER, NOW])
def test_the_module_is_begun_as_each_version_wants_it(tmp_path, glue):
    loader = bindgen_loader("twice", BEGIN + glue)
    reply = in_deno(tmp_path, loader, message_of(TWICE, params=[21]))
    assert (reply.exit_code, reply.value) == (0, [42])
    assert reply.stdout == b"twice 21\n"
    assert reply.stderr == b'{"a":1}\n'


def test_what_cannot_be_begun_has_failed(tmp_path):
    loader = bindgen_loader("twice", BEGIN + NOW)
    reply = in_deno(tmp_path, loader, message_of(b"no module"))
    assert (reply.exit_code, reply.value) == (1, None)
    assert b"CompileError" in reply.stderr
