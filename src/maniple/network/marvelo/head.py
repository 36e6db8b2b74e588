"""The head of a block: a bit field of fixed width that travels with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Final, SupportsInt

from maniple.errors import UsageError

CORRUPTED: Final = 1
RESET: Final = 2
FINISHED: Final = 3
"""Places of the framework's bits, counted from the top."""


class Head:
    """Bits, numbered from the lowest (0); negative numbers count from the top.

    The three top bits are the framework's: corrupted (the block stands in for one that was lost),
    reset, finished.

    Args:
        value: a number, or another head.
        size: bytes.

    Raises:
        UsageError: `size` is below 1.
    """

    __slots__ = ("_size", "_value")

    def __init__(self, value: SupportsInt = 0, size: int = 1) -> None:
        if size < 1:
            raise UsageError(f"a head needs at least 1 byte, not {size}")
        self._size = size
        self._value = int(value) & self._mask

    @property
    def _mask(self) -> int:
        return (1 << (8 * self._size)) - 1

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """Read what `bytes(head)` gave."""
        return cls(int.from_bytes(data, "big"), len(data))

    def __bytes__(self) -> bytes:
        return self._value.to_bytes(self._size, "big")

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return self._value != 0

    def __repr__(self) -> str:
        return f"Head({self._value:#0{8 * self._size + 2}b})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Head):
            return (self._value, self._size) == (other._value, other._size)
        return isinstance(other, int) and self._value == other

    # bits can be assigned
    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: SupportsInt) -> Head:
        return Head(self._value & int(other), self._size)

    def __or__(self, other: SupportsInt) -> Head:
        return Head(self._value | int(other), self._size)

    def __xor__(self, other: SupportsInt) -> Head:
        return Head(self._value ^ int(other), self._size)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Head:
        return Head(~self._value, self._size)

    def __lshift__(self, places: int) -> Head:
        return Head(self._value << places, self._size)

    def __rshift__(self, places: int) -> Head:
        return Head(self._value >> places, self._size)

    def _place(self, place: int) -> int:
        bits = 8 * self._size
        if not -bits <= place < bits:
            raise IndexError(f"bit {place} of a head of {bits} bits")
        return place % bits

    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return list(self)[place]
        return self._value >> self._place(place) & 1

    def __setitem__(self, place: int | slice, bit: SupportsInt | Iterable[SupportsInt]) -> None:
        if isinstance(place, slice):
            bits = list(self)
            before = len(bits)
            bits[place] = [int(b) for b in bit]  # type: ignore[union-attr]
            if len(bits) != before:
                raise ValueError("a slice of a head takes as many bits as it has")
            self._value = sum((b & 1) << n for n, b in enumerate(bits))
            return
        mask = 1 << self._place(place)
        self._value = self._value | mask if bit else self._value & ~mask

    def __iter__(self) -> Iterator[int]:
        return (self._value >> place & 1 for place in range(8 * self._size))

    @property
    def corrupted(self) -> bool:
        """The block stands in for a lost one, or came of such a block."""
        return bool(self[-CORRUPTED])

    @property
    def reset(self) -> bool:
        """The numbering began again with this block."""
        return bool(self[-RESET])

    @property
    def finished(self) -> bool:
        """No block follows this one."""
        return bool(self[-FINISHED])


def bitwise_or(heads: Iterable[Head], size: int) -> Head:
    """Reduce heads to one, as jobs do unless they say otherwise."""
    return reduce(Head.__or__, heads, Head(0, size))
