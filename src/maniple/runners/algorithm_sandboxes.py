"""The sandboxes of one process: made when the first call needs them, kept for those after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

from maniple.algorithm.call import Code
from maniple.algorithm.kind import Kind, kind_of
from maniple.algorithm.sandbox import Parts, Sandbox
from maniple.errors import AlgorithmError, MissingExtraError
from maniple.plugins import missing_extra

_REMEMBERED: Final = 4096


def wasi_sandbox() -> Sandbox:
    """Make the sandbox for WASI modules.

    Raises:
        MissingExtraError: wasmtime is not installed.
    """
    from maniple.algorithm.wasi import WasiSandbox

    return WasiSandbox()


def loader_sandbox() -> Sandbox:
    """Make the sandbox for modules with a JavaScript loader.

    Raises:
        MissingExtraError: deno is not installed.
    """
    from maniple.algorithm.javascript import JavascriptSandbox

    return JavascriptSandbox()


MAKERS: Final[Mapping[Kind, Callable[[], Sandbox]]] = {
    Kind.WASI: wasi_sandbox,
    Kind.LOADER: loader_sandbox,
}


def require(kind: Kind) -> None:
    """Make sure that what runs this kind of algorithm is installed, before any call.

    Raises:
        MissingExtraError: it is not.
    """
    if kind is Kind.LOADER:
        from maniple.algorithm.javascript_command import find_deno

        find_deno()
    elif find_spec("wasmtime") is None:
        raise missing_extra("wasmtime", "running a WASI algorithm")


class Sandboxes:
    """Gives the sandbox that an algorithm needs.

    Args:
        makers: what makes one of each kind.
    """

    def __init__(self, makers: Mapping[Kind, Callable[[], Sandbox]] | None = None) -> None:
        self._makers = MAKERS if makers is None else makers
        self._made: dict[Kind, Sandbox] = {}
        self._kinds: dict[tuple[str, bool], Kind] = {}

    def of(self, code: Code, parts: Parts) -> Sandbox:
        """Give the sandbox that runs this code.

        Raises:
            AlgorithmError: the module is missing, or no sandbox can run it.
            MissingExtraError: the library of its sandbox is not installed.
        """
        kind = self._kind(code, parts)
        sandbox = self._made.get(kind)
        if sandbox is None:
            try:
                sandbox = self._made[kind] = self._makers[kind]()
            except ImportError as error:
                raise MissingExtraError(f"the sandbox cannot be loaded: {error}") from None
        return sandbox

    def _kind(self, code: Code, parts: Parts) -> Kind:
        key = (code.wasm, parts.loader is not None)
        kind = self._kinds.get(key)
        if kind is None:
            try:
                with open(parts.wasm, "rb") as file:
                    wasm = file.read()
            except OSError as error:
                raise AlgorithmError(
                    f"cannot read the module of {code.name or code.wasm}: {error.strerror}"
                ) from None
            if len(self._kinds) >= _REMEMBERED:
                self._kinds.clear()
            kind = self._kinds[key] = kind_of(wasm, loader=parts.loader is not None)
        return kind

    def close(self) -> None:
        """Close all that were made."""
        while self._made:
            self._made.popitem()[1].close()
