"""What a WASI sandbox and its child say to each other: MessagePack frames over a socket.

A frame is its length (8 bytes, little-endian), then one message; descriptors that belong to it
travel with the length. The guest has no descriptor of the machine, so no frame can come from it.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import msgspec

from maniple.algorithm.call import Limits

HEADER: Final = 8
_MOST_DESCRIPTORS: Final = 4
_ONE_READ: Final = 1 << 20


class Ready(msgspec.Struct, tag=True, omit_defaults=True):
    """Child: I can be called. With it travels a descriptor of the private folder.

    Attributes:
        walls: what holds around the child, by name.
        mounted: the private folder is a file system of its own, which ends with the child.
        folder: where it is, when it is not.
    """

    walls: list[str]
    mounted: bool
    folder: str = ""


class Compile(msgspec.Struct, tag=True):
    """Parent: make machine code of the module whose descriptor travels with this.

    Attributes:
        memory: bytes that may be taken for it.
    """

    memory: int


class Compiled(msgspec.Struct, tag=True):
    """Child: here it is."""

    code: bytes


class Load(msgspec.Struct, tag=True, omit_defaults=True):
    """Parent: keep this module (the descriptor of its machine code travels along).

    Attributes:
        digest: of the module, its name from now on.
        forget: modules that are not needed any more.
    """

    digest: str
    forget: list[str] = []


class Loaded(msgspec.Struct, tag=True):
    """Child: it is kept."""


class Run(msgspec.Struct, tag=True, omit_defaults=True):
    """Parent: run this; a descriptor of the starting file system's zip travels along, if any.

    Attributes:
        digest: of the module.
        name: the algorithm's, which is its `argv[0]`.
        params, arguments, files, results, limits: as in `Call`.
        data: whether there is a zip.
    """

    digest: str
    name: str
    params: bytes
    arguments: list[str]
    files: dict[str, bytes]
    results: list[str]
    limits: Limits
    data: bool = False


class Ended(msgspec.Struct, tag=True, omit_defaults=True):
    """Child: how the run ended. What was printed is in the files of the streams.

    Attributes:
        ok, files, missing, cause, error, exit_code: as in `Answer`.
        value: of a `main` that was called directly.
        last: the child ends itself after this, for the code still ran.
    """

    ok: bool = False
    value: bytes | None = None
    files: dict[str, bytes] = {}
    missing: list[str] = []
    cause: str = ""
    error: str = ""
    exit_code: int | None = None
    last: bool = False


class Refused(msgspec.Struct, tag=True):
    """Child: the module cannot be compiled or loaded."""

    cause: str
    error: str


ToChild = Compile | Load | Run
ToParent = Ready | Compiled | Loaded | Ended | Refused

encode: Final = msgspec.msgpack.Encoder().encode
decode_to_child: Final = msgspec.msgpack.Decoder(ToChild).decode
decode_to_parent: Final = msgspec.msgpack.Decoder(ToParent).decode


def header(body: bytes) -> bytes:
    """Make what goes before a frame's body."""
    return len(body).to_bytes(HEADER, "little")


def send(link: socket.socket, message: ToChild | ToParent, fds: list[int] | None = None) -> None:
    """Send one message; waits until all of it is taken.

    Raises:
        OSError: the other end is gone.
    """
    body = encode(message)
    if fds or len(body) > _ONE_READ:
        socket.send_fds(link, [header(body)], fds or [])
        link.sendall(body)
    else:
        link.sendall(header(body) + body)


def receive(link: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for one frame's body and its descriptors.

    Raises:
        EOFError: the other end is gone.
    """
    head, fds, _, _ = socket.recv_fds(link, HEADER, _MOST_DESCRIPTORS)
    try:
        while len(head) < HEADER:
            head += _more(link, HEADER - len(head))
        return bytes(read_exactly(link, int.from_bytes(head, "little"))), fds
    except EOFError:
        for fd in fds:
            os.close(fd)
        raise


def read_exactly(link: socket.socket, size: int) -> bytearray:
    """Wait for so many bytes.

    Raises:
        EOFError: the other end is gone.
    """
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = link.recv_into(view[at : at + _ONE_READ])
        if not count:
            raise EOFError
        at += count
    return data


def _more(link: socket.socket, size: int) -> bytes:
    data = link.recv(size)
    if not data:
        raise EOFError
    return data
