"""Running one module with wasmtime: imported by the child of a WASI sandbox only."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec
import wasmtime

from maniple.algorithm.call import NULL, Limits
from maniple.algorithm.ends import End, Over, over
from maniple.algorithm.wasi_memory import Memories

_MEMORIES: Final = 16
_TABLES: Final = 16
_EXIT_MASK: Final = 0xFF
_BITS: Final = {"i32": 32, "i64": 64}
_FULL: Final = ("out of memory", "resource limit exceeded", "failed to allocate")
_UNKNOWN: Final = "unknown import"
_LONGEST: Final = 1000
_FRAMES: Final = 3
_FRAME: Final = re.compile(r"\d+:\s+(0x[0-9a-f]+ - .*|<unknown>!.*)")
_TITLES: Final = frozenset({"Caused by:", "error while executing at wasm backtrace:"})


class GuestError(Exception):
    """The guest's call failed; holds the end that says how."""

    def __init__(self, end: End, exit_code: int | None = None) -> None:
        super().__init__(end.error)
        self.end = end
        self.exit_code = exit_code


class _GuestExit(Exception):  # noqa: N818 - it may be a success
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _exit(code: int) -> None:
    raise _GuestExit(code)


class Engine:
    """One engine of wasmtime, and the modules that it has loaded.

    There are no epochs and no fuel: they double the time of a tight inner loop (k-means: 0.30 s
    without, 0.54 s with epochs). A guest that must end is ended with its process.

    Args:
        memory_passed: called when the running guest wants more memory than its limit; does not
            return.
    """

    def __init__(self, memory_passed: Callable[[], None]) -> None:
        config = wasmtime.Config()
        config.cranelift_opt_level = "speed"
        config.wasm_memory64 = False
        config.wasm_threads = False
        config.wasm_gc = False
        config.memory_init_cow = False  # it needs memories of wasmtime's own making
        self._memories = Memories(memory_passed)
        self._memories.join(config)
        self._engine = wasmtime.Engine(config)
        self._linker = wasmtime.Linker(self._engine)
        self._linker.define_wasi()
        # wasmtime's own refuses codes from 126 on
        self._linker.allow_shadowing = True
        self._linker.define_func(
            "wasi_snapshot_preview1",
            "proc_exit",
            wasmtime.FuncType([wasmtime.ValType.i32()], []),
            _exit,
        )
        self._modules: dict[str, tuple[wasmtime.Module, wasmtime.InstancePre]] = {}

    def compile(self, wasm: bytes) -> bytes:
        """Make machine code of a module.

        Raises:
            GuestError: it is not a valid module.
        """
        try:
            return bytes(wasmtime.Module(self._engine, wasm).serialize())
        except wasmtime.WasmtimeError as error:
            raise GuestError(
                End("bad module", f"the module is not valid: {_line(error)}")
            ) from None

    def load(self, digest: str, code: bytes) -> None:
        """Take machine code that `compile` made, once for many calls.

        Raises:
            GuestError: it was made by another version, or the module imports what is not there.
        """
        try:
            module = wasmtime.Module.deserialize(self._engine, code)
            self._modules[digest] = module, self._linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            text = _line(error)
            if _UNKNOWN in text:
                text = f"the module imports what a WASI program cannot have here: {text}"
            raise GuestError(End("bad module", text)) from None

    def forget(self, digest: str) -> None:
        """Give a module's memory back."""
        self._modules.pop(digest, None)

    def run(
        self, digest: str, streams: wasmtime.WasiConfig, params: bytes, limits: Limits
    ) -> bytes | None:
        """Run a loaded module to its end.

        Args:
            digest: of the module.
            streams: what the guest gets: arguments, files, standard input and output.
            params: the JSON of a list, for a `main` that is called directly.
            limits: of the call.

        Returns:
            The JSON of what `main` returned, or None when the module was a command.

        Raises:
            GuestError: it failed, or exited with another code than 0.
        """
        _module, prepared = self._modules[digest]
        self._memories.limit = limits.memory
        with wasmtime.Store(self._engine) as store:
            # memories are limited where they are made; what a table or an exception needs beyond
            # what the kernel lets the process have ends the call with "out of memory"
            store.set_limits(instances=1, tables=_TABLES, memories=_MEMORIES)
            store.set_wasi(streams)
            try:
                exports = prepared.instantiate(store).exports(store)
                start = _function(exports, "_start")
                if start is not None:
                    start(store)
                    return None
                begin = _function(exports, "_initialize")
                if begin is not None:
                    begin(store)
                return _call_main(store, exports, params)
            except _GuestExit as error:
                if error.code == 0:
                    return None
                # as a shell would show it; 256 would be 0 there, and is no success
                code = error.code & _EXIT_MASK or error.code
                raise GuestError(End(f"exit {code}", f"exit status {code}"), code) from None
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                raise GuestError(_end_of(error, limits)) from None


def _end_of(error: Exception, limits: Limits) -> End:
    if any(word in _reason(error) for word in _FULL):
        return over(Over.MEMORY, limits)
    return End("trap", f"trap: {_line(error)}")


def _line(error: Exception) -> str:
    """Put the message of wasmtime into one line: the reason, then the innermost functions."""
    frames = [match[1] for line in str(error).splitlines() if (match := _FRAME.match(line.strip()))]
    where = f" (in {', '.join(frames[:_FRAMES])})" if frames else ""
    return f"{_reason(error)}{where}"


def _reason(error: Exception) -> str:
    """Take the names out, which the module may have made up."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not _FRAME.match(line) and line not in _TITLES]
    return "; ".join(line.removeprefix("wasm trap: ") for line in said)[:_LONGEST]


def _function(exports: Any, name: str) -> wasmtime.Func | None:
    found = exports.get(name)
    return found if isinstance(found, wasmtime.Func) else None


def _call_main(store: wasmtime.Store, exports: Any, params: bytes) -> bytes:
    main = _function(exports, "main")
    if main is None:
        raise GuestError(End("bad module", "the module exports neither _start nor main"))
    kind = main.type(store)
    wanted = [str(param) for param in kind.params]
    foreign = [
        word
        for word in [*wanted, *map(str, kind.results)]
        if word not in {"i32", "i64", "f32", "f64"}
    ]
    if foreign:
        raise GuestError(
            End("bad module", f"main takes or returns {foreign[0]}, which is no number")
        )
    given = _params(params)
    if len(given) != len(wanted):
        raise GuestError(
            End(
                "bad params",
                f"main takes {len(wanted)} params ({', '.join(wanted)}), not {len(given)}",
            )
        )
    numbers = [
        _number(value, word, at)
        for at, (value, word) in enumerate(zip(given, wanted, strict=True), 1)
    ]
    value = main(store, *numbers)
    return NULL if value is None else msgspec.json.encode(value)


def _params(params: bytes) -> list[Any]:
    try:
        given = msgspec.json.decode(params)
    except msgspec.DecodeError:
        given = None
    if not isinstance(given, list):
        raise GuestError(End("bad params", "the params are not the JSON of a list"))
    return given


def _number(value: Any, word: str, at: int) -> int | float:
    """Fit one param to the type that `main` declares for it."""
    problem = f"param {at} of main is {msgspec.json.encode(value)[:80].decode(errors='replace')}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GuestError(End("bad params", f"{problem}, and not a number ({word})"))
    bits = _BITS.get(word)
    if bits is None:
        try:
            return (
                float(struct.unpack("f", struct.pack("f", value))[0])
                if word == "f32"
                else float(value)
            )
        except OverflowError:
            raise GuestError(
                End("bad params", f"{problem}, which is too large for {word}")
            ) from None
    if isinstance(value, float):
        if not value.is_integer():
            raise GuestError(End("bad params", f"{problem}, and not a whole number ({word})"))
        value = int(value)
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise GuestError(End("bad params", f"{problem}, which is too large for {word}"))
    return int(value) - (1 << bits) if value >= 1 << (bits - 1) else int(value)
