"""The outputs of a job: blocks are handed on in batches when they come fast, at once when not."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from maniple.network.live.wire import Writer

BATCH: Final = 512
FAST_SECONDS: Final = 50e-6
"""A message costs about as much: what comes slower than this does not wait for more."""
BATCH_SECONDS: Final = 200e-6
LATE_SECONDS: Final = 1e-3
QUIET_SECONDS: Final = 0.005
LISTEN_SECONDS: Final = 0.02
RARELY_SECONDS: Final = 0.25


class WrongOutputError(Exception):
    """A job gave another number of values than it has outputs."""


class Outlet:
    """Collects the values of a job, and puts them into its pipes.

    A thread sends what has waited for a millisecond while the job computes its next value, and
    listens to the readers while that takes long. What it and the job's own thread share is kept
    apart by the lock; a job's own thread that waits for messages has the sockets for itself.

    Args:
        writers: the writing ends, in the order of the outputs.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = list(writers)
        self.lock = threading.Lock()
        self._prepare = [writer.prepare for writer in self.writers]
        self._single = self._prepare[0] if len(self._prepare) == 1 else None
        self._columns: list[list[Any]] = [[] for _ in self.writers]
        self._first: list[Any] = self._columns[0] if self.writers else []
        self._began = 0.0
        self._last = 0.0
        self._hurry = threading.Event()
        self._over = False
        self._attended = False
        self._thread: threading.Thread | None = None
        self._broken: BaseException | None = None

    def attend(self) -> None:
        """Note that the job's own thread listens from now on: nobody else may use the sockets."""
        with self.lock:
            self._attended = True
        if self._broken is not None:
            raise self._broken

    def leave(self) -> None:
        """Note that the job's own thread has something else to do."""
        self._attended = False
        if self._thread is None and self.writers and not self._over:
            self._thread = threading.Thread(target=self._watch, name="maniple-outlet", daemon=True)
            self._thread.start()

    @property
    def _unsettled(self) -> bool:
        return any(w.sender.acked < w.sender.next and not w.stopped for w in self.writers)

    @property
    def waiting(self) -> int:
        """Values that have not been sent."""
        return len(self._first)

    @property
    def next(self) -> int:
        """The number that the next value gets."""
        return self.writers[0].sender.next + len(self._first)

    def give(self, value: Any) -> None:
        """Take the value of one call.

        Raises:
            WrongOutputError: it is a tuple of another length than there are outputs.
        """
        if type(value) is tuple and len(value) != len(self._prepare):
            raise WrongOutputError(
                f"{len(value)} values were given, and the job has {len(self._prepare)}"
                f" {'output' if len(self._prepare) == 1 else 'outputs'}"
                " (a tuple is one value for each output)"
            )
        if self._single is not None:
            prepared = self._single(value[0] if type(value) is tuple else value)
            with self.lock:
                self._first.append(prepared)
        else:
            values = value if type(value) is tuple else (value,) * len(self._prepare)
            several = [p(v) for p, v in zip(self._prepare, values, strict=True)]
            with self.lock:
                for column, prepared in zip(self._columns, several, strict=True):
                    column.append(prepared)
        now = time.perf_counter()
        fast = now - self._last < FAST_SECONDS
        self._last = now
        if len(self._first) == 1:
            self._began = now
        if not fast or now - self._began > BATCH_SECONDS or len(self._first) >= BATCH:
            self.flush()
        if self._first and not self._hurry.is_set():
            self._hurry.set()

    def _watch(self) -> None:
        listened = 0.0
        try:
            while not self._over:
                hurry = self._hurry.is_set()
                if hurry:
                    time.sleep(LATE_SECONDS)
                else:
                    rarely = self._attended or not self._unsettled
                    self._hurry.wait(RARELY_SECONDS if rarely else LISTEN_SECONDS)
                now = time.perf_counter()
                if self._first:
                    if now - self._began > LATE_SECONDS:
                        self.flush()
                elif hurry and now - self._last > QUIET_SECONDS:
                    self._hurry.clear()
                    if self._first:
                        # a value came between our look and our word
                        self._hurry.set()
                if now - listened > LISTEN_SECONDS and not self._attended:
                    listened = now
                    with self.lock:
                        if not self._attended:
                            self._listen(time.monotonic())
        except BaseException as error:
            self._broken = error

    def _listen(self, now: float) -> None:
        for writer in self.writers:
            writer.hear(now)
            writer.tick(now)

    def flush(self) -> None:
        """Send what waits."""
        with self.lock:
            for place, writer in enumerate(self.writers):
                column = self._columns[place]
                if not column:
                    continue
                if writer.stopped:
                    writer.sender.skip(writer.sender.next + len(column))
                else:
                    writer.put(column)
                self._columns[place] = []
            if self.writers:
                self._first = self._columns[0]

    def place(self, number: int) -> None:
        """Begin with this number: the readers had what is below."""
        with self.lock:
            for writer in self.writers:
                writer.place(number)

    def hear(self, now: float) -> None:
        """Take what the readers have said."""
        with self.lock:
            for writer in self.writers:
                writer.hear(now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        with self.lock:
            for writer in self.writers:
                writer.tick(now)

    @property
    def room(self) -> int | None:
        """How many values the pipes can take now; None: nobody reads any more."""
        waiting = len(self._first)
        rooms = [w.sender.room - waiting for w in self.writers if not w.stopped]
        return max(0, min(rooms)) if rooms else None

    @property
    def acked(self) -> int | None:
        """All readers are done with what is below this number; None: nobody reads any more."""
        return min((w.sender.acked for w in self.writers if not w.stopped), default=None)

    def end(self) -> None:
        """Send what waits, and tell the readers that nothing follows."""
        self.flush()
        self._over = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()
        if self._broken is not None:
            raise self._broken
        for writer in self.writers:
            writer.end()

    @property
    def finished(self) -> bool:
        """All readers are done with everything."""
        return all(w.sender.finished or w.stopped for w in self.writers)
