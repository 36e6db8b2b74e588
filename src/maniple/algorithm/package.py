"""A package: NAME-VERSION.zip with the module, its loader and its file system."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Final

import msgspec

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Code
from maniple.algorithm.kind import Kind, kind_of
from maniple.algorithm.reference import check_word, split_stem
from maniple.algorithm.sandbox import Parts
from maniple.algorithm.zips import DAMAGED
from maniple.errors import AlgorithmError

LARGEST: Final = 1 << 30
"""Bytes that the parts of a package may have when unpacked."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can hold
_PLAIN_FILE: Final = 0o100644 << 16


class Package(msgspec.Struct, frozen=True):
    """What a build makes and a registry keeps.

    Attributes:
        name, version: as published.
        wasm: the module.
        loader: JavaScript, where there is some.
        data: a zip with the starting file system, where there is one.
    """

    name: str
    version: str
    wasm: bytes
    loader: bytes | None = None
    data: bytes | None = None

    @property
    def kind(self) -> Kind:
        """Which sandbox it needs.

        Raises:
            AlgorithmError: nothing here can run it.
        """
        return kind_of(self.wasm, loader=self.loader is not None)

    @property
    def code(self) -> Code:
        """The package as a call names it."""
        return Code(
            digest_of(self.wasm),
            None if self.loader is None else digest_of(self.loader),
            None if self.data is None else digest_of(self.data),
            f"{self.name}@{self.version}",
        )

    def unpack(self, blobs: Blobs, cache: str) -> Parts:
        """Put the parts where a sandbox can read them."""
        return Parts(
            wasm=blobs.path(blobs.put(self.wasm)),
            cache=cache,
            loader=None if self.loader is None else blobs.path(blobs.put(self.loader)),
            data=None if self.data is None else blobs.path(blobs.put(self.data)),
        )


def pack(package: Package) -> bytes:
    """Make the zip; the same package gives the same bytes."""
    stem = f"{package.name}-{package.version}"
    parts = {f"{stem}.wasm": package.wasm}
    if package.loader is not None:
        parts[f"{stem}.js"] = package.loader
    if package.data is not None:
        parts[f"{stem}.data.zip"] = package.data
    return zip_of(parts)


def zip_of(files: dict[str, bytes]) -> bytes:
    """Make a zip in the order of the names, with no trace of when or by whom."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _PLAIN_FILE
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name], compresslevel=9)
    return buffer.getvalue()


def unpack(data: bytes, where: str, *, stem: str | None = None) -> Package:
    """Read a package.

    Args:
        data: the zip.
        where: the file's name, for messages.
        stem: `NAME-VERSION`, when the names inside must be those.

    Raises:
        AlgorithmError: it is no package, or is damaged.
    """
    parts: dict[str, bytes] = {}
    found: str | None = None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise AlgorithmError(f"{where}: unpacked it is larger than {LARGEST >> 20} MiB")
            for entry in archive.infolist():
                name = entry.filename.rpartition("/")[2]
                for ending in (".data.zip", ".wasm", ".js"):
                    if name.endswith(ending) and ending not in parts:
                        parts[ending] = archive.read(entry)
                        if ending == ".wasm":
                            found = name.removesuffix(ending)
                        break
    except (*DAMAGED, OSError) as error:
        raise AlgorithmError(f"{where}: not a package: {error}") from None
    if found is None:
        raise AlgorithmError(f"{where}: not a package: it holds no file NAME-VERSION.wasm")
    if stem is not None and found != stem:
        raise AlgorithmError(f"{where}: it holds {found}.wasm, not {stem}.wasm")
    reference = split_stem(found)
    name, version = (
        (found, "0") if reference is None else (reference.name, reference.version or "0")
    )
    check_word("name", name)
    check_word("version", version)
    return Package(name, version, parts[".wasm"], parts.get(".js"), parts.get(".data.zip"))


def read_package(path: str) -> Package:
    """Read a package's file.

    Raises:
        AlgorithmError: it is not there, or no package.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise AlgorithmError(f"cannot read the package {path}: {error.strerror}") from None
    return unpack(data, os.path.basename(path))
