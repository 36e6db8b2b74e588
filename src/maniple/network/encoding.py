"""How blocks become bytes and back: apart from how they are carried."""

from __future__ import annotations

import json
import pickle
from array import array
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

OUT_OF_BAND_BYTES: Final = 4096
APART_BYTES: Final = 16_384
_ATOMS: Final = frozenset({int, float, bool, str, bytes, complex, type(None)})
_LONGEST_ATOM: Final = 256


class Encoding(Protocol):
    """Turns some blocks into frames of a message, and frames into blocks."""

    def prepare(self, block: Any) -> Any:
        """Take a block as it is now: the job may change it as soon as it has handed it out."""
        ...

    def encode(self, prepared: Sequence[Any]) -> list[bytes]:
        """Give the frames of a message."""
        ...

    def decode(self, frames: Sequence[Any], count: int) -> list[Any]:
        """Give the blocks back; they may share memory with the frames."""
        ...

    def write(self, file: BinaryIO, block: Any) -> None:
        """Write a block into a file that a program reads."""
        ...

    def read(self, file: BinaryIO) -> Any:
        """Read a block from a file that a program writes.

        Raises:
            EOFError: there is none left.
        """
        ...


class _Pickle(NamedTuple):
    """A block that was pickled by itself."""

    data: bytes
    beside: list[bytes]


class Pickled:
    """Any Python object. Arrays travel beside the pickle, with one copy at the writer's end.

    The pipe joins processes that trust each other: unpickling runs whatever the writer wants.
    """

    def prepare(self, block: Any) -> Any:
        """Pickle it, unless it is so simple that many are better pickled together."""
        kind = type(block)
        if kind in _ATOMS and (
            kind is int
            or kind is float
            or not hasattr(block, "__len__")
            or len(block) < _LONGEST_ATOM
        ):
            return block
        beside: list[bytes] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < OUT_OF_BAND_BYTES:
                return True
            beside.append(bytes(raw))
            return False

        if kind is bytes and len(block) >= OUT_OF_BAND_BYTES:
            # nobody can change it: not even one copy
            return _Pickle(b"", [block])
        return _Pickle(pickle.dumps(block, protocol=5, buffer_callback=keep), beside)

    def encode(self, prepared: Sequence[Any]) -> list[bytes]:
        """Put simple blocks into one pickle, the others one after the other."""
        for each in prepared:
            if type(each) is _Pickle:
                break
        else:
            return [pickle.dumps(prepared, protocol=5)]
        index: list[tuple[Any, int]] = []
        frames: list[bytes] = [b""]
        for each in prepared:
            if type(each) is _Pickle:
                index.append((each.data, len(each.beside)))
                frames += each.beside
            else:
                index.append((each, -1))
        frames[0] = pickle.dumps(tuple(index), protocol=5)
        return frames

    def decode(self, frames: Sequence[Any], count: int) -> list[Any]:  # noqa: ARG002 - it is known
        """Unpickle them; arrays lie in the memory of the message."""
        loads = pickle.loads
        index = loads(frames[0])
        if type(index) is list:
            return index
        blocks: list[Any] = []
        at = 1
        for data, beside in index:
            if beside < 0:
                blocks.append(data)
            elif data:
                blocks.append(loads(data, buffers=frames[at : at + beside]))
                at += beside
            else:
                blocks.append(bytes(frames[at]))
                at += 1
        return blocks

    def write(self, file: BinaryIO, block: Any) -> None:
        """Pickle it."""
        pickle.dump(block, file, protocol=4)

    def read(self, file: BinaryIO) -> Any:
        """Unpickle one."""
        return pickle.load(file)  # noqa: S301 - see above


class TruncatedError(Exception):
    """A program ended in the middle of a block."""


class Packed:
    """Blocks that are packed one by one.

    Args:
        pack: a block to bytes.
        unpack: and back.
        split: reads the bytes of one block from a file; nothing at its end. Without it the blocks
            are lines.
    """

    def __init__(
        self,
        pack: Callable[[Any], bytes],
        unpack: Callable[[bytes], Any],
        split: Callable[[BinaryIO], bytes] | None = None,
    ) -> None:
        self._unpack = unpack
        self.prepare = pack
        self._split = split

    def write(self, file: BinaryIO, block: Any) -> None:
        """Write it, with a line's end where blocks are lines."""
        file.write(self.prepare(block))
        if self._split is None:
            file.write(b"\n")

    def read(self, file: BinaryIO) -> Any:
        """Read one."""
        data = file.readline() if self._split is None else self._split(file)
        if not data:
            raise EOFError
        return self._unpack(data.removesuffix(b"\n") if self._split is None else data)

    def encode(self, prepared: Sequence[Any]) -> list[bytes]:
        """Put small ones into one frame."""
        sizes = array("Q", map(len, prepared))
        if len(prepared) > 1 and sum(sizes) > APART_BYTES * len(prepared):
            return [sizes.tobytes(), *prepared]
        return [sizes.tobytes(), b"".join(prepared)]

    def decode(self, frames: Sequence[Any], count: int) -> list[Any]:
        """Unpack each."""
        if len(frames) == count + 1 and count > 1:
            return [self._unpack(bytes(frame)) for frame in frames[1:]]
        data = bytes(frames[1]) if len(frames) > 1 else b""
        blocks, at = [], 0
        for size in array("Q", bytes(frames[0])):
            blocks.append(self._unpack(data[at : at + size]))
            at += size
        return blocks


def _dump_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Fixed(Packed):
    """Blocks of bytes, all of one size.

    Args:
        size: of a block.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(self._checked, bytes, self._whole)

    def _checked(self, block: Any) -> bytes:
        data = as_is(block)
        if len(data) != self.size:
            raise ValueError(f"a block of {len(data)} bytes, where {self.size} are agreed")
        return data

    def _whole(self, file: BinaryIO) -> bytes:
        data = file.read(self.size)
        if data and len(data) < self.size:
            raise TruncatedError(f"{len(data)} bytes of a block of {self.size}")
        return data


def as_is(block: Any) -> bytes:
    """Take a block that is bytes already.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(block, bytes):
        return block
    return bytes(memoryview(block))


ENCODINGS: Final[dict[str, Callable[[], Encoding]]] = {
    "pickle": Pickled,
    "json": lambda: Packed(_dump_json, json.loads),
    "lines": lambda: Packed(str.encode, bytes.decode),
    "bytes": lambda: Packed(as_is, bytes),
}
"""By the names that a network's description uses."""
