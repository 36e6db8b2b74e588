"""Keeps processes ready for calls to come, and ends those that had theirs.

All are started by one thread that lives as long as they may: the kernel ends a sandbox with the
thread that started it, not with the process.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from typing import Final

from maniple.algorithm.javascript_command import Confinement, Starter, find_deno
from maniple.algorithm.javascript_process import SandboxProcess, start
from maniple.errors import AlgorithmError, ManipleError

DOORS_SECONDS: Final = 60.0
"""How long a call waits for a process before it says that the machine does not start any."""

LONGEST_QUEUE: Final = 8
"""How many killed processes may wait to be waited for while others are started."""

STARTS: Final = 3


class Pool:
    """Processes that are ready.

    Args:
        ready: how many to keep.
        memory: bytes that a call may use, as far as known ahead.
        confinement: what must be around deno; None for the best that works here.
    """

    def __init__(self, *, ready: int, memory: int, confinement: Confinement | None) -> None:
        self.owner = os.getpid()
        self._wanted = ready
        self._memory = memory
        self._asked = confinement
        self._starter: Starter | None = None
        self._change = threading.Condition()
        self._ready: list[SandboxProcess] = []
        self._ended: list[SandboxProcess] = []
        self._code: object = None
        self._message = b""
        self._error: ManipleError | None = None
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._keep, name="javascript-pool", daemon=True)
        self._thread.start()

    @property
    def confinement(self) -> Confinement:
        """What is around the processes; waits for the first one.

        Raises:
            ManipleError: none can be started.
        """
        with self._change:
            self._await(lambda: self._starter is not None)
            assert self._starter is not None  # noqa: S101 - awaited
            return self._starter.confinement

    def take(self, code: object, memory: int) -> SandboxProcess:
        """Give a process for one call; one that has this code prepared, if there is one.

        Args:
            code: what will run.
            memory: bytes that it may use; V8 is told when it starts how large its heap may grow.

        Raises:
            ManipleError: none can be started.
        """
        with self._change:
            if not self._waiting:
                self._error = None  # an old one: it may be over
            self._waiting += 1
            self._memory = max(self._memory, memory)
            self._change.notify_all()
            try:
                while True:
                    self._await(lambda: bool(self._ready))
                    process = self._best(code, memory)
                    if process is not None:
                        return process
                    self._change.notify_all()
            finally:
                self._waiting -= 1
                self._change.notify_all()

    def _await(self, met: Callable[[], bool]) -> None:
        if not self._change.wait_for(
            lambda: met() or self._error is not None or self._closed, DOORS_SECONDS
        ):
            raise AlgorithmError("no sandbox for JavaScript was ready in time: see what deno does")
        if self._error is not None and not met():
            error, self._error = self._error, None
            raise error
        if self._closed:
            raise AlgorithmError("the sandbox for JavaScript is closed")

    def _best(self, code: object, memory: int) -> SandboxProcess | None:
        """Take the best one out of the ready ones; None when none of them can be used."""
        for process in [*self._ready]:
            if process.has_ended() or process.heap < memory:
                process.kill()
                self._ready.remove(process)
                self._ended.append(process)
        fit = [process for process in self._ready if process.code == code]
        blank = [process for process in self._ready if process.code is None]
        for process in fit or blank:
            self._ready.remove(process)
            return process
        # these hold another code: nothing of it has run, but they may be busy compiling it
        for process in [*self._ready]:
            self._ready.remove(process)
            if process.prepared():
                return process
            process.kill()
            self._ended.append(process)
        return None

    def expect(self, code: object, message: bytes) -> None:
        """Have the processes to come prepare this code, for it is likely to be called again."""
        with self._change:
            self._code, self._message = code, message

    def give_back(self, process: SandboxProcess) -> None:
        """Have a process that was killed, or ended, waited for."""
        with self._change:
            self._ended.append(process)
            self._change.notify_all()

    def close(self) -> None:
        """End all; a call that waits for a process gets an error."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self.owner == os.getpid():
            self._thread.join()

    def _keep(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._ended or self._short())
                ended, self._ended = self._ended, []
                short = self._short()
                if self._closed:
                    doomed = [*self._ready, *ended]
                    self._ready.clear()
                    break
            if short:
                self._start()
            # the next call is in more of a hurry than those that had theirs
            left = []
            for process in ended:
                if short and len(ended) < LONGEST_QUEUE and not process.has_ended():
                    left.append(process)
                else:
                    process.end()
            if left:
                with self._change:
                    self._ended += left
        for process in doomed:
            process.kill()
        for process in doomed:
            process.end()

    def _short(self) -> bool:
        # after a failure only somebody who waits makes another try worth it
        if self._error is not None:
            return False
        if self._starter is None:
            return True
        return len(self._ready) < self._wanted

    def _start(self) -> None:
        try:
            process = self._first() if self._starter is None else self._next(self._starter)
        except ManipleError as error:
            self._fail(error)
            return
        except Exception as error:
            self._fail(AlgorithmError(f"a sandbox for JavaScript does not start here: {error}"))
            return
        with self._change:
            code, message = self._code, self._message
        if code is not None and not process.give(message, code):
            process.end()
            return
        with self._change:
            self._ready.append(process)
            self._change.notify_all()

    def _fail(self, error: ManipleError) -> None:
        with self._change:
            self._error = error
            self._change.notify_all()

    def _first(self) -> SandboxProcess:
        """Find out what works here."""
        deno = find_deno()
        bwrap = shutil.which("bwrap")
        ways = [self._asked] if self._asked else [Confinement.BUBBLEWRAP, Confinement.DENO]
        why = "bubblewrap (bwrap) is not installed"
        for way in ways:
            if way is Confinement.BUBBLEWRAP and bwrap is None:
                continue
            starter = Starter(way, deno, bwrap)
            process = start(starter, self._memory)
            problem = process.wait_ready()
            if problem is None:
                process.allow(self._memory)
                self._starter = starter
                return process
            why = problem
        raise AlgorithmError(f"a sandbox for JavaScript does not start here: {why}")

    def _next(self, starter: Starter) -> SandboxProcess:
        problem = None
        # what has worked may fail once: somebody killed it, memory was short
        for _ in range(STARTS):
            process = start(starter, self._memory)
            problem = process.wait_ready()
            if problem is None:
                process.allow(self._memory)
                return process
        raise AlgorithmError(f"a sandbox for JavaScript does not start here any more: {problem}")
