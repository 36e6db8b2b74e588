"""The process of one job: takes blocks, runs the job, hands blocks on, acknowledges.

An input is acknowledged when everything that came of it was acknowledged downstream (a sink: when
`run` has returned). So a job that dies can be started again: its inputs come again, its outputs
get the same numbers as before, and who has them already leaves them out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import zmq

from maniple.network.job import Job
from maniple.network.live.outlet import Outlet
from maniple.network.live.ports import Newest, Port, Watched, readers, writers
from maniple.network.live.slate import Slate
from maniple.network.live.wire import Reader
from maniple.network.live.words import Said, Stats, broken_by
from maniple.network.pipe import Pipe
from maniple.network.rules.align import Aligned, Aligner, Input

SLICE: Final = 512
REPORT_SECONDS: Final = 0.25
IDLE_SECONDS: Final = 0.1
SETTLE_MS: Final = 5
"""So long nothing comes before the writers are told what is done, if it is but little."""
LOOK_SECONDS: Final = 0.005
GREET_SECONDS: Final = 0.02


class JobHost:
    """Runs a job until its inputs or its own values end.

    Args:
        job: to be set up here.
        inputs: its reading ends, in order.
        outputs: its writing ends, in order.
        say: tells what happens, in bytes.
        slate: what outlives this process.
        restarted: this job has run before, in a process that died.
    """

    def __init__(
        self,
        job: Job,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        say: Callable[[bytes], Any],
        slate: Slate,
        *,
        restarted: bool = False,
    ) -> None:
        self._job = job
        self._say = say
        self._slate = slate
        self._out_ports = outputs
        self._restarted = restarted
        self._stats = Stats()
        self._report_at = 0.0
        self._state = "setup"
        self._at: int | None = None
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._pipes = [port.pipe for port in inputs]
        bases = [self._base(place, pipe) for place, pipe in enumerate(self._pipes)]
        self._readers = readers(self._context, inputs, bases)
        self._writers = writers(self._context, outputs, restarted=restarted)
        self._needed = [place for place, pipe in enumerate(self._pipes) if not pipe.optional]
        self._newest = [Newest(pipe) for pipe in self._pipes]
        self._aligner = Aligner(
            [
                Input(pipe.count, job.MAX_QUEUE, pipe.dummy, pipe.loose)
                for pipe in self._pipes
                if not pipe.optional
            ],
            [None if bases[place] < 0 else bases[place] for place in self._needed],
        )
        self._offsets = [
            (place, position)
            for position, place in enumerate(self._needed)
            if self._pipes[place].loose and not outputs
        ]
        self._outlet = Outlet(self._writers)
        self._watched = Watched(self._readers, self._writers)
        self._ending = False
        self._calls_done = slate.done if restarted and not outputs else 0

    def _base(self, place: int, pipe: Pipe) -> int:
        """Tell which block an input wants first; -1: the first that is not done with."""
        if not self._restarted:
            return 0
        if self._out_ports or pipe.optional:
            # what was made of a block may be lost
            return -1
        # what a sink has done is done
        return self._slate.done * pipe.count + self._slate.offset(place)

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
            self._end()
        except BaseException as error:
            self._tell(Said(broken=broken_by(error, self._at)))
            return False
        self._report(state="ended")
        return True

    # Sources

    def _produce(self) -> None:
        values = iter(self._job.values())
        outlet, stats, job = self._outlet, self._stats, self._job
        give, clock, reach = outlet.give, time.perf_counter, self._slate.reach
        number = self._skip(values) if self._restarted else 0
        left, look = 0, 0.0
        began = clock()
        for value in values:
            now = clock()
            stats.busy += now - began
            if value is None:
                break
            # room is known to be there for so many more
            if left <= 0 and not (left := self._wait_for_room()):
                break
            give(value)
            left -= 1
            number += 1
            reach(number)
            stats.calls += 1
            if job._finishing:  # noqa: SLF001 - the job's own word for its end
                break
            if now > look:
                # the value first: nobody waits for what is heard here
                self._exchange(0)
                left, look = outlet.room or 0, now + LOOK_SECONDS
            began = clock()

    def _skip(self, values: Iterator[Any]) -> int:
        """Leave out what the readers are done with; tell how many values that were."""
        writers = self._writers
        # the readers' first word tells how far they are
        while any(w.sender.wanted is None and not w.stopped for w in writers):
            self._exchange(IDLE_SECONDS)
        # not what they have received: they may die as well, and want it again
        upto = min((max(0, w.sender.done) for w in writers if not w.stopped), default=0)
        number = 0
        while number < upto and next(values, None) is not None:
            number += 1
            if self._job._finishing:  # noqa: SLF001
                break
        self._outlet.place(number)
        return number

    def _wait_for_room(self) -> int:
        """Wait until every pipe has room; 0: nobody reads any more."""
        self._exchange(0)
        while not (room := self._outlet.room):
            if room is None:
                return 0
            self._report(state="blocked")
            self._exchange(IDLE_SECONDS)
        self._state = "running"
        return room

    # Jobs with inputs

    def _consume(self) -> None:
        aligner, outlet, job = self._aligner, self._outlet, self._job
        sink = not self._writers
        if self._slate.enough:
            return
        look = 0.0
        while True:
            room = SLICE if sink else outlet.room or self._wait_for_room()
            if not room:
                return
            if aligner.started and self._restarted:
                outlet.place(aligner.next)
            for place, position in self._offsets:
                self._slate.set_offset(place, aligner.offset(position))
            aligned = aligner.take(min(room, SLICE))
            if not aligned.calls:
                if aligner.over:
                    return
                self._report(state="waiting")
                self._exchange(IDLE_SECONDS if aligner.started else GREET_SECONDS)
                continue
            self._state = "running"
            ended = self._call(aligned) if sink else self._call_and_give(aligned, room)
            if ended or job._finishing:  # noqa: SLF001
                return
            if (now := time.perf_counter()) > look:
                self._exchange(0)
                look = now + LOOK_SECONDS

    def _call(self, aligned: Aligned) -> bool:
        """Call a sink."""
        run, job, clock = self._job.run, self._job, time.perf_counter
        did, reach = self._slate.did, self._slate.reach
        began = clock()
        look = began + LOOK_SECONDS
        for number, arguments in enumerate(self._arguments(aligned), aligned.first):
            self._at = number
            run(*arguments)
            if job._finishing:  # noqa: SLF001
                self._slate.say_enough()
            self._calls_done = number + 1
            did(number + 1)
            if job._finishing:  # noqa: SLF001
                break
            if (now := clock()) > look:
                self._stats.busy += now - began
                self._exchange(0)
                began = clock()
                look = began + LOOK_SECONDS
        reach(self._calls_done)
        self._count(aligned, began)
        return False

    def _call_and_give(self, aligned: Aligned, room: int) -> bool:
        """Call a job and hand on what it gives; tell whether it has ended itself."""
        run, job, give, clock = self._job.run, self._job, self._outlet.give, time.perf_counter
        reach = self._slate.reach
        began = clock()
        look = began + LOOK_SECONDS
        for number, arguments in enumerate(self._arguments(aligned), aligned.first):
            self._at = number
            value = run(*arguments)
            if value is None:
                return True
            # what it makes may be much larger than what it gets
            if room <= 0:
                self._stats.busy += clock() - began
                if not (room := self._wait_for_room()):
                    return True
                began = clock()
            give(value)
            room -= 1
            self._calls_done = number + 1
            reach(number + 1)
            if job._finishing:  # noqa: SLF001
                break
            if (now := clock()) > look:
                self._stats.busy += now - began
                self._exchange(0)
                began = clock()
                room, look = self._outlet.room or 0, began + LOOK_SECONDS
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
            values = [newest.give() for newest in self._newest]
            for place, value in zip(self._needed, call, strict=True):
                values[place] = value
            yield tuple(values)

    # The pipes

    def _exchange(self, patience: float) -> None:
        """Hear what has come on all pipes, waiting for something; acknowledge what is done."""
        self._outlet.attend()
        try:
            self._attended_exchange(patience)
        finally:
            self._outlet.leave()

    def _attended_exchange(self, patience: float) -> None:
        idle = False
        if patience:
            self._outlet.flush()
            for place in self._needed:
                self._watched.listen(place, wanted=not self._is_full(place))
            if not self._watched.wait(SETTLE_MS):
                idle = True
                self._acknowledge(now=True)
                self._watched.wait(int(patience * 1000))
        now = time.monotonic()
        self._outlet.hear(now)
        for place, reader in enumerate(self._readers):
            self._take(place, reader)
        self._acknowledge(now=False)
        if idle or now >= self._report_at:
            self._outlet.tick(now)
            for reader in self._readers:
                reader.tick(now)
            self._report()

    def _is_full(self, place: int) -> bool:
        """So much of an input waits here that the rest stays in the pipe, whose writer waits."""
        if self._job.MAX_QUEUE:
            return False
        waiting = self._aligner.waiting(self._needed.index(place))
        return waiting >= 2 * max(SLICE, self._pipes[place].count)

    def _take(self, place: int, reader: Reader) -> None:
        receiver, pipe = reader.receiver, self._pipes[place]
        if pipe.optional:
            newest = self._newest[place]
            for _, values in reader.hear(SLICE):
                newest.keep(values)
            # whoever stands in for us needs what we would give next; when we end, nobody does,
            # and a cycle can end
            kept = 0 if self._ending else newest.kept + receiver.ended
            reader.finished(receiver.wanted - kept, now=True)
            return
        if self._is_full(place):
            return
        position = self._needed.index(place)
        aligner = self._aligner
        for first, values in reader.hear(SLICE):
            aligner.arrived(position, first, values)
        if receiver.ended:
            aligner.ended(position, receiver.wanted - 1)
        elif receiver.wanted >= 0 and not aligner.started:
            aligner.begins(position, receiver.wanted)

    def _acknowledge(self, *, now: bool) -> None:
        if not self._readers:
            return
        acked = self._outlet.acked if self._writers else None
        done = self._calls_done if acked is None else min(self._calls_done, acked)
        for position, place in enumerate(self._needed):
            self._readers[place].finished(self._aligner.done(position, done), now=now)

    def _end(self) -> None:
        """Wait until the readers are done with everything, and tell the writers so.

        Only the last word makes the jobs before this one end: until then they can give everything
        again.
        """
        self._ending = True
        self._outlet.end()
        while not self._outlet.finished:
            self._exchange(IDLE_SECONDS)
        self._job.close()
        self._slate.end()
        self._watched.leave()

    def close(self) -> None:
        """Close the sockets."""
        for reader in self._readers:
            reader.close()
        for writer in self._writers:
            writer.close()
        self._context.term()

    # Words

    def _report(self, state: str | None = None) -> None:
        stats = self._stats
        now = time.monotonic()
        self._state = state or self._state
        passing = state in {None, "waiting", "blocked", stats.state}
        if passing and now < self._report_at:
            return
        self._report_at = now + REPORT_SECONDS
        stats.state = self._state
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
