"""Calls of small loaders in a sandbox, for tests."""

from contextlib import contextmanager

import msgspec

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Call, Code, Limits
from maniple.algorithm.javascript import JavascriptSandbox
from maniple.algorithm.sandbox import Parts
from maniple.runner import Cancel

EMPTY = b"\0asm\1\0\0\0"
MIB = 1 << 20
PATIENCE = 60.0


class Caller:
    """A sandbox, and a folder for the parts of what it calls."""

    def __init__(self, folder, **options):
        self.sandbox = JavascriptSandbox(**options)
        self._blobs = Blobs(str(folder / "blobs"))
        self._cache = str(folder / "cache")

    def parts(self, loader, wasm=EMPTY, data=None):
        put = self._blobs.put
        path = self._blobs.path
        return Parts(
            wasm=path(put(wasm)),
            cache=self._cache,
            loader=path(put(loader.encode())),
            data=None if data is None else path(put(data)),
        )

    def __call__(self, loader, params=(), *, wasm=EMPTY, data=None, cancel=None, **fields):
        fields.setdefault("limits", Limits(seconds=PATIENCE))
        call = Call(code=Code("0" * 64), params=msgspec.json.encode(list(params)), **fields)
        own = Cancel()
        try:
            return self.sandbox.run(call, self.parts(loader, wasm, data), cancel or own)
        finally:
            own.close()

    def value(self, loader, params=(), **fields):
        """Call what must answer; give its value."""
        answer = self(loader, params, **fields)
        assert answer.ok, answer
        return msgspec.json.decode(answer.value)

    def says(self, expression, params=(), **fields):
        """Give the value of an expression, in which `data` is the message; promises are awaited."""
        loader = (
            "onmessage = async ({ data }) => {"
            f" postMessage({{ body: await ({expression}) ?? null }}); }};"
        )
        return self.value(loader, params, **fields)


@contextmanager
def calling(folder, **options):
    caller = Caller(folder, **options)
    try:
        yield caller
    finally:
        caller.sandbox.close()
