"""The process of one job: takes blocks, runs the job, hands blocks on, acknowledges.

An input is acknowledged when everything that came of it was acknowledged downstream (a sink: when
`run` has returned). So a job that dies can be started again: its inputs come again, its outputs
get the same numbers as before, and who has them already leaves them out.
"""

from __future__ import annotations

import contextlib
import random
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import zmq

from maniple.network.job import Job
from maniple.network.live.outlet import Outlet
from maniple.network.live.wire import Reader, Writer
from maniple.network.pipe import Pipe
from maniple.network.rules.align import Aligned, Aligner, Input
from maniple.network.rules.receiver import Receiver
from maniple.network.rules.sender import Sender

SLICE: Final = 512
REPORT_SECONDS: Final = 0.25
IDLE_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.005


class Port(NamedTuple):
    """One end of a pipe: what it is, and where."""

    pipe: Pipe
    address: str


class Stats(msgspec.Struct):
    """What a job tells about itself. Times in seconds since it started.

    Attributes:
        state: `setup`, `running`, `waiting`, `blocked` (by a full pipe) or `ended`.
        calls: of `run`.
        busy: time spent in `run`.
        received: blocks per input.
        sent: blocks per output.
        queued: blocks that wait at the inputs.
        kept: blocks per output that the readers are not done with.
        dropped: blocks that were dropped because too many waited.
        dummies: stand-ins for blocks that were lost.
    """

    state: str = "setup"
    calls: int = 0
    busy: float = 0.0
    received: list[int] = []
    sent: list[int] = []
    queued: int = 0
    kept: list[int] = []
    dropped: int = 0
    dummies: int = 0


class Broken(msgspec.Struct):
    """A job's exception.

    Attributes:
        error: its last line.
        trace: the traceback.
        number: of the set of blocks that it was given, or None.
    """

    error: str
    trace: str
    number: int | None = None


class Said(msgspec.Struct):
    """What a job's process says to the one that watches it."""

    stats: Stats | None = None
    broken: Broken | None = None


class JobHost:
    """Runs a job until its inputs or its own values end.

    Args:
        job: to be set up here.
        inputs: its reading ends, in order.
        outputs: its writing ends, in order.
        say: tells what happens, in bytes.
        progress: one number that outlives this process: the calls that a sink has finished.
        restarted: this job has run before, in a process that died.
    """

    def __init__(
        self,
        job: Job,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        say: Callable[[bytes], Any],
        progress: memoryview[int],
        *,
        restarted: bool = False,
    ) -> None:
        self._job = job
        self._say = say
        self._progress = progress
        self._restarted = restarted
        self._stats = Stats()
        self._report_at = 0.0
        self._at: int | None = None
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        chance = random.SystemRandom()
        now = time.monotonic()
        self._readers = [
            Reader(
                self._context,
                port.address,
                port.pipe.encoding,
                Receiver(
                    lambda: chance.getrandbits(62),
                    max(1, port.pipe.blocks // 4),
                    # what a sink has done is done; what others made of a block may be lost
                    -1 if outputs or not restarted else progress[0] * port.pipe.count,
                ),
            )
            for port in inputs
        ]
        self._pipes = [port.pipe for port in inputs]
        self._out_ports = outputs
        self._needed = [place for place, pipe in enumerate(self._pipes) if not pipe.optional]
        self._newest: list[Any] = [pipe.default for pipe in self._pipes]
        self._fresh: list[deque[Any]] = [deque() for _ in self._pipes]
        self._aligner = Aligner(
            Input(pipe.count, job.MAX_QUEUE, pipe.dummy, pipe.loose)
            for pipe in self._pipes
            if not pipe.optional
        )
        self._writers = [
            Writer(
                self._context,
                port.address,
                port.pipe.encoding,
                Sender(port.pipe.blocks, port.pipe.size),
                now,
            )
            for port in outputs
        ]
        self._outlet = Outlet(self._writers)
        self._poller = zmq.Poller()
        for socket in self._sockets:
            self._poller.register(socket, zmq.POLLIN)
        self._calls_done = progress[0] if restarted and not outputs else 0

    def run(self) -> bool:
        """Do all of it; tell whether the job ended well."""
        try:
            self._job.restarted = self._restarted
            self._job.setup()
            self._report(state="running")
            if self._job.is_source:
                self._produce()
            else:
                self._consume()
            self._job.close()
        except BaseException as error:
            last = traceback.format_exception_only(error)[-1].strip()
            trace = "".join(traceback.format_exception(error))
            self._tell(Said(broken=Broken(last, trace, self._at)))
            return False
        self._report(state="ended")
        return True

    # Sources

    def _produce(self) -> None:
        values = iter(self._job.values())
        self._skip(values)
        outlet, stats, job = self._outlet, self._stats, self._job
        give, clock = outlet.give, time.perf_counter
        left, look = 0, 0.0
        began = clock()
        for value in values:
            now = clock()
            stats.busy += now - began
            if value is None:
                break
            if left <= 0 or now > look:
                # room is known to be there for so many more, and acknowledgements can wait so long
                left, look = self._wait_for_room(), now + LOOK_SECONDS
                if not left:
                    break
            give(value)
            left -= 1
            stats.calls += 1
            if job._finishing:  # noqa: SLF001 - the job's own word for its end
                break
            began = clock()
        self._end()

    def _skip(self, values: Iterator[Any]) -> None:
        """A source that starts again leaves out what its readers are done with."""
        if not self._restarted:
            return
        # the readers' first word tells how far they are
        while any(writer.sender.wanted is None for writer in self._writers):
            self._exchange(IDLE_SECONDS)
        upto = min(writer.sender.wanted or 0 for writer in self._writers)
        for _ in range(upto):
            next(values, None)
        self._outlet.skip(upto)

    def _wait_for_room(self) -> int:
        """Wait until every pipe has room; 0: nobody reads any more."""
        self._exchange(0)
        while not (room := self._outlet.room):
            if room is None:
                return 0
            self._report(state="blocked")
            self._exchange(IDLE_SECONDS)
        return room

    # Jobs with inputs

    def _consume(self) -> None:
        aligner, outlet, job = self._aligner, self._outlet, self._job
        sink = not self._writers
        while True:
            room = SLICE if sink else min(self._wait_for_room(), SLICE)
            if not room:
                break
            aligned = aligner.take(room)
            if not aligned.calls:
                if aligner.over:
                    break
                self._report(state="waiting")
                self._exchange(IDLE_SECONDS)
                continue
            if not sink:
                outlet.skip(aligned.first)
            ended = self._call(aligned) if sink else self._call_and_give(aligned)
            self._exchange(0)
            if ended or job._finishing:  # noqa: SLF001
                break
        self._end()

    def _call(self, aligned: Aligned) -> bool:
        """Call a sink."""
        run, job, clock = self._job.run, self._job, time.perf_counter
        progress = self._progress
        began = clock()
        look = began + LOOK_SECONDS
        for number, arguments in enumerate(self._arguments(aligned), aligned.first):
            self._at = number
            run(*arguments)
            self._calls_done = progress[0] = number + 1
            if job._finishing:  # noqa: SLF001
                break
            if clock() > look:
                self._exchange(0)
                look = clock() + LOOK_SECONDS
        self._count(aligned, began)
        return False

    def _call_and_give(self, aligned: Aligned) -> bool:
        """Call a job and hand on what it gives; tell whether it has ended itself."""
        run, job, give, clock = self._job.run, self._job, self._outlet.give, time.perf_counter
        began = clock()
        look = began + LOOK_SECONDS
        for number, arguments in enumerate(self._arguments(aligned), aligned.first):
            self._at = number
            value = run(*arguments)
            if value is None:
                return True
            give(value)
            self._calls_done = number + 1
            if job._finishing:  # noqa: SLF001
                break
            if clock() > look:
                self._exchange(0)
                look = clock() + LOOK_SECONDS
        self._count(aligned, began)
        return False

    def _count(self, aligned: Aligned, began: float) -> None:
        self._stats.busy += time.perf_counter() - began
        self._stats.calls += self._calls_done - aligned.first

    def _arguments(self, aligned: Aligned) -> Iterable[tuple[Any, ...]]:
        calls: Iterable[tuple[Any, ...]] = aligned.calls
        if len(self._needed) != len(self._pipes):
            calls = self._with_optional(aligned.calls)
        return self._with_marks(calls, aligned) if aligned.corrupted else calls

    def _with_marks(
        self, calls: Iterable[tuple[Any, ...]], aligned: Aligned
    ) -> Iterator[tuple[Any, ...]]:
        """Tell the job before each call whether something is a stand-in."""
        for number, call in enumerate(calls, aligned.first):
            self._job.corrupted = number in aligned.corrupted
            yield call
        self._job.corrupted = False

    def _with_optional(self, calls: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Add what is the newest of optional inputs when the call is made."""
        for call in calls:
            values = [self._optional(place) for place in range(len(self._pipes))]
            for place, value in zip(self._needed, call, strict=True):
                values[place] = value
            yield tuple(values)

    def _optional(self, place: int) -> Any:
        fresh, pipe = self._fresh[place], self._pipes[place]
        if not fresh:
            return self._newest[place] if pipe.store else pipe.default
        self._newest[place] = fresh.popleft()
        return self._newest[place]

    # The pipes

    def _exchange(self, patience: float) -> None:
        """Hear what has come on all pipes, waiting for something; acknowledge what is done."""
        self._outlet.attend()
        try:
            self._attended_exchange(patience)
        finally:
            self._outlet.leave()

    def _attended_exchange(self, patience: float) -> None:
        if patience:
            self._outlet.flush()
            self._acknowledge(now=True)
            self._poller.poll(int(patience * 1000))
        now = time.monotonic()
        self._outlet.hear(now)
        for place, reader in enumerate(self._readers):
            self._take(place, reader)
        self._acknowledge(now=False)
        if patience or now >= self._report_at:
            self._outlet.tick(now)
            self._report()

    def _take(self, place: int, reader: Reader) -> None:
        if self._pipes[place].optional:
            fresh, pipe = self._fresh[place], self._pipes[place]
            most = max(1, pipe.buffer)
            for first, values in reader.hear(SLICE):
                if pipe.keep_oldest:
                    fresh.extend(values[: max(0, most - len(fresh))])
                else:
                    fresh.extend(values)
                    while len(fresh) > most:
                        fresh.popleft()
                reader.finished(first + len(values))
            return
        position = self._needed.index(place)
        aligner = self._aligner
        if aligner.waiting(position) >= 2 * SLICE and not self._job.MAX_QUEUE:
            # it stays in the pipe, whose writer waits
            return
        for first, values in reader.hear(SLICE):
            aligner.arrived(position, first, values)
        if reader.receiver.ended:
            aligner.ended(position, reader.receiver.wanted - 1)

    def _acknowledge(self, *, now: bool) -> None:
        if not self._readers:
            return
        acked = self._outlet.acked if self._writers else None
        done = self._calls_done if acked is None else min(self._calls_done, acked)
        for place in self._needed:
            self._readers[place].finished(done * self._pipes[place].count, now=now)

    def _end(self) -> None:
        """Tell the readers that nothing follows, and wait until they are done with everything."""
        self._outlet.end()
        while not self._outlet.finished:
            self._exchange(IDLE_SECONDS)
        for reader in self._readers:
            if reader.receiver.ended:
                reader.finished(reader.receiver.wanted, now=True)
            else:
                reader.stop()

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets:
            socket.close()
        self._context.term()

    @property
    def _sockets(self) -> list[zmq.Socket[Any]]:
        return [*(r.socket for r in self._readers), *(w.socket for w in self._writers)]

    # Words

    def _report(self, state: str | None = None) -> None:
        stats = self._stats
        now = time.monotonic()
        if state is None or state == stats.state:
            if now < self._report_at:
                return
        elif state in {"waiting", "blocked"} and now < self._report_at:
            return
        self._report_at = now + REPORT_SECONDS
        stats.state = state or "running"
        stats.sent = [writer.sender.next for writer in self._writers]
        stats.kept = [w.sender.next - w.sender.acked for w in self._writers]
        stats.received = [max(0, reader.receiver.wanted) for reader in self._readers]
        stats.queued = sum(self._aligner.waiting(p) for p in range(len(self._needed)))
        stats.dropped = sum(self._aligner.dropped)
        stats.dummies = sum(self._aligner.dummies)
        self._tell(Said(stats=stats))

    def _tell(self, said: Said) -> None:
        with contextlib.suppress(OSError):
            self._say(msgspec.msgpack.encode(said))
