"""The process of a job that is a program: blocks go into its files and come out of them.

Each file has a thread, for a file may block; the pipes belong to the main thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

from maniple.network.live.jobhost import IDLE_SECONDS, SLICE, JobHost
from maniple.network.live.ports import Port
from maniple.network.live.slate import Slate
from maniple.network.program import Program, ProgramError

_AHEAD: Final = 2048
_BYTES_AHEAD: Final = 4 << 20


class _Feed:
    """Writes blocks into one file of the program."""

    def __init__(self, file: BinaryIO, write: Callable[[BinaryIO, Any], None], wake: int) -> None:
        self._file = file
        self._write = write
        self._wake = wake
        self.queue: SimpleQueue[list[Any] | None] = SimpleQueue()
        self.given = 0
        self.taken = 0
        self.broken: BaseException | None = None
        self.deaf = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="maniple-feed")
        self._thread.start()

    def _run(self) -> None:
        try:
            while (blocks := self.queue.get()) is not None:
                for block in blocks:
                    self._write(self._file, block)
                if self.queue.empty():
                    self._file.flush()
                self.taken += len(blocks)
                os.eventfd_write(self._wake, 1)
            self._file.close()
        except BrokenPipeError:
            self.deaf = True
            with suppress(OSError):
                self._file.close()
        except BaseException as error:
            self.broken = error
        os.eventfd_write(self._wake, 1)


class _Result:
    """Reads blocks from one file of the program."""

    def __init__(self, file: BinaryIO, read: Callable[[BinaryIO], Any], wake: int) -> None:
        self._file = file
        self._read = read
        self._wake = wake
        self._room = threading.Condition()
        self._bytes = 0
        self.blocks: deque[Any] = deque()
        self.ended = False
        self.broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="maniple-result")
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                block = self._read(self._file)
                with self._room:
                    while len(self.blocks) >= _AHEAD or self._bytes > _BYTES_AHEAD:
                        self._room.wait()
                    empty = not self.blocks
                    self.blocks.append(block)
                    self._bytes += sys.getsizeof(block)
                if empty:
                    os.eventfd_write(self._wake, 1)
        except EOFError:
            self._file.close()
        except BaseException as error:
            self.broken = error
        self.ended = True
        os.eventfd_write(self._wake, 1)

    def take(self, most: int) -> list[Any]:
        with self._room:
            blocks = [self.blocks.popleft() for _ in range(min(most, len(self.blocks)))]
            self._bytes -= sum(map(sys.getsizeof, blocks))
            self._room.notify()
        return blocks


class StreamHost(JobHost):
    """Runs a `Program`; the arguments are those of `JobHost`."""

    def __init__(
        self,
        job: Program,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        say: Callable[[bytes], Any],
        slate: Slate,
        *,
        restarted: bool = False,
    ) -> None:
        super().__init__(job, inputs, outputs, say, slate, restarted=restarted)
        self._program = job
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watched.add(self._wake)

    def _produce(self) -> None:
        self._stream()

    def _consume(self) -> None:
        self._stream()

    def _stream(self) -> None:
        # this thread never computes: the sockets are its own all the time
        self._outlet.attend()
        files_in, files_out = self._program.start()
        threading.Thread(target=self._await_end, daemon=True, name="maniple-program").start()
        feeds = [
            _Feed(file, pipe.encoding.write, self._wake)
            for file, pipe in zip(files_in, self._pipes, strict=True)
        ]
        results = [
            _Result(file, port.pipe.encoding.read, self._wake)
            for file, port in zip(files_out, self._out_ports, strict=True)
        ]
        over = [False] * len(feeds)
        try:
            while True:
                self._watched.wait(int(IDLE_SECONDS * 1000))
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
                now = time.monotonic()
                self._outlet.hear(now)
                for place, feed in enumerate(feeds):
                    over[place] = over[place] or self._pass_in(place, feed)
                for place, result in enumerate(results):
                    self._pass_out(place, result)
                self._outlet.tick(now)
                for reader in self._readers:
                    reader.tick(now)
                self._report()
                read = all(result.ended and not result.blocks for result in results)
                written = all(over) and all(f.taken == f.given or f.deaf for f in feeds)
                # a program may close its files long before it ends, and read on
                if read and (written or self._program.ended):
                    break
            self._program.wait()
        finally:
            self._program.end()

    def _await_end(self) -> None:
        with suppress(ProgramError):
            self._program.wait()
        os.eventfd_write(self._wake, 1)

    def _exchange(self, patience: float) -> None:
        """Hear the readers only: the inputs have been read to their end, or are not needed."""
        for place in range(len(self._readers)):
            self._watched.listen(place, wanted=False)
        self._watched.wait(int(patience * 1000))
        now = time.monotonic()
        self._outlet.hear(now)
        self._outlet.tick(now)

    def _pass_in(self, place: int, feed: _Feed) -> bool:
        """Hand an input's blocks to the program; tell whether there will be no more."""
        if feed.broken is not None:
            raise feed.broken
        reader = self._readers[place]
        reader.finished(feed.taken, now=feed.taken == feed.given)
        if feed.deaf:
            reader.stop()
            self._watched.listen(place, wanted=False)
            return True
        room = feed.given - feed.taken < _AHEAD
        self._watched.listen(place, wanted=room)
        if room:
            for _, values in reader.hear(SLICE):
                feed.given += len(values)
                self._stats.calls += len(values)
                feed.queue.put(values)
        if reader.receiver.ended:
            feed.queue.put(None)
            self._watched.listen(place, wanted=False)
            return True
        return False

    def _pass_out(self, place: int, result: _Result) -> None:
        if result.broken is not None:
            raise result.broken
        writer = self._writers[place]
        with self._outlet.lock:
            blocks = result.take(SLICE if writer.stopped else min(SLICE, writer.sender.room))
            if blocks and not writer.stopped:
                writer.put([writer.prepare(block) for block in blocks])
            if result.blocks and (writer.sender.room or writer.stopped):
                # there is more, and room for it: do not wait
                os.eventfd_write(self._wake, 1)
