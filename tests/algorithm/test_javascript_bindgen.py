"""Loaders that were made with wasm-bindgen run as they are."""

import pytest

from javascript_calls import calling


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    with calling(tmp_path_factory.mktemp("javascript")) as caller:
        yield caller


# As `wasm-bindgen --target no-modules` writes it, around the module below: strings go through the
# module's memory, JavaScript's values through a table of objects.
BINDGEN = r"""
let wasm_bindgen;
(function() {
    const __exports = {};
    let script_src;
    if (typeof document !== 'undefined' && document.currentScript !== null) {
        script_src = new URL(document.currentScript.src, location.href).toString();
    }
    let wasm = undefined;
    const heap = new Array(128).fill(undefined);
    heap.push(undefined, null, true, false);
    let heap_next = heap.length;
    function addHeapObject(obj) {
        if (heap_next === heap.length) heap.push(heap.length + 1);
        const idx = heap_next;
        heap_next = heap[idx];
        heap[idx] = obj;
        return idx;
    }
    const cachedTextDecoder = (typeof TextDecoder !== 'undefined' ? new TextDecoder('utf-8', { ignoreBOM: true, fatal: true }) : { decode: () => { throw Error('TextDecoder not available') } } );
    if (typeof TextDecoder !== 'undefined') { cachedTextDecoder.decode(); };
    __exports.main = function(input, factor) {
        const index = addHeapObject(input);
        const ret = wasm.main(index, factor);
        return heap[index].map((x) => x * ret);
    };
    async function __wbg_load(module, imports) {
        if (typeof Response === 'function' && module instanceof Response) {
            if (typeof WebAssembly.instantiateStreaming === 'function') {
                return await WebAssembly.instantiateStreaming(module, imports);
            }
            return await WebAssembly.instantiate(await module.arrayBuffer(), imports);
        }
        const instance = await WebAssembly.instantiate(module, imports);
        if (instance instanceof WebAssembly.Instance) return { instance, module };
        return instance;
    }
    async function __wbg_init(input) {
        if (typeof input === 'undefined' && typeof script_src !== 'undefined') {
            input = script_src.replace(/\.js$/, '_bg.wasm');
        }
        if (typeof input === 'string' || (typeof Request === 'function' && input instanceof Request) || (typeof URL === 'function' && input instanceof URL)) {
            input = fetch(input);
        }
        const { instance, module } = await __wbg_load(await input, { wbg: {} });
        wasm = instance.exports;
        return wasm;
    }
    wasm_bindgen = Object.assign(__wbg_init, __exports);
})();
"""

# (module (func (export "main") (param i32 i32) (result i32) local.get 1))
SECOND = (
    b"\0asm\1\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\x00"
    b"\x07\x08\x01\x04main\x00\x00\x0a\x06\x01\x04\x00\x20\x01\x0b"
)


@pytest.mark.parametrize(
    "source",
    [
        "data.buffWasm",
        "data.buffWasm.buffer",
        "Uint8Array.from(atob(data.wasm), (c) => c.charCodeAt(0))",
        "URL.createObjectURL(new Blob([data.buffWasm], { type: 'application/wasm' }))",
        "new Response(data.buffWasm, { headers: { 'Content-Type': 'application/wasm' } })",
        "new Request('kmeans_bg.wasm')",
    ],
)
def test_glue_of_wasm_bindgen_runs_as_it_is(call, source):
    loader = (
        f"{BINDGEN}\nself.onmessage = async (event) => {{ const data = event.data;"
        f" await wasm_bindgen({source});"
        " postMessage({ body: wasm_bindgen.main(...data.params), stdout: null, stderr: null }); };"
    )
    assert call.value(loader, [[1, 2.5], 3], wasm=SECOND) == [3, 7.5]
