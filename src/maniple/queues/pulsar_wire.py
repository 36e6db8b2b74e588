"""Pulsar's binary protocol as bytes: commands out, commands and messages in.

A frame is `size, command size, command` and, for messages, `metadata size, metadata, payload`;
commands and metadata are protobuf. Field numbers are those of PulsarApi.proto. Messages are sent
without the optional checksum: the broker's storage has its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, Final

PROTOCOL_VERSION: Final = 19
ACK_RECEIPTS_SINCE: Final = 17
_CHECKSUM_MAGIC: Final = b"\x0e\x01"
_TWO_SIZES: Final = struct.Struct(">II")
_SIZE: Final = struct.Struct(">I")
_MOST_SINGLE: Final = 0x7F
_BITS: Final = 64


class Command(IntEnum):
    """Kinds of commands; each is also the number of the field that holds its body."""

    CONNECT = 2
    CONNECTED = 3
    SUBSCRIBE = 4
    PRODUCER = 5
    SEND = 6
    SEND_RECEIPT = 7
    SEND_ERROR = 8
    MESSAGE = 9
    ACK = 10
    FLOW = 11
    SUCCESS = 13
    ERROR = 14
    CLOSE_PRODUCER = 15
    CLOSE_CONSUMER = 16
    PRODUCER_SUCCESS = 17
    PING = 18
    PONG = 19
    REDELIVER = 20
    PARTITIONS = 21
    PARTITIONS_RESPONSE = 22
    LOOKUP = 23
    LOOKUP_RESPONSE = 24
    CONSUMER_STATS = 25
    CONSUMER_STATS_RESPONSE = 26
    ACK_RESPONSE = 38


REQUEST_FIELD: Final = {
    Command.SUCCESS: 1,
    Command.ERROR: 1,
    Command.PRODUCER_SUCCESS: 1,
    Command.PARTITIONS_RESPONSE: 2,
    Command.LOOKUP_RESPONSE: 4,
    Command.CONSUMER_STATS_RESPONSE: 1,
    Command.ACK_RESPONSE: 6,
}
"""Where an answer says which request it answers."""

ERROR_FIELDS: Final = {
    Command.ERROR: (2, 3),
    Command.SEND_ERROR: (3, 4),
    Command.PARTITIONS_RESPONSE: (4, 5),
    Command.LOOKUP_RESPONSE: (6, 7),
    Command.CONSUMER_STATS_RESPONSE: (2, 3),
    Command.ACK_RESPONSE: (4, 5),
}
"""Where an answer holds the code and the text of an error."""


class Code(IntEnum):
    """Errors that a broker answers with, as far as they are told apart here."""

    UNKNOWN = 0
    METADATA = 1
    PERSISTENCE = 2
    AUTHENTICATION = 3
    AUTHORIZATION = 4
    CONSUMER_BUSY = 5
    NOT_READY = 6
    TOPIC_NOT_FOUND = 11
    CONSUMER_NOT_FOUND = 13
    TOO_MANY_REQUESTS = 14
    INVALID_TOPIC = 17


TRANSIENT: Final = frozenset(
    {
        Code.UNKNOWN,
        Code.METADATA,
        Code.PERSISTENCE,
        Code.CONSUMER_BUSY,
        Code.NOT_READY,
        Code.CONSUMER_NOT_FOUND,
        Code.TOO_MANY_REQUESTS,
    }
)
"""Errors after which the same request may succeed a moment later."""


def varint(value: int) -> bytes:
    """Write a whole number of 0 or more."""
    if value <= _MOST_SINGLE:
        return bytes((value,))
    out = bytearray()
    while value > _MOST_SINGLE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Write a field that is a whole number."""
    return varint(field << 3) + varint(value)


def blob(field: int, data: bytes) -> bytes:
    """Write a field that is bytes or a message."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def text(field: int, value: str) -> bytes:
    """Write a field that is text."""
    return blob(field, value.encode())


def pairs(field: int, values: Mapping[str, str]) -> bytes:
    """Write a repeated field of keys and values."""
    return b"".join(blob(field, text(1, key) + text(2, value)) for key, value in values.items())


def position(ledger: int, entry: int) -> bytes:
    """Write the id of a message."""
    return b"\x08" + varint(ledger) + b"\x10" + varint(entry)


def command(kind: Command, body: bytes = b"") -> bytes:
    """Frame a command."""
    data = number(1, kind) + blob(kind, body)
    return _TWO_SIZES.pack(len(data) + 4, len(data)) + data


def sending(producer: int, sequence: int, metadata: bytes, payload: bytes) -> bytes:
    """Frame a message to be published."""
    body = b"\x08" + varint(producer) + b"\x10" + varint(sequence)
    data = b"\x08\x06\x32" + varint(len(body)) + body
    size = 4 + len(data) + 4 + len(metadata) + len(payload)
    head = _TWO_SIZES.pack(size, len(data))
    return b"".join((head, data, _SIZE.pack(len(metadata)), metadata, payload))


def fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, Any]]:
    """Walk over the fields of a protobuf message: numbers as int, all else as bytes."""
    end = len(data) if end is None else end
    while at < end:
        tag = data[at]
        at += 1
        if tag > _MOST_SINGLE:
            tag, at = _long(data, at - 1)
        kind = tag & 7
        if kind == 0:
            value = data[at]
            at += 1
            if value > _MOST_SINGLE:
                value, at = _long(data, at - 1)
            yield tag >> 3, value
        elif kind == 2:  # noqa: PLR2004 - protobuf: bytes with their length
            size = data[at]
            at += 1
            if size > _MOST_SINGLE:
                size, at = _long(data, at - 1)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            size = 8 if kind == 1 else 4
            yield tag >> 3, data[at : at + size]
            at += size


def _long(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte <= _MOST_SINGLE:
            return value, at
        shift += 7


def signed(value: int) -> int:
    """Read a 64 bit number that may be negative."""
    return value - (1 << _BITS) if value >> (_BITS - 1) else value


def frames(buffer: bytearray) -> Iterator[bytes]:
    """Take the whole frames from the front of what was received."""
    at = 0
    while len(buffer) - at >= _SIZE.size:
        (size,) = _SIZE.unpack_from(buffer, at)
        if len(buffer) - at - _SIZE.size < size:
            break
        at += _SIZE.size
        yield bytes(buffer[at : at + size])
        at += size
    del buffer[:at]


def unframe(frame: bytes) -> tuple[int, bytes, int]:
    """Read the command of a frame: its kind, its body, where it ends."""
    end = _SIZE.size + _SIZE.unpack_from(frame)[0]
    kind, body = 0, b""
    for field, value in fields(frame, _SIZE.size, end):
        if field == 1:
            kind = value
        else:
            body = value
    return kind, body, end


class Message:
    """A message (or a container of several) as it came.

    Attributes:
        ledger: first part of its id.
        entry: second part of its id.
        count: how many messages it holds.
        batched: it is a container, perhaps of one.
        properties: of the message; a container's messages have their own.
        trouble: why its content cannot be read, or nothing.
    """

    __slots__ = ("_live", "batched", "count", "entry", "ledger", "payload", "properties", "trouble")

    def __init__(self, frame: bytes, at: int, place: bytes) -> None:
        spot = dict(fields(place))
        self.ledger: int = spot[1]
        self.entry: int = spot[2]
        if frame[at : at + 2] == _CHECKSUM_MAGIC:
            at += 6
        (size,) = _SIZE.unpack_from(frame, at)
        at += _SIZE.size
        self.properties: dict[str, str] = {}
        self.count = 1
        self.batched = False
        self.trouble = ""
        self._live: list[int] | None = None
        compression = plain_size = 0
        for field, value in fields(frame, at, at + size):
            if field == 4:  # noqa: PLR2004 - numbers of PulsarApi.proto, here and below
                key, text = _pair(value)
                self.properties[key] = text
            elif field == 8:  # noqa: PLR2004
                compression = value
            elif field == 9:  # noqa: PLR2004
                plain_size = value
            elif field == 11:  # noqa: PLR2004
                self.count, self.batched = value, True
            elif field == 13:  # noqa: PLR2004
                self.trouble = "it is encrypted"
            elif field == 27 and value > 1:  # noqa: PLR2004
                self.trouble = "it is a part of a message that was cut into chunks"
        self.payload = frame[at + size :]
        if compression and not self.trouble:
            self._unpack(compression, plain_size)

    def _unpack(self, compression: int, size: int) -> None:
        names = {1: "LZ4", 2: "ZLIB", 3: "ZSTD", 4: "SNAPPY"}
        name = names.get(compression, str(compression))
        try:
            if name == "ZLIB":
                self.payload = zlib.decompress(self.payload)
            elif name == "LZ4":
                self.payload = _unpack_lz4(self.payload, size)
            else:
                self.trouble = f"it is compressed with {name}; only LZ4 and ZLIB are read here"
        except (zlib.error, IndexError, ValueError):
            self.trouble = f"it is damaged: {name} cannot unpack it"

    def acknowledged_but(self, words: Iterable[int]) -> None:
        """Take the bits of those messages of a container that are not acknowledged yet."""
        bits = 0
        for place, word in enumerate(words):
            bits |= word << (_BITS * place)
        self._live = [index for index in range(self.count) if bits >> index & 1]

    def parts(self) -> Iterator[tuple[int, dict[str, str], bytes]]:
        """Walk over a container's messages: index, properties, payload."""
        data, at = self.payload, 0
        for index in range(self.count):
            (size,) = _SIZE.unpack_from(data, at)
            at += _SIZE.size
            properties: dict[str, str] = {}
            length = 0
            gone = False
            for field, value in fields(data, at, at + size):
                if field == 1:
                    key, text = _pair(value)
                    properties[key] = text
                elif field == 3:  # noqa: PLR2004
                    length = value
                elif field == 4:  # noqa: PLR2004
                    gone = bool(value)
            at += size
            if not gone and (self._live is None or index in self._live):
                yield index, properties, data[at : at + length]
            at += length


def _pair(data: bytes) -> tuple[str, str]:
    both = dict(fields(data))
    return both.get(1, b"").decode("utf-8", "replace"), both.get(2, b"").decode("utf-8", "replace")


def _unpack_lz4(data: bytes, size: int) -> bytes:
    """Unpack one block of LZ4."""
    out = bytearray()
    at = 0
    while at < len(data):
        token = data[at]
        at += 1
        length, at = _lz4_length(data, at, token >> 4)
        out += data[at : at + length]
        at += length
        if at >= len(data):
            break
        back = data[at] | data[at + 1] << 8
        length, at = _lz4_length(data, at + 2, token & 15)
        start = len(out) - back
        if not back or start < 0:
            raise ValueError("damaged")
        for place in range(start, start + length + 4):
            # a copy may overlap what it makes
            out.append(out[place])
    if len(out) != size:
        raise ValueError("damaged")
    return bytes(out)


def _lz4_length(data: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:  # noqa: PLR2004 - more bytes follow
        while True:
            more = data[at]
            at += 1
            length += more
            if more != 255:  # noqa: PLR2004
                break
    return length, at
