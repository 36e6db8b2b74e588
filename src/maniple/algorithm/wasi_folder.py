"""The private folder of a call: filled, looked into, and emptied again.

It is filled before the guest runs and looked into after it has ended, so nothing changes under
these functions. What the guest left may be anything that a file system can hold: links, pipes, or
folders in folders too deep for a path.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import IO, BinaryIO, Final

from maniple.algorithm.call import Limits
from maniple.algorithm.ends import End, Over, over
from maniple.algorithm.zips import DAMAGED

_KIND: Final = 0o170000
_LINK: Final = 0o120000
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ONE_READ: Final = 1 << 20
_FULL: Final = frozenset({errno.EFBIG, errno.ENOSPC, errno.EDQUOT})


class FolderError(Exception):
    """The call's files cannot be given to it; holds the end that says why."""

    def __init__(self, end: End) -> None:
        super().__init__(end.error)
        self.end = end


def parts_of(path: str) -> list[str] | None:
    """Split an absolute path of the guest's; None if it is none, or climbs."""
    if not path.startswith("/") or "\0" in path:
        return None
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return None if ".." in parts or not parts else parts


class Folder:
    """The folder that a guest sees as `/`.

    Args:
        root: where it is.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def fill(self, data: BinaryIO | None, files: dict[str, bytes], limits: Limits) -> None:
        """Put in what a call starts with.

        Args:
            data: a zip with the starting file system.
            files: more files; they cover those of the zip.
            limits: of the call.

        Raises:
            FolderError: a path reaches out, the zip is damaged, or a limit is passed.
        """
        folders: set[str] = set()
        try:
            if data is not None:
                self._unpack(data, limits, folders)
            left = limits.disk
            for path, content in files.items():
                parts = None if path.endswith("/") else parts_of(path)
                if parts is None:
                    raise FolderError(
                        End("bad file", f"not an absolute path of a file: {path[:200]!r}")
                    )
                left -= len(content)
                if left < 0:
                    raise FolderError(over(Over.DISK, limits))
                where = self._place(parts, folders)
                with open(where, "wb", buffering=0) as file:
                    file.write(content)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise FolderError(
                End("bad file", f"one path is a file and a folder at once: {_inside(error, self)}")
            ) from None
        except OSError as error:
            if error.errno in _FULL:
                raise FolderError(self.passed(limits) or over(Over.DISK, limits)) from None
            raise FolderError(
                End("bad file", f"cannot place a file: {error.strerror}: {_inside(error, self)}")
            ) from None

    def _unpack(self, data: BinaryIO, limits: Limits, folders: set[str]) -> None:
        try:
            with zipfile.ZipFile(data) as archive:
                entries = archive.infolist()
                self._check(entries, limits)
                for entry in entries:
                    parts = parts_of(f"/{entry.filename}")
                    if entry.is_dir():
                        if parts is not None:
                            os.makedirs("/".join([self.root, *parts]), exist_ok=True)
                        continue
                    assert parts is not None  # noqa: S101 - checked above
                    with archive.open(entry) as source:
                        _copy(source, self._place(parts, folders), entry.file_size)
        except DAMAGED as error:
            raise FolderError(
                End("bad file system", f"the starting file system is no whole zip: {error}")
            ) from None

    def _check(self, entries: list[zipfile.ZipInfo], limits: Limits) -> None:
        for entry in entries:
            problem = _problem(entry)
            if problem is not None:
                raise FolderError(
                    End(
                        "bad file system",
                        f"the starting file system {problem}: {entry.filename[:200]!r}",
                    )
                )
        if sum(entry.file_size for entry in entries) > limits.disk:
            raise FolderError(over(Over.DISK, limits))
        if len(entries) > limits.files:
            raise FolderError(over(Over.DISK, limits, files=True))

    def _place(self, parts: list[str], folders: set[str]) -> str:
        folder = "/".join([self.root, *parts[:-1]])
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)
            folders.add(folder)
        return f"{folder}/{parts[-1]}"

    def passed(self, limits: Limits) -> End | None:
        """Tell whether what is in the folder is beyond the limits; by what is counted there."""
        held, files = self.usage()
        if files > limits.files:
            return over(Over.DISK, limits, files=True)
        return over(Over.DISK, limits) if held > limits.disk else None

    def usage(self) -> tuple[int, int]:
        """Count bytes (in whole blocks) and files and folders, by looking at each."""
        held = files = 0
        folders = [self.root]
        while folders:
            # what is too deep for a path or gone again is not counted: it is still emptied
            with suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        held += entry.stat(follow_symlinks=False).st_blocks * 512
        return held, files

    def collect(self, paths: list[str], limits: Limits) -> tuple[dict[str, bytes], list[str]]:
        """Read the result files that are there; name those that are not.

        A result is a regular file, and no part of its path is a link.

        Raises:
            FolderError: together they are larger than the disk limit (a file can say that it is
                larger than what it holds).
        """
        found: dict[str, bytes] = {}
        missing: list[str] = []
        left = limits.disk
        for path in dict.fromkeys(paths):
            content = self._read(path, left, limits)
            if content is None:
                missing.append(path)
            else:
                found[path] = content
                left -= len(content)
        return found, missing

    def _read(self, path: str, left: int, limits: Limits) -> bytes | None:
        fd = self._open(path)
        if fd is None:
            return None
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                return None
            if about.st_size > left:
                raise FolderError(over(Over.DISK, limits))
            chunks: list[bytes] = []
            while chunk := os.read(fd, max(about.st_size, 1)):
                chunks.append(chunk)
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        finally:
            os.close(fd)

    def _open(self, path: str) -> int | None:
        parts = parts_of(path)
        if parts is None:
            return None
        above = os.open(self.root, _FOLDER)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FOLDER, dir_fd=above)
                os.close(above)
                above = below
            return os.open(parts[-1], _FILE, dir_fd=above)
        except (OSError, ValueError):
            return None
        finally:
            os.close(above)

    def empty(self) -> None:
        """Remove all that is in it, however deep: what is below a folder is moved to the top first.

        Raises:
            OSError: something could not be removed.
        """
        names = (f"\x01{number}" for number in count())
        root = os.open(self.root, _FOLDER)
        try:
            while entries := list(_entries(root)):
                for name, is_folder in entries:
                    if is_folder:
                        _flatten(root, name, names)
                        os.rmdir(name, dir_fd=root)
                    else:
                        os.unlink(name, dir_fd=root)
        finally:
            os.close(root)


class MountedFolder(Folder):
    """A folder that is a file system of its own: the kernel counts what is in it."""

    def usage(self) -> tuple[int, int]:
        """Ask for bytes (in whole pages) and files and folders."""
        return mounted_usage(self.root)


def mounted_usage(where: str | int) -> tuple[int, int]:
    """Ask a file system of its own, by path or descriptor, for bytes and files that it holds."""
    about = os.statvfs(where)
    held = (about.f_blocks - about.f_bfree) * about.f_frsize
    return held, about.f_files - about.f_ffree - 1


def _inside(error: OSError, folder: Folder) -> str:
    return str(error.filename or "").removeprefix(folder.root)[:200]


def _problem(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    if name.startswith("/") or ".." in name.split("/"):
        return "reaches out"
    if (entry.external_attr >> 16) & _KIND == _LINK:
        return "holds a link"
    if not entry.is_dir() and parts_of(f"/{name}") is None:
        return "holds a file without a name"
    return None


def _copy(source: IO[bytes], path: str, size: int) -> None:
    with open(path, "wb") as file:
        shutil.copyfileobj(source, file, _ONE_READ)
        if file.tell() != size:
            raise zipfile.BadZipFile("an entry has another size than it says")


def _entries(folder: int) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _flatten(root: int, name: str, names: Iterator[str]) -> None:
    """Empty one folder of the root; the folders in it come to lie in the root."""
    folder = os.open(name, _FOLDER, dir_fd=root)
    try:
        for inner, is_folder in list(_entries(folder)):
            if not is_folder:
                os.unlink(inner, dir_fd=folder)
                continue
            for top in names:
                try:
                    os.rename(inner, top, src_dir_fd=folder, dst_dir_fd=root)
                except OSError:  # the guest has called something so
                    continue
                break
    finally:
        os.close(folder)
