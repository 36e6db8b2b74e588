"""The shelf: the packages that this machine knows by name, as files NAME-VERSION.zip in folders.

Two folders are looked into: `build` below the current one, where builds put them, and the user's
own, where `maniple algorithm add` and a push to a loop-back cluster put them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from maniple.algorithm.package import Package, pack, read_package, unpack
from maniple.algorithm.reference import Reference, parse_reference, split_stem, version_key
from maniple.errors import AlgorithmError, StorageError

BUILD_FOLDER: Final = "build"


def home_folder(environment: Mapping[str, str] = os.environ) -> str:
    """Where this user's packages are: `$MANIPLE_ALGORITHMS`, or below the user's data folder."""
    named = environment.get("MANIPLE_ALGORITHMS")
    if named:
        return named
    data = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "maniple", "algorithms")


def cache_folder(environment: Mapping[str, str] = os.environ) -> str:
    """Where compiled modules and fetched parts are kept; it may be deleted at any time."""
    named = environment.get("MANIPLE_CACHE")
    if named:
        return named
    cache = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "maniple")


class Shelf:
    """Finds packages by name and version.

    Args:
        folders: looked into in this order; the last one takes what is added.
    """

    def __init__(self, folders: Sequence[str] | None = None) -> None:
        self.folders = list(folders) if folders is not None else [BUILD_FOLDER, home_folder()]

    def names(self) -> dict[str, dict[str, str]]:
        """List what is there: name to version to path, versions in their order."""
        found: dict[str, dict[str, str]] = {}
        for reference, path in self._packages():
            assert reference.version is not None  # noqa: S101 - a file's name holds one
            found.setdefault(reference.name, {}).setdefault(reference.version, path)
        return {
            name: dict(sorted(versions.items(), key=lambda item: version_key(item[0])))
            for name, versions in sorted(found.items())
        }

    def _packages(self) -> Iterator[tuple[Reference, str]]:
        for folder in self.folders:
            try:
                entries = sorted(os.listdir(folder))
            except OSError:
                continue
            for entry in entries:
                stem = entry.removesuffix(".zip")
                if stem == entry or stem.endswith(".data"):
                    continue
                reference = split_stem(stem)
                if reference is not None:
                    yield reference, os.path.join(folder, entry)

    def path_of(self, reference: Reference) -> str:
        """Find a package's file; the latest version where none is named.

        Raises:
            AlgorithmError: it is not here.
        """
        known = self.names()
        versions = known.get(reference.name)
        if versions is None:
            here = f"; there are: {', '.join(known)}" if known else ""
            raise AlgorithmError(
                f"no algorithm {reference.name} in {' or '.join(self.folders)}{here}"
            )
        if reference.version is None:
            return versions[next(reversed(versions))]
        if reference.version not in versions:
            raise AlgorithmError(
                f"no version {reference.version} of {reference.name}; there are:"
                f" {', '.join(versions)}"
            )
        return versions[reference.version]

    def find(self, text: str) -> Package:
        """Read the package that a user names: `NAME`, `NAME@VERSION`, or the path of a zip.

        Raises:
            AlgorithmError: there is none, or it is damaged.
        """
        if text.endswith(".zip") or os.sep in text:
            return read_package(text)
        return read_package(self.path_of(parse_reference(text)))

    def add(self, data: bytes, where: str = "the package") -> Package:
        """Keep a package; a version that is here already never changes.

        Raises:
            AlgorithmError: it is no package, or this version is here with other content.
            StorageError: the folder cannot be written.
        """
        package = unpack(data, where)
        folder = self.folders[-1]
        path = os.path.join(folder, f"{package.name}-{package.version}.zip")
        if os.path.exists(path):
            if read_package(path).code == package.code:
                return package
            raise AlgorithmError(
                f"{package.name}@{package.version} exists with other content, and a version never"
                " changes: raise the version"
            )
        new = f"{path}.{os.getpid()}.new"
        try:
            os.makedirs(folder, exist_ok=True)
            with open(new, "wb") as file:
                file.write(pack(package))
            os.replace(new, path)
        except OSError as error:
            raise StorageError(f"cannot keep a package in {folder}: {error.strerror}") from None
        return package
