"""A folder of immutable bytes, each under the SHA-256 of its content."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from maniple.errors import StorageError

_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


def digest_of(data: bytes) -> str:
    """Name bytes by their content: SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Blobs:
    """Keeps bytes by their digest; several processes may use one folder.

    Args:
        folder: made when the first blob is put.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, digest: str) -> str:
        """Where a blob is, or would be.

        Raises:
            ValueError: that is no digest (and so no name of ours for a file).
        """
        if not _DIGEST.match(digest):
            raise ValueError(f"not a digest: {digest[:80]!r}")
        return f"{self.folder}/{digest}"

    def __contains__(self, digest: str) -> bool:
        return os.path.exists(self.path(digest))

    def get(self, digest: str) -> bytes | None:
        """Read a blob, or return None when it is not here."""
        try:
            with open(self.path(digest), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def put(self, data: bytes) -> str:
        """Keep bytes; return their digest. Safe beside others who put the same.

        Raises:
            StorageError: the folder cannot be written.
        """
        digest = digest_of(data)
        path = self.path(digest)
        if os.path.exists(path):
            return digest
        new = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open(new, "xb") as file:
                file.write(data)
            os.replace(new, path)
        except OSError as error:
            raise StorageError(
                f"cannot keep an algorithm in {self.folder}: {error.strerror}"
            ) from None
        return digest
