"""A file or standard input as a queue, one task a line: `file:PATH`, `file:` or `file:-`.

The input is read as it is needed: the first task can be leased before the input has ended. Who
stops in the middle has no memory of what was done; use a durable queue for that.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from maniple.errors import NotSupportedError, ParamError, QueueError, StorageError, UsageError
from maniple.queue import Failure, Guarantees, Lease, QueueStats, Record, State
from maniple.queues.memory import MemoryQueue
from maniple.task import Task, decode_param

_BLOCK = 1 << 16
DECODERS = ("identity", "json")


def _standard_input() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        raise QueueError("no standard input to read params from: name a file, file:PATH") from None


class LinesQueue:
    """Every line that is not empty is one task, equal lines too.

    Lines are UTF-8; other bytes survive as surrogates (`os.fsencode` gives them back).

    Args:
        rest: path of the file, or nothing or `-` for standard input.
        create: accepted for the sake of all backends alike; a file is never created.
        clock, wall: as in `MemoryQueue`.
        decoder: `identity` (the param is the line's text) or `json` (the line is the param's JSON).
        source: a file descriptor to read instead; it stays the caller's.

    Raises:
        QueueError: the file cannot be opened.
        UsageError: no such decoder.
    """

    guarantees = Guarantees(
        durable=False, shared=False, machines=False, redelivers=True, counts=False, finite=True
    )

    def __init__(
        self,
        rest: str = "",
        *,
        create: bool = True,  # noqa: ARG002 - every backend takes it
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        decoder: str = "identity",
        source: int | None = None,
    ) -> None:
        if decoder not in DECODERS:
            raise UsageError(f"no decoder {decoder!r} of lines: there are {', '.join(DECODERS)}")
        self.url = f"file:{rest}"
        self.name = "standard input" if rest in {"", "-"} else rest
        self._json = decoder == "json"
        self._owned = False
        if source is not None:
            self._source = source
        elif rest in {"", "-"}:
            self._source = _standard_input()
        else:
            try:
                self._source = os.open(rest, os.O_RDONLY | os.O_CLOEXEC)
                self._owned = True
                if os.path.isdir(rest):
                    self.close()
                    raise IsADirectoryError(0, "it is a folder", rest)
            except OSError as error:
                raise QueueError(f"cannot read params from {rest}: {error.strerror}") from None
        self._taken = MemoryQueue(clock=clock, wall=wall, keep_done=False)
        self._lines: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self._line_number = 0
        self._ended = False
        self._error: ParamError | None = None

    def put(self, tasks: Iterable[Task]) -> int:  # noqa: ARG002 - the contract's name
        """Refuse: lines come from the input only."""
        raise NotSupportedError(f"cannot add tasks to {self.name}: put them on sqlite: or dir:")

    def lease(self, limit: int, ttl: float, wait: float = 0.0) -> list[Lease]:
        """Take up to `limit` tasks for `ttl` seconds, waiting up to `wait` for the first one.

        Raises:
            ParamError: a line cannot be decoded; the next call goes on after it.
            StorageError: the input cannot be read.
        """
        until = time.monotonic() + wait
        while True:
            leases = self._taken.lease(limit, ttl)
            if len(leases) < limit and self._feed(limit - len(leases)):
                leases += self._taken.lease(limit - len(leases), ttl)
            if leases:
                return leases
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            left = until - time.monotonic()
            if self._ended:
                return self._taken.lease(limit, ttl, max(0.0, left))
            if left <= 0:
                return []
            # a lapse or a delay may end while the input is silent
            self._readable(min(left, 0.25))

    def _readable(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _feed(self, wanted: int) -> bool:
        """Move lines of the input to the queue, as far as that does not block."""
        tasks: list[Task] = []
        while len(tasks) < wanted and self._error is None:
            if self._lines:
                self._parse(self._lines.popleft(), tasks)
            elif self._ended or not self._readable(0):
                break
            else:
                self._read()
        return bool(self._taken.put(tasks))

    def _read(self) -> None:
        try:
            data = os.read(self._source, _BLOCK)
        except BlockingIOError:
            return
        except OSError as error:
            raise StorageError(f"cannot read params from {self.name}: {error.strerror}") from None
        if not data:
            self._ended = True
            if self._partial:
                self._lines.append(b"".join(self._partial))
                self._partial.clear()
            return
        head, *lines = data.split(b"\n")
        self._partial.append(head)
        if lines:
            self._lines.append(b"".join(self._partial))
            self._partial = [lines.pop()]
            self._lines.extend(lines)

    def _parse(self, line: bytes, tasks: list[Task]) -> None:
        self._line_number += 1
        line = line.removesuffix(b"\r")
        if not line:
            return
        try:
            param = decode_param(line) if self._json else line.decode("utf-8", "surrogateescape")
            tasks.append(Task.of(param, salt=self._line_number))
        except (ValueError, RecursionError, ParamError) as error:
            reason = str(error).splitlines()[0]
            self._error = ParamError(
                f"line {self._line_number} of {self.name} is not valid JSON: {reason}"
            )

    def extend(self, leases: Sequence[Lease], ttl: float) -> list[Lease]:
        """Renew leases to `ttl` seconds from now; return those that are ours no more."""
        return self._taken.extend(leases, ttl)

    def ack(self, leases: Sequence[Lease]) -> list[Lease]:
        """Mark tasks done; return those that are ours no more."""
        return self._taken.ack(leases)

    def nack(self, leases: Sequence[Lease], delay: float = 0.0, *, attempted: bool = True) -> None:
        """Give tasks back, to be leased again after `delay` seconds."""
        self._taken.nack(leases, delay, attempted=attempted)

    def fail(self, failures: Sequence[tuple[Lease, Failure]]) -> None:
        """Set tasks aside for good, with the reason."""
        self._taken.fail(failures)

    def stats(self) -> QueueStats:
        """Count the tasks read so far; until the input has ended, at least one waits."""
        stats = self._taken.stats()
        unread = len(self._lines) + (self._error is not None)
        if not self._ended:
            unread = max(1, unread)
        return QueueStats(
            waiting=(stats.waiting or 0) + unread,
            delayed=stats.delayed,
            leased=stats.leased,
            done=stats.done,
            failed=stats.failed,
            oldest=stats.oldest,
        )

    def records(self, state: State | None = None) -> Iterator[Record]:
        """Walk over the tasks read so far that are not done."""
        return self._taken.records(state)

    def find(self, key: str) -> Record | None:
        """Look up a task that was read and is not done."""
        return self._taken.find(key)

    def retry(self, ids: Sequence[str] | None = None) -> int:
        """Put failed tasks back as new; return how many."""
        return self._taken.retry(ids)

    def purge(self, state: State | None = None) -> int:
        """Forget tasks that were read; return how many."""
        return self._taken.purge(state)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._owned:
            self._owned = False
            os.close(self._source)
