"""The file system that calls of an algorithm start with, as a zip."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Final

from maniple.algorithm.package import zip_of
from maniple.errors import AlgorithmError

LEFT_OUT: Final = frozenset({"target", "node_modules", "__pycache__"})
"""Folders that builds and tools fill: nothing that a call starts with."""


def zip_filesystem(folder: str, *, without: Collection[str] = ()) -> bytes:
    """Make the zip of a folder; the same files give the same bytes.

    Hidden files, folders that tools fill (`LEFT_OUT`) and those of `without` are left out. Links
    to files are followed as long as they stay inside.

    Args:
        folder: absolute; it becomes `/`.
        without: absolute folders that are left out.

    Raises:
        AlgorithmError: a file cannot be read, or a link leads out of the folder.
    """
    root = os.path.realpath(folder)
    found: dict[str, bytes] = {}
    for path in files_of(folder, without=without):
        if path.endswith("/"):
            found[path] = b""
            continue
        whole = os.path.join(folder, path)
        if os.path.islink(whole) and not os.path.realpath(whole).startswith(root + os.sep):
            raise AlgorithmError(f"{path} of the file system {folder} leads out of it: copy it")
        try:
            with open(whole, "rb") as file:
                found[path] = file.read()
        except OSError as error:
            raise AlgorithmError(
                f"cannot read {path} of the file system {folder}: {error.strerror}"
            ) from None
    return zip_of(found)


def files_of(folder: str, *, without: Collection[str] = ()) -> Iterator[str]:
    """Find the files below a folder, and the folders that are empty.

    Yields:
        Paths relative to the folder; that of a folder ends with `/`.
    """
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in LEFT_OUT
            and os.path.join(root, name) not in without
        )
        shown = sorted(name for name in files if not name.startswith("."))
        if not folders and not shown and root != folder:
            yield os.path.relpath(root, folder) + "/"
        for name in shown:
            yield os.path.relpath(os.path.join(root, name), folder)
