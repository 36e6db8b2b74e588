"""Our side of the algorithms: algorithm_maniple.py WHAT ... (see the functions).

Prints the figures as a JSON object.
"""

import json
import statistics
import sys
import time

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.sandbox import Parts
from maniple.runner import Cancel

WARM_UP = 5


def one(sandbox, wasm, loader=None):
    """Make a function that runs one call and returns its answer and milliseconds."""
    blobs = Blobs("blobs")
    parts = Parts(
        wasm=blobs.path(blobs.put(wasm)),
        cache="cache",
        loader=None if loader is None else blobs.path(blobs.put(loader)),
    )
    code = Code(digest_of(wasm), None if loader is None else digest_of(loader), None, "x@1")
    cancel = Cancel()

    def run(**fields):
        call = Call(code, limits=Limits(), **fields)
        start = time.perf_counter()
        answer = sandbox.run(call, parts, cancel)
        spent = time.perf_counter() - start
        if not answer.ok:
            sys.exit(f"the call failed: {answer.error}")
        return answer, spent * 1000

    return run


def wasi(module, number):
    """Time warm calls with a file in and a file out."""
    from maniple.algorithm.wasi import WasiSandbox

    sandbox = WasiSandbox()
    with open(module, "rb") as file:
        run = one(sandbox, file.read())
    data = bytes(range(256)) * 4
    spent = []
    for _ in range(int(number) + WARM_UP):
        answer, took = run(files={"/in.bin": data}, results=["/out.bin"])
        assert answer.files["/out.bin"] == data
        spent.append(took)
    sandbox.close()
    return spread(spent[WARM_UP:])


def javascript(loader, number):
    """Time warm calls one after the other, each in a fresh process."""
    import wasmtime

    from maniple.algorithm.javascript import JavascriptSandbox

    sandbox = JavascriptSandbox()
    wasm = wasmtime.wat2wasm('(module (func (export "one") (result i32) i32.const 1))')
    with open(loader, "rb") as file:
        run = one(sandbox, bytes(wasm), file.read())
    spent = []
    for _ in range(int(number) + WARM_UP):
        answer, took = run()
        assert answer.value == b"1"
        spent.append(took)
    sandbox.close()
    return spread(spent[WARM_UP:])


def kmeans(module, *arguments):
    """Time one long call."""
    from maniple.algorithm.wasi import WasiSandbox

    sandbox = WasiSandbox()
    with open(module, "rb") as file:
        run = one(sandbox, file.read())
    run(arguments=["10", "2", "2", "1"])
    _, took = run(arguments=list(arguments))
    sandbox.close()
    return {"seconds": took / 1000}


def spread(milliseconds):
    """Median and 99th percentile."""
    ordered = sorted(milliseconds)
    return {"median": statistics.median(ordered), "p99": ordered[int(len(ordered) * 0.99)]}


if __name__ == "__main__":
    chosen = {"wasi": wasi, "javascript": javascript, "kmeans": kmeans}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
