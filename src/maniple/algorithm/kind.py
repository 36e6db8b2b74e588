"""Which sandbox a module needs: told by what it imports and exports, without running it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from maniple.errors import AlgorithmError

MAGIC: Final = b"\0asm\1\0\0\0"
WASI_MODULE: Final = "wasi_snapshot_preview1"
_IMPORTS: Final = 2
_EXPORTS: Final = 7
_LIMIT_FLAGS_MAX: Final = 1
_FUNCTION: Final = 0


class Kind(StrEnum):
    """How a module is run.

    `WASI`: it imports nothing but WASI (preview 1) and exports `_start`, or imports nothing and
    exports `main`: wasmtime runs it. `LOADER`: it needs the JavaScript beside it.
    """

    WASI = "wasi"
    LOADER = "loader"


class Surface:
    """What a module imports and exports.

    Attributes:
        imports: the names of the modules it imports from.
        exports: the names of the functions it exports.
    """

    def __init__(self, imports: set[str], exports: set[str]) -> None:
        self.imports = imports
        self.exports = exports


def surface_of(wasm: bytes) -> Surface:
    """Read a module's import and export sections.

    The binary format is that of the WebAssembly Core Specification, chapter 5.5.

    Raises:
        AlgorithmError: the bytes are no WebAssembly module.
    """
    if wasm[:8] != MAGIC:
        raise AlgorithmError("not a WebAssembly module: the file does not begin with its magic")
    imports: set[str] = set()
    exports: set[str] = set()
    try:
        reader = _Reader(wasm, len(MAGIC))
        while reader.at < len(wasm):
            section, size = reader.byte(), reader.number()
            end = reader.at + size
            if section == _IMPORTS:
                imports.update(_imports(reader))
            elif section == _EXPORTS:
                exports.update(_exports(reader))
            reader.at = end
    except (IndexError, UnicodeDecodeError):
        raise AlgorithmError("not a whole WebAssembly module: it is cut off or damaged") from None
    return Surface(imports, exports)


def kind_of(wasm: bytes, *, loader: bool) -> Kind:
    """Tell how a module is run.

    Args:
        wasm: the module.
        loader: whether JavaScript stands beside it.

    Raises:
        AlgorithmError: the bytes are no module, or nothing here can run it.
    """
    surface = surface_of(wasm)
    entries = {"_start", "main"} if not surface.imports else {"_start"}
    if surface.imports <= {WASI_MODULE} and surface.exports & entries:
        return Kind.WASI
    if loader:
        return Kind.LOADER
    foreign = ", ".join(sorted(surface.imports - {WASI_MODULE}))
    if foreign:
        raise AlgorithmError(
            f"the module imports {foreign}, which its JavaScript loader must bring: give the loader"
        )
    raise AlgorithmError("the module exports neither _start nor main: there is nothing to call")


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def number(self) -> int:
        """Read an unsigned integer in LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says more follows
                return value
            shift += 7

    def name(self) -> str:
        size = self.number()
        text = self._data[self.at : self.at + size]
        self.at += size
        return text.decode()


def _imports(reader: _Reader) -> Iterator[str]:
    for _ in range(reader.number()):
        yield reader.name()
        reader.name()
        kind = reader.byte()
        if kind == 0:  # function: its type
            reader.number()
        elif kind == 1:  # table: the type of its elements, limits
            reader.byte()
            _limits(reader)
        elif kind == 2:  # noqa: PLR2004 - memory: limits
            _limits(reader)
        elif kind == 3:  # noqa: PLR2004 - global: its type, whether it changes
            reader.byte()
            reader.byte()
        else:  # tag: attribute, type
            reader.byte()
            reader.number()


def _limits(reader: _Reader) -> None:
    flags = reader.byte()
    reader.number()
    if flags & _LIMIT_FLAGS_MAX:
        reader.number()


def _exports(reader: _Reader) -> Iterator[str]:
    for _ in range(reader.number()):
        name, kind = reader.name(), reader.byte()
        reader.number()
        if kind == _FUNCTION:
            yield name
