"""The process that calls a user's function: it takes tasks from a socket, one after the other.

A task is one datagram: its index, and its data. Whoever reads a datagram has the task, so the
minion can take back what has not been started by reading from the same end.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple import proctree
from maniple.runners.board import ROOM, Board, Mark, dump_raised

INDEX: Final = struct.Struct("<QB")
INLINE: Final = 0
APART: Final = 1
LARGE: Final = 4096
NOTIFY_SECONDS: Final = 0.001
NOTE: Final = INDEX.pack(0, INLINE)
_RECEIVE: Final = LARGE + INDEX.size
_ROOM_FOR_FD: Final = socket.CMSG_SPACE(struct.calcsize("i"))


def pack(index: int, data: bytes) -> tuple[bytes, int | None]:
    """Make a datagram, and where the data are large a file (its descriptor) that holds them."""
    if len(data) <= LARGE:
        return INDEX.pack(index, INLINE) + data, None
    return INDEX.pack(index, APART), _file_of(data)


def receive(end: socket.socket, flags: int = 0) -> tuple[int, bytes, int | None] | None:
    """Read one datagram: index, data, or a descriptor of the file that holds them.

    None at the end of the stream.
    """
    # socket.recv_fds forgets its flags in Python 3.11
    message, attached, _, _ = end.recvmsg(_RECEIVE, _ROOM_FOR_FD, flags)
    if not message:
        return None
    index, _ = INDEX.unpack_from(message)
    fd = struct.unpack("i", attached[0][2])[0] if attached else None
    return index, message[INDEX.size :], fd


def send(end: socket.socket, message: bytes, fd: int | None, flags: int = 0) -> None:
    """Send one datagram, with a descriptor perhaps, which is closed when it is on its way."""
    if fd is None:
        end.send(message, flags)
    else:
        socket.send_fds(end, [message], [fd], flags)
        os.close(fd)


def read_all(fd: int) -> bytes:
    """Read a file from its start, and close it."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _file_of(data: bytes) -> int:
    import tempfile

    with tempfile.TemporaryFile(prefix="maniple-") as file:
        file.write(data)
        file.flush()
        return os.dup(file.fileno())


def serve(
    end: socket.socket,
    board: Board,
    function: Callable[[Any], Any],
    decode: Callable[[bytes], Any],
    parent: int,
) -> None:
    """Take tasks until the stream ends; never returns to the caller's code."""
    code = 0
    try:
        _become_child(parent)
        _serve(end, board, function, decode)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # the minion's exit handlers are not ours to run
        os._exit(code)


def _become_child(parent: int) -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    proctree.die_with_parent(signal.SIGKILL, parent)
    # when memory runs out, the user's function goes before the minion that would tell of it
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def _serve(
    end: socket.socket,
    board: Board,
    function: Callable[[Any], Any],
    decode: Callable[[bytes], Any],
) -> None:
    clock = time.time
    notified = clock()
    # a minion's own end of the socket is inherited; only its death or its word ends the stream
    while True:
        try:
            message = receive(end, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sys.stdout.flush()
            _notify(end)
            message = receive(end)
        if message is None:
            return
        index, data, fd = message
        start = clock()
        board.running(index, start)
        mark: int = Mark.DONE
        payload = b""
        try:
            value = function(decode(data if fd is None else read_all(fd)))
            if value is not None:
                payload = pickle.dumps(value, 5)
        except BaseException as error:  # an exit or an interrupt of the user's is a failure too
            mark = Mark.RAISED
            payload = dump_raised(error)
        stop = clock()
        if len(payload) > ROOM:
            mark += Mark.DONE_APART - Mark.DONE
            send(end, INDEX.pack(index, APART), _file_of(payload))
            payload = b""
        board.ended(index, mark, start, stop, payload)
        if stop - notified > NOTIFY_SECONDS or stop < notified:
            _notify(end)
            notified = stop


def _notify(end: socket.socket) -> None:
    # a full socket wakes the minion just as well
    with suppress(BlockingIOError):
        end.send(NOTE, socket.MSG_DONTWAIT)
