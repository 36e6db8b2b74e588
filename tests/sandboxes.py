"""A sandbox for tests of what is around sandboxes: it does what the call's arguments say."""

from __future__ import annotations

import os
import select
import threading
import time

import msgspec

from maniple.algorithm.call import Answer
from maniple.algorithm.kind import Kind

KINDS = (Kind.WASI, Kind.LOADER)


class PaperSandbox:
    """Adds the params; `wait` runs until it is ended, `fail` fails, `print` prints.

    Attributes:
        calls: all that it has been given, with the limits.
    """

    def __init__(self, kind=Kind.WASI):
        self.kind = kind
        self.calls = []
        self.closed = False
        self.running = threading.Event()
        self._aborted = threading.Event()

    def run(self, call, parts, cancel):
        self.calls.append(call)
        start = time.time()
        self._aborted.clear()
        assert os.path.exists(parts.wasm)
        word = call.arguments[0] if call.arguments else ""
        if word == "wait":
            self.running.set()
            while not self._aborted.is_set():
                if select.select([cancel], [], [], 0.01)[0]:
                    break
            self.running.clear()
            return Answer(ok=False, cause="cancelled", error="cancelled", start=start)
        if word == "fail":
            return Answer(
                ok=False,
                cause="exit 3",
                error="exit status 3",
                stderr=b"first line\nthe reason\n",
                exit_code=3,
                start=start,
            )
        params = msgspec.json.decode(call.params)
        value = sum(params) if word != "params" else params
        files = {
            path: b"content of " + path.encode() for path in call.results if "gone" not in path
        }
        return Answer(
            ok=True,
            value=msgspec.json.encode(value),
            files=files,
            missing=[path for path in call.results if path not in files],
            stdout=b"printed\n" if word == "print" else b"",
            exit_code=0,
            start=start,
            end=time.time(),
        )

    def abort(self):
        self._aborted.set()

    def close(self):
        self.closed = True


class PaperMakers(dict):
    """Makers for `AlgorithmRunner` that remember what they made."""

    def __init__(self):
        super().__init__({kind: self._maker(kind) for kind in KINDS})
        self.made = {}

    def _maker(self, kind):
        def make():
            assert kind not in self.made
            self.made[kind] = PaperSandbox(kind)
            return self.made[kind]

        return make
