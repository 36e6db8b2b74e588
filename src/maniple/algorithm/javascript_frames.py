"""What is said between a worker and the host script in its sandbox. No I/O.

To the host: a secret of 16 bytes, then any number of codes (`c`) and one call (`r`), lengths in 32
bits, little-endian. From the host: frames of the secret, a kind, a length and a payload. Whatever
else comes on the same stream was printed by code that found a way to print: it is output.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

from maniple.algorithm.call import Call

SECRET_SIZE: Final = 16
_HEAD_SIZE: Final = SECRET_SIZE + 5
_LONGEST_PART: Final = (1 << 32) - 2


class Kind(Enum):
    """What a frame says; `javascript_host.js` has the other end."""

    NOISE = b""
    READY = b"r"
    PREPARED = b"p"
    STDOUT = b"o"
    STDERR = b"e"
    ANSWER = b"a"
    UNFIT = b"u"
    THROWN = b"x"
    REJECTED = b"n"
    DONE = b"d"
    STRAY = b"s"


class TooLongError(Exception):
    """A frame is longer than it may be."""


class Frames:
    """Finds frames in a stream that hostile code may have written into.

    Args:
        secret: what each frame begins with.
        longest: bytes of a payload that are taken.
    """

    def __init__(self, secret: bytes, longest: int) -> None:
        self._secret = secret
        self.longest = longest
        self._buffer = bytearray()
        self._kind: Kind | None = None
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Take what was read; give what is whole.

        Raises:
            TooLongError: a payload is longer than `longest`.
        """
        self._buffer += data
        while True:
            if self._kind is None:
                found = self._buffer.find(self._secret)
                # the last bytes may be the beginning of a secret
                noise = found if found >= 0 else max(0, len(self._buffer) - SECRET_SIZE + 1)
                if found < 0 and not _may_begin(self._buffer, noise, self._secret):
                    noise = len(self._buffer)
                if noise:
                    yield Kind.NOISE, bytes(self._buffer[:noise])
                    del self._buffer[:noise]
                if found < 0 or len(self._buffer) < _HEAD_SIZE:
                    return
                self._begin()
            if len(self._buffer) < self._missing:
                return
            kind, self._kind = self._kind, None
            assert kind is not None  # noqa: S101 - set by _begin
            payload = bytes(memoryview(self._buffer)[: self._missing])
            del self._buffer[: self._missing]
            yield kind, payload

    def _begin(self) -> None:
        head = self._buffer[:_HEAD_SIZE]
        del self._buffer[:_HEAD_SIZE]
        self._missing = int.from_bytes(head[SECRET_SIZE + 1 :], "little")
        try:
            self._kind = Kind(bytes(head[SECRET_SIZE : SECRET_SIZE + 1]))
        except ValueError:
            self._kind = Kind.NOISE
        if self._missing > self.longest:
            raise TooLongError

    def rest(self) -> bytes:
        """Give what was read and is no whole frame, when nothing more comes."""
        return b"" if self._kind is not None else bytes(self._buffer)


def _may_begin(buffer: bytearray, start: int, secret: bytes) -> bool:
    return any(secret.startswith(bytes(buffer[at:])) for at in range(start, len(buffer)))


def _part(data: bytes) -> bytes:
    if len(data) > _LONGEST_PART:
        raise ValueError("longer than a frame can be")
    return len(data).to_bytes(4, "little") + data


def code_message(wasm: bytes, loader: bytes, data: bytes | None) -> bytes:
    """Give the host a code, to have it ready before its call comes."""
    # a zip that is there is told from one that is not by a length one more
    data_size = 0 if data is None else len(data) + 1
    sizes = b"".join(size.to_bytes(4, "little") for size in (len(wasm), len(loader), data_size))
    return b"".join((b"c", sizes, wasm, loader, data or b""))


def call_message(call: Call) -> bytes:
    """Have the host run a call of the code that it was given last."""
    files = {path: base64.b64encode(content).decode() for path, content in call.files.items()}
    head = msgspec.json.encode(
        {"arguments": call.arguments, "files": files, "results": call.results}
    )
    return b"".join((b"r", _part(head), _part(call.params)))
