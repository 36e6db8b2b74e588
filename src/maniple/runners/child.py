"""The process that calls a user's function: it takes tasks from a socket, one after the other.

A task is one datagram: its index, and its data. Whoever reads a datagram has the task, so the
minion can take back what has not been started by reading from the same end.
"""

from __future__ import annotations

import errno
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from maniple import proctree
from maniple.errors import StorageError
from maniple.runners.board import ROOM, Board, Mark, dump_raised
from maniple.scratch import unnamed_file

INDEX: Final = struct.Struct("<QB")
INLINE: Final = 0
APART: Final = 1
LARGE: Final = 4096
LONGEST_READ: Final = 1 << 30
NOTIFY_SECONDS: Final = 0.001
CROWDED_SECONDS: Final = 0.002
NAP_SECONDS: Final = 0.2
NOTE: Final = INDEX.pack(0, INLINE)
_RECEIVE: Final = LARGE + INDEX.size
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_ROOM_FOR_FD: Final = socket.CMSG_SPACE(struct.calcsize("i"))


def pack(index: int, data: bytes) -> tuple[bytes, int | None]:
    """Make a datagram, and where the data are large a file (its descriptor) that holds them.

    Raises:
        StorageError: that file cannot be written.
    """
    if len(data) <= LARGE:
        return INDEX.pack(index, INLINE) + data, None
    try:
        return INDEX.pack(index, APART), _file_of(data)
    except OSError as error:
        raise StorageError(
            f"a param of {len(data)} bytes cannot be handed over by a temporary file: {error}"
        ) from None


def receive(end: socket.socket, flags: int = 0) -> tuple[int, bytes, int | None] | None:
    """Read one datagram: index, data, or a descriptor of the file that holds them.

    None at the end of the stream.
    """
    # socket.recv_fds forgets its flags in Python 3.11
    message, attached, _, _ = end.recvmsg(_RECEIVE, _ROOM_FOR_FD, flags | _CLOEXEC)
    if not message:
        return None
    index, _ = INDEX.unpack_from(message)
    fd = struct.unpack("i", attached[0][2])[0] if attached else None
    return index, message[INDEX.size :], fd


def send(end: socket.socket, message: bytes, fd: int | None, flags: int = 0) -> None:
    """Send one datagram, with a descriptor perhaps, which is closed in any case.

    Raises:
        BlockingIOError: with `MSG_DONTWAIT`, there is no room now.
    """
    if fd is None:
        end.send(message, flags)
        return
    try:
        while True:
            try:
                socket.send_fds(end, [message], [fd], flags)
            except OSError as error:
                # the system limits how many descriptors a user may have on their way
                if error.errno != errno.ETOOMANYREFS:
                    raise
                if flags & socket.MSG_DONTWAIT:
                    raise BlockingIOError from None
                time.sleep(CROWDED_SECONDS)
            else:
                return
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """Read a file from its start, and close it."""
    try:
        return _read_all(fd)
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    if size <= LONGEST_READ:
        return os.pread(fd, size, 0)
    data = bytearray()
    while piece := os.pread(fd, LONGEST_READ, len(data)):
        data += piece
    return bytes(data)


def _file_of(data: bytes) -> int:
    fd = unnamed_file()
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def serve(
    end: socket.socket,
    board: Board,
    function: Callable[[Any], Any],
    decode: Callable[[bytes], Any],
    parent: int,
    *,
    lasting: bool,
) -> None:
    """Take tasks until the stream ends; never returns to the caller's code.

    `lasting`: the thread that forked us is its process's main one, which ends with the process.
    """
    code = 0
    try:
        _become_child(parent, lasting=lasting)
        _serve(end, board, function, decode)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        code = 1
        with suppress(Exception):
            sys.excepthook(*sys.exc_info())
    finally:
        flush_output()
        # the minion's exit handlers are not ours to run
        os._exit(code)


def flush_output() -> None:
    """Write what was printed, wherever that goes; it may be closed, or be nothing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _become_child(parent: int, *, lasting: bool) -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    if lasting:
        proctree.die_with_parent(signal.SIGKILL, parent)
    else:
        # the kernel's signal would come when the thread ends that forked us
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    # what a function starts and lets go of is found below us, and ends with us
    proctree.adopt_orphans()
    # when memory runs out, the user's function goes before the minion that would tell of it
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def _watch(parent: int) -> None:
    """End our group when the parent has ended."""
    with suppress(AttributeError, OSError):
        poll = select.poll()
        poll.register(os.pidfd_open(parent), select.POLLIN)
        if os.getppid() == parent:
            poll.poll()
    while os.getppid() == parent:
        time.sleep(NAP_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _serve(
    end: socket.socket,
    board: Board,
    function: Callable[[Any], Any],
    decode: Callable[[bytes], Any],
) -> None:
    clock = time.time
    process = os.getpid()
    notified = clock()
    # a minion's own end of the socket is inherited; only its death or its word ends the stream
    while True:
        message = _next(end)
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
            if os.getpid() != process:
                raise
            mark = Mark.RAISED
            payload = dump_raised(error)
        if os.getpid() != process:
            # the function has forked, and this is the copy: the task is the other's
            return
        stop = clock()
        if len(payload) > ROOM:
            mark, payload = _send_apart(end, index, mark, payload)
        board.ended(index, mark, start, stop, payload)
        if stop - notified > NOTIFY_SECONDS or stop < notified:
            _notify(end)
            notified = stop


def _next(end: socket.socket) -> tuple[int, bytes, int | None] | None:
    try:
        try:
            return receive(end, socket.MSG_DONTWAIT)
        except BlockingIOError:
            flush_output()
            _notify(end)
            return receive(end)
    except OSError:
        # the function has closed what is not its own; another process goes on in our place
        return None


def _send_apart(end: socket.socket, index: int, mark: int, payload: bytes) -> tuple[int, bytes]:
    """Send a payload that does not fit the board in a file of its own."""
    try:
        send(end, INDEX.pack(index, APART), _file_of(payload))
    except OSError as error:
        problem = OSError(f"the result ({len(payload)} bytes) cannot be handed over: {error}")
        return Mark.RAISED, dump_raised(problem)
    return mark + Mark.DONE_APART - Mark.DONE, b""


def _notify(end: socket.socket) -> None:
    # a full socket wakes the minion just as well; a closed one is noticed by `_next`
    with suppress(OSError):
        end.send(NOTE, socket.MSG_DONTWAIT)
