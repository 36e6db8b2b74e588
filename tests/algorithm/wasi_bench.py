"""A WASI sandbox with what its tests need around it."""

import msgspec

from algorithm.wasi_programs import compiled, need
from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.wasi import WasiSandbox
from maniple.runner import Cancel

MIB = 1 << 20
PATIENCE = 60.0


class Bench:
    """Runs programs of `hostile/` and modules in text form in one sandbox."""

    def __init__(self, tmp_path, **options):
        need("wasmtime")
        self.sandbox = WasiSandbox(**options)
        self.cancel = Cancel()
        self.cache = tmp_path / "cache"
        self._blobs = Blobs(str(tmp_path / "blobs"))

    def run(self, name, params=(), **fields):
        return self.run_wasm(compiled(name), params, name=name, **fields)

    def run_wat(self, text, params=(), **fields):
        import wasmtime

        return self.run_wasm(bytes(wasmtime.wat2wasm(text)), params, **fields)

    def run_wasm(self, wasm, params=(), *, name="", data=None, **fields):
        code = Code(digest_of(wasm), data=None if data is None else digest_of(data), name=name)
        parts = Parts(
            wasm=self._blobs.path(self._blobs.put(wasm)),
            cache=str(self.cache),
            data=None if data is None else self._blobs.path(self._blobs.put(data)),
        )
        fields.setdefault("limits", Limits(seconds=PATIENCE, memory=64 * MIB, disk=16 * MIB))
        if not isinstance(params, bytes):
            params = msgspec.json.encode(list(params))
        return self.sandbox.run(Call(code=code, params=params, **fields), parts, self.cancel)

    def learn(self, name):
        """Have a program's machine code kept, even of one that does not end by itself."""
        digest, seconds = digest_of(compiled(name)), 0.1
        while not list(self.cache.glob(f"{digest}-*.cwasm")):
            # compiling counts as well, and takes longer on a busy machine
            self.run(name, limits=Limits(seconds=seconds))
            seconds *= 2

    def works(self):
        """The next call runs as if nothing had been."""
        answer = self.run("remember")
        assert (answer.ok, answer.value) == (True, b"false"), answer

    @property
    def pid(self):
        """The process of the sandbox."""
        return self.sandbox._process.pid

    def close(self):
        self.sandbox.close()
        self.cancel.close()


def ended(answer, cause, *words):
    """The answer is a failure for this cause, and its one line holds these words."""
    assert (answer.ok, answer.cause) == (False, cause), (answer.cause, answer.error)
    for word in words:
        assert word in answer.error
    assert "\n" not in answer.error
    return answer
