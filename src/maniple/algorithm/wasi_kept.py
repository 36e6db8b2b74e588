"""Machine code of modules, kept in a folder between runs.

What is in the folder is run as it is, so nothing is taken from it that another user could have
written, and nothing that has changed since. Each file is the SHA-256 of the code, then the code.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from typing import Final

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_SUM: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._+-]+\Z")


class KeptCode:
    """Finds and keeps machine code.

    Args:
        folder: made when the first code is kept, for its owner only.
        settings: what else the code depends on beside its module: versions, settings, machine.
    """

    def __init__(self, folder: str, settings: str) -> None:
        self._folder = folder
        self._settings = settings

    def _path(self, digest: str) -> str:
        name = f"{digest}-{self._settings}.cwasm"
        if not _NAME.match(name):
            raise ValueError(f"no name for a file: {name[:100]!r}")
        return f"{self._folder}/{name}"

    def find(self, digest: str) -> bytes | None:
        """Read a module's code; None when it is not here, or not to be trusted."""
        path = self._path(digest)
        try:
            if not _is_ours(os.lstat(self._folder)):
                return None
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or not _is_ours(about):
                return None
            data = file.read()
        code = data[_SUM:]
        return code if hashlib.sha256(code).digest() == data[:_SUM] else None

    def keep(self, digest: str, code: bytes) -> None:
        """Keep a module's code; where that cannot be, it is compiled again next time."""
        path = self._path(digest)
        new = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(hashlib.sha256(code).digest())
                file.write(code)
            os.replace(new, path)
        except OSError:
            with suppress(OSError):
                os.unlink(new)

    def drop(self, digest: str) -> None:
        """Remove code that turned out to be of no use."""
        with suppress(OSError):
            os.unlink(self._path(digest))


def _is_ours(about: os.stat_result) -> bool:
    return about.st_uid == os.geteuid() and not about.st_mode & _OTHERS_WRITE
