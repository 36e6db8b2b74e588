"""The parts of algorithms that a driver can send to a hub that lacks them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from maniple.algorithm.blobs import digest_of
from maniple.algorithm.package import Package


class Parts:
    """Bytes by their digest: at hand, or to be fetched when somebody asks. Safe in threads."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}
        self._sources: dict[str, Callable[[], bytes]] = {}
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """Hold bytes; return their digest."""
        digest = digest_of(data)
        with self._lock:
            self._held.setdefault(digest, data)
        return digest

    def add_package(self, package: Package) -> None:
        """Hold all parts of a package."""
        for part in (package.wasm, package.loader, package.data):
            if part is not None:
                self.add(part)

    def expect(self, digest: str, fetch: Callable[[], bytes]) -> None:
        """Know where bytes can be had, should they be needed."""
        with self._lock:
            self._sources.setdefault(digest, fetch)

    def get(self, digest: str) -> bytes | None:
        """Give the bytes; None where they are not to be had, or are others than their digest says.

        Raises:
            ManipleError: they cannot be fetched now.
        """
        with self._lock:
            data, fetch = self._held.get(digest), self._sources.get(digest)
        if data is not None or fetch is None:
            return data
        data = fetch()
        if digest_of(data) != digest:
            return None
        with self._lock:
            self._held[digest] = data
        return data
