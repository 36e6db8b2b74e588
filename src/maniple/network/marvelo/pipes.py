"""Pipes of the framework MARVELO: how a value becomes bytes on the wire, and back."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Sequence
from typing import Any, BinaryIO, ClassVar

from maniple.errors import ManipleError, UsageError
from maniple.network.encoding import Encoding, Packed, Pickled, TruncatedError
from maniple.network.pipe import Pipe


class BasePipe(Pipe):
    """Subclass it for a format of your own.

    A value goes through `pack` (to bytes) and `write` (to the wire), and comes back through `read`
    (from the wire) and `unpack`. `read_wrapper` gives the same block as bytes, not decoded.

    Args:
        id: joins the output and the input that name it.

    Attributes:
        BLOCK_SIZE: bytes of a block, or a name for a format that tells its own end.
        BLOCK_COUNT: the receiving job gets a list of so many; 1: the value itself.
        ASYNC: not aligned with the other inputs: blocks are taken as they come.
        SOURCE_JOBS: classes that may write it; empty: any.
        DESTINATION_JOBS: classes that may read it; empty: any.
    """

    BLOCK_SIZE: ClassVar[int | str] = "own"
    BLOCK_COUNT: ClassVar[int] = 1
    ASYNC: ClassVar[bool] = False
    SOURCE_JOBS: ClassVar[Sequence[type]] = ()
    DESTINATION_JOBS: ClassVar[Sequence[type]] = ()

    def __init__(self, id: Any, *, block_count: int | None = None) -> None:  # noqa: A002 - as always
        self.id = id
        count = self.BLOCK_COUNT if block_count is None else block_count
        super().__init__(str(id), encoding=PipeEncoding(self), count=count, dummy=self.stand_in)
        self.kind = type(self).__name__
        self.loose = self.ASYNC

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again where the pipe arrives."""
        return {k: v for k, v in vars(self).items() if k not in {"encoding", "dummy"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.encoding = PipeEncoding(self)
        self.dummy = self.stand_in

    def pack(self, data: Any) -> bytes:
        """Make bytes of a value."""
        raise NotImplementedError(f"{type(self).__name__} has no method pack")

    def unpack(self, data: Any) -> Any:
        """Make a value of what `read` gave."""
        raise NotImplementedError(f"{type(self).__name__} has no method unpack")

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Write what `pack` gave."""
        file.write(data)

    def read(self, file: BinaryIO) -> Any:
        """Read one block; nothing (b"" or None) at the end."""
        if isinstance(self.BLOCK_SIZE, int):
            return file.read(self.BLOCK_SIZE)
        raise NotImplementedError(f"{type(self).__name__} has no method read")

    def read_wrapper(self, file: BinaryIO) -> bytes:
        """Read one block as the bytes that were written."""
        tee = _Tee(file)
        self.read(tee)
        return tee.taken()

    def get_dummy(self) -> Any:
        """Give the value that stands in for a lost block; `NotImplemented`: the one before it."""
        return NotImplemented

    def stand_in(self, previous: Any) -> Any:
        """Give the dummy, or the block before."""
        dummy = self.get_dummy()
        if dummy is not NotImplemented:
            return dummy
        if previous is None and isinstance(self.BLOCK_SIZE, int):
            return bytes(self.BLOCK_SIZE)
        return previous


class PicklePipe(BasePipe):
    """Any Python object."""

    BLOCK_SIZE: ClassVar[int | str] = "pickle"

    def pack(self, data: Any) -> bytes:
        """Pickle it."""
        return pickle.dumps(data)

    def unpack(self, data: Any) -> Any:
        """Unpickle it."""
        return pickle.loads(data)  # noqa: S301 - jobs of one network trust each other

    def read(self, file: BinaryIO) -> Any:
        """Read one pickle."""
        return self.read_wrapper(file)

    def read_wrapper(self, file: BinaryIO) -> bytes:
        """Read the bytes of one pickle."""
        tee = _Tee(file)
        try:
            pickle.load(tee)  # noqa: S301 - see above
        except EOFError:
            return b""
        return tee.taken()


class JSONPipe(BasePipe):
    """What JSON can say, a line of UTF-8 each."""

    BLOCK_SIZE: ClassVar[int | str] = "json"

    def pack(self, data: Any) -> bytes:
        """Make a line."""
        return json.dumps(data, ensure_ascii=False).encode() + b"\n"

    def unpack(self, data: Any) -> Any:
        """Read a line."""
        return json.loads(data)

    def read(self, file: BinaryIO) -> Any:
        """Take a line."""
        return file.readline()

    def read_wrapper(self, file: BinaryIO) -> bytes:
        """Take a line."""
        return file.readline()


class BlockSizeError(ManipleError, ValueError):
    """A block is not as large as its pipe wants it."""


class BytesPipe(BasePipe):
    """Bytes, always the same number of them.

    Args:
        id: as in `BasePipe`.
        block_size: bytes.
        block_count: the receiving job gets a list of so many.

    Raises:
        UsageError: the size is below 1.
    """

    def __init__(self, id: Any, block_size: int, block_count: int = 1) -> None:  # noqa: A002
        if block_size < 1:
            raise UsageError(f"pipe {id}: block_size must be at least 1, not {block_size}")
        self.BLOCK_SIZE = block_size  # type: ignore[misc]
        self.BLOCK_COUNT = block_count  # type: ignore[misc]
        super().__init__(id, block_count=block_count)

    def pack(self, data: Any) -> bytes:
        """Check the size.

        Raises:
            BlockSizeError: it is another one.
        """
        packed = bytes(data)
        if len(packed) != self.BLOCK_SIZE:
            raise BlockSizeError(
                f"pipe {self.id} takes blocks of {self.BLOCK_SIZE} bytes, not of {len(packed)}"
            )
        return packed

    def unpack(self, data: Any) -> Any:
        """Take it as it is."""
        return data


class OptionalMixIn:
    """Put before a pipe class: the receiving job never waits for it.

    It gets the newest value, else (with `OPTIONAL_STORE`) the one it had before, else the default.

    Attributes:
        OPTIONAL_DEFAULT: for a job that has had no value yet.
        OPTIONAL_STORE: give the last value again; otherwise the default.
        OPTIONAL_BUFFER_SIZE: values that may wait, to be given one by one; 0: only the newest.
        OPTIONAL_DELETE_MODE: which one goes when more come: `oldest` or `newest`.
    """

    OPTIONAL_DEFAULT: ClassVar[Any] = None
    OPTIONAL_STORE: ClassVar[bool] = True
    OPTIONAL_BUFFER_SIZE: ClassVar[int] = 0
    OPTIONAL_DELETE_MODE: ClassVar[str] = "oldest"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.OPTIONAL_DELETE_MODE not in {"oldest", "newest"}:
            raise UsageError(
                f"{type(self).__name__}: OPTIONAL_DELETE_MODE is 'oldest' or 'newest',"
                f" not {self.OPTIONAL_DELETE_MODE!r}"
            )
        pipe: Any = self
        pipe.optional = True
        pipe.default = self.OPTIONAL_DEFAULT
        pipe.store = self.OPTIONAL_STORE
        pipe.buffer = self.OPTIONAL_BUFFER_SIZE
        pipe.keep_oldest = self.OPTIONAL_DELETE_MODE == "newest"


class OptionalPicklePipe(OptionalMixIn, PicklePipe):
    """A `PicklePipe` that is never waited for."""


class OptionalJSONPipe(OptionalMixIn, JSONPipe):
    """A `JSONPipe` that is never waited for."""


class OptionalBytesPipe(OptionalMixIn, BytesPipe):
    """A `BytesPipe` that is never waited for."""


class PipeEncoding:
    """How a `BasePipe` travels: by its own methods where it has any, fast where it has not."""

    def __init__(self, pipe: BasePipe) -> None:
        self._pipe = pipe
        own = type(pipe)
        plain = all(
            getattr(own, name) is getattr(PicklePipe, name, None)
            for name in ("pack", "unpack", "write", "read", "read_wrapper")
        )
        self._inner: Encoding = Pickled() if plain else Packed(self._out, self._back, self._split)
        self.prepare = self._inner.prepare
        self.encode = self._inner.encode
        self.decode = self._inner.decode

    def _out(self, value: Any) -> bytes:
        wire = io.BytesIO()
        self._pipe.write(wire, self._pipe.pack(value))
        return wire.getvalue()

    def _back(self, data: bytes) -> Any:
        return self._pipe.unpack(self._pipe.read(io.BytesIO(data)))

    def _split(self, file: BinaryIO) -> bytes:
        return self._pipe.read_wrapper(file)

    def write(self, file: BinaryIO, block: Any) -> None:
        """Write a block into a file that a program reads."""
        self._pipe.write(file, self._pipe.pack(block))

    def read(self, file: BinaryIO) -> Any:
        """Read a block from a file that a program writes."""
        data = self._pipe.read(file)
        if data is None or (isinstance(data, bytes) and not data):
            raise EOFError
        size = self._pipe.BLOCK_SIZE
        if isinstance(size, int) and isinstance(data, bytes) and len(data) < size:
            raise TruncatedError(f"{len(data)} bytes of a block of {size}")
        return self._pipe.unpack(data)


class _Tee(io.BytesIO):
    """Remembers what was read from a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._taken: list[bytes] = []

    def taken(self) -> bytes:
        return b"".join(self._taken)

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(-1 if size is None else size)
        self._taken.append(data)
        return data

    def readline(self, size: int | None = -1) -> bytes:
        data = self._file.readline(-1 if size is None else size)
        self._taken.append(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def pipe_class(name: str) -> type[BasePipe]:
    """Find one of the classes of this module by its name, with or without `Pipe`.

    Raises:
        UsageError: there is none.
    """
    for found in (name, f"{name}Pipe"):
        kind = globals().get(found)
        if isinstance(kind, type) and issubclass(kind, BasePipe):
            return kind
    raise UsageError(f"no pipe class {re.sub(r'Pipe$', '', name)!r} in fission.core.pipes")
