"""Which algorithm a user means: a name at the hub's registry, a package's file, or loose parts."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

import msgspec

from maniple.algorithm.call import Code
from maniple.algorithm.kind import kind_of
from maniple.algorithm.package import read_package
from maniple.algorithm.reference import parse_reference
from maniple.driver.inputs import Path
from maniple.driver.parts import Parts
from maniple.driver.registry import Registry
from maniple.errors import AlgorithmError

_ENDING: Final = ".zip"


class LocalAlgorithm(msgspec.Struct, frozen=True):
    """An algorithm that is in no registry; `local` makes one.

    Attributes:
        name: for messages.
        wasm, loader, data: the contents of its files.
    """

    name: str
    wasm: bytes
    loader: bytes | None = None
    data: bytes | None = None


def local(wasm: Path, loader: Path | None = None, data: Path | None = None) -> LocalAlgorithm:
    """Name an algorithm by its files on this machine.

    Args:
        wasm: path of the WebAssembly module.
        loader: path of the JavaScript beside it, where it needs some.
        data: path of a zip with the file system that a call starts with.

    Raises:
        AlgorithmError: a file cannot be read, or nothing could run it.
    """
    module = _read(wasm)
    script = None if loader is None else _read(loader)
    try:
        kind_of(module, loader=script is not None)
    except AlgorithmError as error:
        raise AlgorithmError(f"{os.fspath(wasm)}: {error}") from None
    name = os.path.basename(os.fspath(wasm)).removesuffix(".wasm")
    return LocalAlgorithm(name, module, script, None if data is None else _read(data))


Algorithm = str | os.PathLike[str] | LocalAlgorithm


class Resolved(msgspec.Struct, frozen=True):
    """An algorithm as a call names it.

    Attributes:
        code: its digests.
        data_link: where the starting file system is, for workers that fetch it themselves.
    """

    code: Code
    data_link: str | None = None


class Algorithms:
    """Finds algorithms, each once. Safe in threads.

    Args:
        registry: knows the published ones.
        parts: holds what the hub may ask for.
    """

    def __init__(self, registry: Registry, parts: Parts) -> None:
        self._registry = registry
        self._parts = parts
        self._known: dict[Any, Resolved] = {}
        self._lock = threading.Lock()

    def at_hand(self, algorithm: Algorithm) -> Resolved | None:
        """Give an algorithm that needs no look into the registry; None for others.

        Raises:
            AlgorithmError: a package cannot be read.
        """
        found = self._known.get(_key(algorithm))
        if found is None and (isinstance(algorithm, LocalAlgorithm) or _is_path(algorithm)):
            found = self.resolve(algorithm)
        return found

    def resolve(self, algorithm: Algorithm) -> Resolved:
        """Find an algorithm; this may talk to the registry.

        Raises:
            AlgorithmError: there is none.
            ClusterError: the registry does not answer.
        """
        key = _key(algorithm)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = self._find(algorithm)
        return found

    def fetch(self, url: str) -> str:
        """Hold what is at a URL; return its digest.

        Raises:
            ClusterError: it cannot be had.
        """
        return self._parts.add(self._registry.fetch(url))

    def _find(self, algorithm: Algorithm) -> Resolved:
        if isinstance(algorithm, LocalAlgorithm):
            return Resolved(self._hold(algorithm))
        text = os.fspath(algorithm)
        if not _is_path(text):
            return self._published(text)
        package = read_package(text)
        self._parts.add_package(package)
        return Resolved(package.code)

    def _hold(self, algorithm: LocalAlgorithm) -> Code:
        parts = self._parts
        return Code(
            parts.add(algorithm.wasm),
            None if algorithm.loader is None else parts.add(algorithm.loader),
            None if algorithm.data is None else parts.add(algorithm.data),
            algorithm.name,
        )

    def _published(self, text: str) -> Resolved:
        version = self._registry.version(parse_reference(text))
        if version.code is None:
            wasm, loader, data = (
                None if url is None else self.fetch(url)
                for url in (version.wasm_url, version.loader_url, version.data_url)
            )
            assert wasm is not None  # noqa: S101 - the registry sees to it
            return Resolved(Code(wasm, loader, data, version.name), version.data_url)
        for digest, url in (
            (version.code.wasm, version.wasm_url),
            (version.code.loader, version.loader_url),
            (version.code.data, version.data_url),
        ):
            if digest is not None and url is not None:
                self._parts.expect(digest, _fetcher(self._registry, url))
        return Resolved(version.code, version.data_url)


def _fetcher(registry: Registry, url: str) -> Any:
    return lambda: registry.fetch(url)


def _is_path(name: str | os.PathLike[str]) -> bool:
    text = os.fspath(name)
    return text.endswith(_ENDING) or os.sep in text


def _key(algorithm: Algorithm) -> Any:
    if isinstance(algorithm, LocalAlgorithm):
        return algorithm
    text = os.fspath(algorithm)
    if not _is_path(text):
        return text
    try:
        status = os.stat(text)
    except OSError as error:
        raise AlgorithmError(f"cannot read the package {text}: {error.strerror}") from None
    # a package that was built again is another one
    return os.path.abspath(text), status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise AlgorithmError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
