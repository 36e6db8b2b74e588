"""The runner for Python functions: a child process calls them, one task after the other.

A crash, an exit or a leak of the user's code ends the child and fails one attempt; the minion
starts another child, which goes on with the next task.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import Any, Final

from maniple import proctree
from maniple.runner import Context, Outcome
from maniple.runners import child
from maniple.runners.board import SLOTS, Board, Mark, load_raised, load_value
from maniple.runners.process import GRACE_SECONDS, signal_name
from maniple.task import Task, decode_param

WINDOW: Final = SLOTS // 2
RECYCLE_BYTES: Final = 1 << 30
LOOK_SECONDS: Final = 1.0
MOST_FRUITLESS: Final = 3
FIRST_NAP_SECONDS: Final = 0.001


class FunctionRunner:
    """Calls `function(param)` for each task, in a child process.

    Args:
        function: any callable; it need not be picklable, for the child is a fork.
        decode: makes the param from the task's data, in the child.
        recycle: bytes that the child's resident memory may grow by since it was first looked at;
            beyond that it is replaced between two tasks.
        grace: seconds between TERM and KILL.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        decode: Callable[[bytes], Any] = decode_param,
        recycle: int = RECYCLE_BYTES,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._function = function
        self._decode = decode
        self._recycle = recycle
        self._grace = grace
        self.lock: AbstractContextManager[Any] = threading.RLock()
        self._board = Board()
        self._tasks: dict[int, Task] = {}
        self._unsent: deque[int] = deque()
        self._apart: dict[int, bytes] = {}
        self._next = 0
        self._sent = 0
        self._child = 0
        self._handle = -1
        self._looked = 0.0
        self._usual = 0
        self._worked = False
        self._fruitless = 0
        self._cut: int | None = None
        self._cut_start = 0.0
        self._nap = FIRST_NAP_SECONDS
        self._retiring = False
        self._seen = (-1, 0.0)
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None

    def fileno(self) -> int:
        """Readable when something has ended (-1 before the first task)."""
        return self._ours.fileno() if self._ours is not None else -1

    @property
    def pending(self) -> int:
        """How many tasks have been handed over and not been collected."""
        return len(self._tasks)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand tasks over; the child starts with the first at once."""
        with self.lock:
            for task in tasks:
                self._tasks[self._next] = task
                self._unsent.append(self._next)
                self._next += 1
            self._send()

    def _send(self) -> None:
        if self._child:
            self._retire()
        if not self._unsent or self._retiring:
            return
        if not self._child:
            self._start()
        ours = self._ours
        assert ours is not None  # noqa: S101 - _start has made it
        while self._unsent and self._sent < WINDOW:
            index = self._unsent[0]
            # a slot is free again only when the task that had it was collected
            if index - next(iter(self._tasks)) >= SLOTS:
                return
            try:
                message, fd = child.pack(index, self._tasks[index].data)
                child.send(ours, message, fd, socket.MSG_DONTWAIT)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                return
            self._unsent.popleft()
            self._sent += 1

    def _start(self) -> None:
        if self._ours is None or self._theirs is None:
            self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        lasting = threading.current_thread() is threading.main_thread()
        # what is in a buffer at the fork would be written twice
        child.flush_output()
        with warnings.catch_warnings():
            # the minion's other thread waits for the lock that is held here: it holds no other
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._ours.close()
            child.serve(
                self._theirs, self._board, self._function, self._decode, parent, lasting=lasting
            )
        self._child = pid
        # the child does the same: whoever is first, the group exists when it is needed
        with suppress(OSError):
            os.setpgid(pid, pid)
        self._handle = _open_handle(pid)
        self._looked = time.monotonic()
        self._usual = 0
        self._worked = False

    def collect(self, context: Context, timeout: float) -> list[tuple[Task, Outcome]]:
        """Wait for ended attempts, up to `timeout` seconds; return all there are.

        Returns early, with nothing perhaps: when the minion must stop, and while tasks are quick.
        """
        with self.lock:
            self._send()
            ended = self._scan()
            if ended or not self._tasks or self._ours is None:
                self._send()
                return ended
            poll = select.poll()
            poll.register(self._ours, select.POLLIN)
            poll.register(context.cancel, select.POLLIN)
            if self._handle >= 0:
                poll.register(self._handle, select.POLLIN)
            patience = self._patience(context, timeout)
        poll.poll(patience * 1000)
        with self.lock:
            self._drain()
            ended = self._scan()
            if not ended and not context.cancel.requested:
                ended = self._look(context)
            self._send()
            return ended

    def _patience(self, context: Context, timeout: float) -> float:
        # the child tells of ends a millisecond apart, and not of those just before a long task
        timeout = min(timeout, self._nap)
        self._nap *= 2
        if context.time_limit is None:
            return timeout
        return max(0.0, min(timeout, context.time_limit - self._running_for()))

    def _running_for(self) -> float:
        """Tell how long the first task has been seen running, by a clock that nobody sets."""
        index = next(iter(self._tasks))
        if self._board.read(index)[0] != Mark.RUNNING:
            return 0.0
        now = time.monotonic()
        if self._seen[0] != index:
            self._seen = (index, now)
        return now - self._seen[1]

    def _drain(self) -> None:
        """Take the child's notes from the socket; some carry a result that is large."""
        while self._ours is not None:
            try:
                note = child.receive(self._ours, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                return
            if note is None:
                return
            index, _, fd = note
            if fd is not None:
                self._apart[index] = child.read_all(fd)

    def _scan(self) -> list[tuple[Task, Outcome]]:
        ended: list[tuple[Task, Outcome]] = []
        for index in self._tasks:
            mark, length, start, end = self._board.read(index)
            if mark < Mark.DONE:
                break
            if mark >= Mark.DONE_APART:
                if index not in self._apart:
                    self._drain()
                payload = self._apart.pop(index, b"")
                mark = mark - (Mark.DONE_APART - Mark.DONE) if payload else Mark.FREE
            else:
                payload = self._board.payload(index, length) if length else b""
            self._board.free(index)
            ended.append((self._tasks[index], _outcome(mark, payload, start, end)))
        for index in list(islice(self._tasks, len(ended))):
            del self._tasks[index]
        self._sent -= len(ended)
        if ended:
            self._worked = True
            self._fruitless = 0
            self._nap = FIRST_NAP_SECONDS
        return ended

    def _look(self, context: Context) -> list[tuple[Task, Outcome]]:
        """See whether the child has died, is late, or has grown too large."""
        if self._child and proctree.has_ended(self._child):
            status = self._end()
            ended = self._scan()
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
            cause = signal_name(-code) if code < 0 else f"exit {code}"
            return ended + self._fail_running(cause, f"the function's process {how}")
        if not self._tasks or not self._child:
            return []
        limit = context.time_limit
        if limit is not None and self._running_for() >= limit:
            self._end()
            # it may have made it in the last moment
            return self._scan() or self._fail_running(
                "time limit", f"ran longer than the time limit of {limit:g} s, and was ended"
            )
        return []

    def _fail_running(self, cause: str, error: str) -> list[tuple[Task, Outcome]]:
        """Fail the task that the end of the child cut short; the others are to be sent again."""
        index, end = self._cut, time.time()
        start = end
        if index is not None:
            start = self._cut_start
        elif self._unsent and self._fruitless >= MOST_FRUITLESS:
            # it does not even come to run a task: say so once per task, and not for ever
            index = self._unsent[0]
        if index is None or index not in self._tasks:
            return []
        self._cut, self._fruitless = None, 0
        self._unsent.remove(index)
        task = self._tasks.pop(index)
        return [(task, Outcome(ok=False, start=start, end=end, cause=cause, error=error))]

    def _end(self) -> int:
        """End the child and all it started; what it had not finished is to be sent again."""
        if not self._child:
            return 0
        if proctree.has_ended(self._child):
            proctree.signal_group(self._child, signal.SIGKILL)
            status = os.waitpid(self._child, 0)[1]
        else:
            status = proctree.end_tree(self._child, grace=self._grace)
        self._drain()
        self._steal()
        if self._handle >= 0:
            os.close(self._handle)
        self._child, self._handle = 0, -1
        self._retiring = False
        self._fruitless += 1
        self._cut = None
        finished = 0
        # tasks end in order; the slots beyond the first `SLOTS` tasks are not theirs yet
        for index in islice(self._tasks, SLOTS):
            mark, _, start, _ = self._board.read(index)
            if mark >= Mark.DONE:
                finished += 1
                continue
            if mark == Mark.RUNNING:
                self._board.free(index)
                self._cut, self._cut_start = index, start
            break
        self._unsent = deque(islice(self._tasks, finished, None))
        self._sent = finished
        return status

    def _retire(self) -> None:
        """Replace a child that has grown too large, when it has finished what it is at."""
        now = time.monotonic()
        if not self._retiring and self._worked and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            size = resident_bytes(self._child)
            # a model that a first task loads, and the minion's own memory, are no leak
            self._usual = self._usual or size
            if size - self._usual > self._recycle:
                self._retiring = True
                stolen = self._steal()
                self._sent -= len(stolen)
                self._unsent.extendleft(reversed(stolen))
        if self._retiring and self._sent == 0:
            self._end()

    def _steal(self) -> list[int]:
        taken: list[int] = []
        if self._theirs is None:
            return taken
        while True:
            try:
                message = child.receive(self._theirs, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                return taken
            if message is None:
                return taken
            index, _, fd = message
            if fd is not None:
                os.close(fd)
            taken.append(index)

    def withdraw(self) -> list[Task]:
        """Take back what has not been started. Whoever reads a datagram has the task."""
        with self.lock:
            if len(self._tasks) < 2:  # noqa: PLR2004 - the one there is has started
                return []
            stolen = self._steal()
            self._sent -= len(stolen)
            indices = stolen + list(self._unsent)
            self._unsent.clear()
            return [self._tasks.pop(index) for index in indices]

    def stop(self) -> list[tuple[Task, Outcome]]:
        """End the child; return what it had finished."""
        with self.lock:
            self._end()
            return self._scan()

    def close(self) -> None:
        """End the child, and let go of the sockets."""
        self._end()
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
        self._ours = self._theirs = None
        self._tasks.clear()
        self._unsent.clear()

    def __del__(self) -> None:
        # who only drops a runner (a fork's copy of it, say) has no say over the child
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()


def _outcome(mark: int, payload: bytes, start: float, end: float) -> Outcome:
    if mark == Mark.DONE:
        try:
            return Outcome(True, start, end, None, None, load_value(payload))
        except BaseException as error:  # the result's own code is run here, and may do anything
            cause, text = type(error).__name__, f"the result cannot be unpickled: {error!r}"
            return Outcome(ok=False, start=start, end=end, cause=cause, error=text)
    if mark == Mark.RAISED:
        cause, text, raised = load_raised(payload)
        return Outcome(ok=False, start=start, end=end, cause=cause, error=text, value=raised)
    text = "the result was lost: too many open files, perhaps"
    return Outcome(ok=False, start=start, end=end, cause="no result", error=text)


def resident_bytes(pid: int) -> int:
    """Tell how much memory a process occupies (0 where that cannot be known)."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _open_handle(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
