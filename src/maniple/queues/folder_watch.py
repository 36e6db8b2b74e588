"""Who of the minions in a shared folder is alive: heartbeat files, and how they are read.

A minion is dead when its process is known to have ended (same machine), or when its heartbeat did
not change for as long as it promised, by the watcher's own clock. No two clocks are compared.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from maniple import owner
from maniple.queues.folder_files import Folder

DEFAULT_SILENCE: Final = 37.5
"""Seconds without a heartbeat file after which a claim has no owner."""
_MARGIN: Final = 1.25
"""A heartbeat is written at most every quarter of a limit, so it may be that much older."""
_SIZE: Final = 400


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat.

    Attributes:
        identity: of the process.
        silence: seconds without another beat after which it counts as dead.
        count: grows with every beat.
    """

    identity: str
    silence: float
    count: int


_decode = msgspec.json.Decoder(Beat).decode


class Heartbeat:
    """The heartbeat of one queue object.

    Attributes:
        name: what claims carry: unique to this object, in this process.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.name = os.urandom(8).hex()
        self._identity = owner.identity()
        self._count = 0
        self._ttl = 0.0
        self._at = 0.0

    def silent(self, now: float) -> bool:
        """Tell whether others may take us for dead soon."""
        return now - self._at > self._ttl / 2

    def beat(self, ttl: float, now: float) -> None:
        """Be alive for `ttl` seconds more, at least."""
        if self._count and ttl == self._ttl and now - self._at < ttl / 4:
            return
        self._count += 1
        self._ttl = ttl
        self._at = now
        beat = Beat(self._identity, ttl * _MARGIN, self._count)
        # one size always: whoever reads while it is written sees no half of a shorter one
        self._folder.write("minions", self.name, msgspec.json.encode(beat).ljust(_SIZE) + b"\n")

    def stop(self) -> None:
        """Leave no trace."""
        if self._count:
            self._folder.remove("minions", self.name)


class Watch:
    """What one queue object has seen of the others."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[bytes, float]] = {}

    def is_dead(self, name: str, now: float) -> bool:
        """Tell whether the minion of that name has ended or fallen silent."""
        data = self._folder.read_if_there("minions", name) or b""
        try:
            beat: Beat | None = _decode(data)
        except msgspec.DecodeError:
            beat = None
        if beat is not None and owner.is_dead(beat.identity):
            return True
        before, since = self._seen.get(name, (None, now))
        if data != before:
            self._seen[name] = (data, now)
            return False
        return now - since >= (DEFAULT_SILENCE if beat is None else beat.silence)

    def forget(self, name: str) -> None:
        """Clean up after a minion whose claims were all taken over."""
        self._seen.pop(name, None)
        self._folder.remove("minions", name)
