"""The other sides of the algorithms: algorithm_bare.py WHAT ..., with no limits and no hub.

Prints the figures as a JSON object.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time


def wasmtime_in_process(module, number):
    """Time warm calls with wasmtime's own API: a store, a folder and the run; nothing limited."""
    import wasmtime

    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    compiled = wasmtime.Module.from_file(engine, module)
    data = bytes(range(256)) * 4
    spent = []
    for _ in range(int(number)):
        start = time.perf_counter()
        os.mkdir("folder")
        with open("folder/in.bin", "wb") as file:
            file.write(data)
        config = wasmtime.WasiConfig()
        config.preopen_dir("folder", "/")
        config.stdout_file = "stdout"
        store = wasmtime.Store(engine)
        store.set_wasi(config)
        try:
            linker.instantiate(store, compiled).exports(store)["_start"](store)
        except wasmtime.ExitTrap as trap:
            if trap.code:
                raise
        with open("folder/out.bin", "rb") as file:
            assert file.read() == data
        shutil.rmtree("folder")
        spent.append((time.perf_counter() - start) * 1000)
    return {"median": statistics.median(spent)}


def deno_cold(loader, number):
    """Time a new process of deno for each call, with the loader as a module's text."""
    import deno

    with open(loader, encoding="utf-8") as file:
        text = file.read()
    host = (
        "const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,7,1,3,111,"
        "110,101,0,0,10,6,1,4,0,65,1,11]);\n"
        "globalThis.postMessage = (message) => console.log(JSON.stringify(message.body));\n"
        f"let onmessage;\n{text}\n"
        "onmessage({ data: { buffWasm: wasm } });\n"
    )
    with open("host.js", "w", encoding="utf-8") as file:
        file.write(host)
    command = [deno.find_deno_bin(), "run", "--no-remote", "--no-config", "host.js"]
    spent = []
    for _ in range(int(number)):
        start = time.perf_counter()
        ran = subprocess.run(command, check=True, capture_output=True)
        spent.append((time.perf_counter() - start) * 1000)
        assert ran.stdout.strip() == b"1", ran.stdout
    return {"median": statistics.median(spent)}


def native(program, *arguments):
    """Time a native program from start to end."""
    start = time.perf_counter()
    subprocess.run([program, *arguments], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    chosen = {"wasmtime": wasmtime_in_process, "deno": deno_cold, "native": native}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
