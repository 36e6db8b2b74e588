"""A pipe: ordered blocks from one job to one other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from maniple.errors import UsageError
from maniple.network.encoding import ENCODINGS, Encoding

BLOCKS: Final = 4096
BYTES: Final = 8 << 20


class Pipe:
    """What is agreed about a pipe. Two jobs that name the same pipe are joined by it.

    Args:
        name: unlike that of any other pipe of the network.
        encoding: `pickle` (any Python object), `json` (what JSON can say), `bytes`, or an object
            with `encode` and `decode`.
        blocks: a writer waits while so many blocks are not done with by the reader.
        size: likewise, in bytes; at least one block always travels.
        count: blocks for each call of the reader; with more than one it gets a list.
        optional: the reader never waits for it: it gets the newest block, else the one before,
            else `default`.
        default: for an optional pipe that has had no block yet.
        dummy: gives the stand-in for a block that was dropped, given the block before it.

    Attributes:
        store: of an optional pipe: its last block is given again; otherwise the default.
        buffer: of an optional pipe: blocks that may wait, to be given one by one; 0: the newest.
        keep_oldest: of an optional pipe: what comes when the buffer is full is dropped.
        loose: blocks that are dropped leave no hole: what is left is taken as it comes.

    Raises:
        UsageError: a bound is below 1, or there is no such encoding.
    """

    def __init__(
        self,
        name: str,
        *,
        encoding: str | Encoding = "pickle",
        blocks: int = BLOCKS,
        size: int = BYTES,
        count: int = 1,
        optional: bool = False,
        default: Any = None,
        dummy: Callable[[Any], Any] | None = None,
    ) -> None:
        self.name = str(name)
        if not self.name:
            raise UsageError("a pipe needs a name")
        for what, bound in (("blocks", blocks), ("size", size), ("count", count)):
            if bound < 1:
                raise UsageError(f"pipe {self.name}: {what} must be at least 1, not {bound}")
        if isinstance(encoding, str):
            if encoding not in ENCODINGS:
                known = ", ".join(sorted(ENCODINGS))
                raise UsageError(f"pipe {self.name}: no encoding {encoding!r}: there are {known}")
            self.encoding: Encoding = ENCODINGS[encoding]()
        else:
            self.encoding = encoding
        self.kind = encoding if isinstance(encoding, str) else type(encoding).__name__
        self.blocks = max(blocks, count)
        self.size = size
        self.count = count
        self.optional = optional
        self.default = default
        self.dummy = dummy or _previous
        self.store = True
        self.buffer = 0
        self.keep_oldest = False
        self.loose = False

    def __repr__(self) -> str:
        return f"Pipe({self.name!r}, {self.kind})"


def _previous(block: Any) -> Any:
    return block
