"""A crew: N minions on one machine, and the process that starts, watches and ends them."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

from maniple import proctree
from maniple.errors import Exit, ManipleError
from maniple.minion.guard import Guard
from maniple.minion.tally import Tally

GRACE_SECONDS: Final = 1.5
SWEEP_SECONDS: Final = 0.5
REMIND_SECONDS: Final = 0.1
HASTE_SECONDS: Final = 1.0
HASTY_DEATHS: Final = 20
MESSAGE_BYTES: Final = 4096
_SIGNALLED: Final = 128
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Crew:
    """Forks minions and sees to it that nothing of them is left in the end.

    Args:
        jobs: how many minions.
        work: what a minion's process does, given its slot (from 1); returns its exit code.
        tally: memory shared with the minions.
        scratch: a folder to remove when all of us are killed, or None.
        before_fork: called before each fork, to let go of what a child must not inherit.
        clear: called in the end, in another process, however the crew ended; told whether it was
            killed.

    Attributes:
        stopped_by: the signal that ended the crew, or 0.
        broken: a minion could not go on: its queue or results cannot be written.
        lost: minions that were killed, and replaced.
        complaints: what minions that could not go on said, each thing once.
    """

    def __init__(
        self,
        jobs: int,
        work: Callable[[int], int],
        tally: Tally,
        scratch: str | None = None,
        *,
        before_fork: Callable[[], None] = lambda: None,
        clear: Callable[[bool], None] | None = None,
    ) -> None:
        self._clear = clear
        self._work = work
        self._before_fork = before_fork
        self._jobs = jobs
        self.tally = tally
        self.stopped_by = 0
        self.broken = False
        self.lost = 0
        self.complaints: list[str] = []
        self._minions: dict[int, tuple[int, float]] = {}
        self._hasty = 0
        self._deadline: float | None = None
        self._swept = 0.0
        self._scratch = scratch
        self._guard: Guard | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._told, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, object] = {}

    @property
    def pids(self) -> list[int]:
        """The processes of the minions."""
        return list(self._minions)

    def start(self) -> None:
        """Start the minions. From now on the signals that end programs end the crew in order."""
        proctree.adopt_orphans()
        self._before_fork()
        self._guard = Guard(self.tally, self._scratch, self._clear)
        for number in (*STOPPING, signal.SIGCHLD):
            # under nohup a hang-up stays ignored
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for slot in range(1, self._jobs + 1):
            if self._deadline is None:
                self._fork(slot)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        if self.stopped_by:
            # asked twice: no more patience
            self._deadline = 0.0
            return
        self.stop(number)

    def stop(self, number: int = 0) -> None:
        """Have all minions end what they run, give it back, and leave."""
        self.stopped_by = self.stopped_by or number
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_SECONDS
            proctree.signal_all(list(self._minions), signal.SIGTERM)

    def _fork(self, slot: int) -> None:
        self._before_fork()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # a signal between fork and the new handlers would be taken for the parent's
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        if self._deadline is not None:
            # it came just before: a minion forked now would not hear of it
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._minions[pid] = (slot, time.monotonic())
            return
        code: int = Exit.BROKEN
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # a hang-up reaches the crew, which tells its minions
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _leave)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            proctree.die_with_parent(signal.SIGTERM, parent)
            code = self._work(slot)
        except ManipleError as error:
            # the crew says it, once for all minions
            os.write(self._tell, f"{error}\n".encode("utf-8", "replace")[-MESSAGE_BYTES:])
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else Exit.BROKEN
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def wait(self, timeout: float, fd: int | None = None) -> bool:
        """Watch the minions for a while; return early when something happens.

        Args:
            timeout: seconds, at most.
            fd: a descriptor to watch as well, or None.

        Returns:
            Whether `fd` is readable.
        """
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if fd is not None:
            poll.register(fd, select.POLLIN)
        if self._deadline is not None:
            timeout = max(0.0, min(timeout, REMIND_SECONDS, self._deadline - time.monotonic()))
        ready = {found for found, _ in poll.poll(timeout * 1000)}
        if self._wake_read in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        self._reap()
        if self._deadline is not None:
            # the system may have given the first word to a thread that cannot wake the main one
            late = time.monotonic() >= self._deadline
            proctree.signal_all(list(self._minions), signal.SIGKILL if late else signal.SIGTERM)
        return fd in ready

    @property
    def running(self) -> bool:
        """Some minion is still there."""
        return bool(self._minions)

    def _reap(self) -> None:
        died = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._minions:
                died = self._gone(pid, os.waitstatus_to_exitcode(status)) or died
        now = time.monotonic()
        if died or now - self._swept > SWEEP_SECONDS:
            self._swept = now
            self._end_orphans()

    def _gone(self, pid: int, code: int) -> bool:
        """Note the end of a minion; replace it when it was killed. True when it was."""
        slot, since = self._minions.pop(pid)
        self.tally.running(slot, 0)
        if code == Exit.BROKEN:
            self.broken = True
            self._listen()
            self.stop()
            return True
        if code >= 0 or self._deadline is not None:
            self._left(code)
            return code < 0
        self._end_orphans()
        self.lost += 1
        self._hasty = self._hasty + 1 if time.monotonic() - since < HASTE_SECONDS else 0
        if self._hasty > HASTY_DEATHS + self._jobs:
            self.complaints.append("minions are killed as soon as they start; giving up")
            self.broken = True
            self.stop()
        else:
            self._fork(slot)
        return True

    def _left(self, code: int) -> None:
        """Note that somebody told the last minion, and not us, to leave."""
        if code > _SIGNALLED and not self._minions and self._deadline is None:
            self.stopped_by = code - _SIGNALLED

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while said := os.read(self._told, 1 << 16):
                for line in said.decode("utf-8", "replace").splitlines():
                    if line not in self.complaints:
                        self.complaints.append(line)

    def _end_orphans(self) -> None:
        """End what lives on of dead minions and ended tasks: we are its parent now."""
        known = {*self._minions, self._guard.pid if self._guard else 0}
        for _ in range(100):
            orphans = [pid for pid in proctree.children(os.getpid()) if pid not in known]
            if not orphans:
                return
            proctree.signal_all(orphans, signal.SIGKILL)
            for pid in orphans:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def end(self) -> None:
        """End whatever is left, and put the signal handlers back."""
        self.stop()
        if not self._before:
            return
        while self._minions:
            self.wait(GRACE_SECONDS)
        self._end_orphans()
        if self._guard is not None:
            self._guard.end()
        for complaint in self.complaints:
            print(f"maniple: {complaint}", file=sys.stderr, flush=True)
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        for fd in (self._wake_read, self._wake_write, self._told, self._tell):
            os.close(fd)


def _leave(number: int, _frame: FrameType | None) -> None:
    """End a minion that is not at work yet, or no more: it holds nothing.

    An exception could be raised anywhere, in a `finally` as well, and would be lost there.
    """
    os._exit(128 + number)
