"""The sandbox for modules with a JavaScript loader: a fresh deno per call, out of a warm pool.

The loader runs as a browser's classic worker script would, with no permission and, where bubblewrap
works, in namespaces of its own. Limits are held from outside: time, memory in use, and whatever
comes out of the process, of which nothing is trusted. SIGKILL ends a call, whatever it does.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Final

from maniple.algorithm.call import Answer, Call, Limits
from maniple.algorithm.ends import CANCELLED, End
from maniple.algorithm.javascript_command import Confinement
from maniple.algorithm.javascript_course import Course
from maniple.algorithm.javascript_files import refused
from maniple.algorithm.javascript_frames import call_message, code_message
from maniple.algorithm.javascript_pool import Pool
from maniple.algorithm.javascript_process import SandboxProcess, read_some
from maniple.algorithm.sandbox import Parts
from maniple.errors import AlgorithmError
from maniple.runner import Cancel

READY: Final = 2
LOOK_SECONDS: Final = 0.01
"""How often the memory of a running call is measured."""


class JavascriptSandbox:
    """Runs calls of modules that have JavaScript beside them (see `maniple.algorithm.sandbox`).

    Memory is what deno holds beyond what it held when it was ready: JavaScript's heap, buffers,
    WebAssembly's memory, compiled code. Files are in memory too: the disk limit holds for the
    starting files and for the result files. There is no disk.

    Args:
        ready: processes that wait for a call, each some 60 MiB, most of it shared.
        memory: the memory limit that calls are likely to have; others work as well.
        confinement: what must be around deno: `Confinement.BUBBLEWRAP` refuses to run without; None
            takes the best that works on this machine.
    """

    def __init__(
        self,
        *,
        ready: int = READY,
        memory: int = Limits().memory,
        confinement: Confinement | None = None,
    ) -> None:
        self._ready = max(1, ready)
        self._memory = memory
        self._asked = confinement
        self._pool: Pool | None = None
        self._code: tuple[Parts, bytes] | None = None
        self._aborted: Cancel | None = None
        self._lock = threading.Lock()
        self._left: list[Pool] = []

    @property
    def confinement(self) -> Confinement:
        """What stands around deno on this machine.

        Raises:
            ManipleError: nothing can be started here.
        """
        return self._pool_here().confinement

    def warm(self) -> None:
        """Start processes ahead of the first call; does not wait for them."""
        self._pool_here()

    def _pool_here(self) -> Pool:
        # after a fork the processes and their thread are the parent's
        if self._pool is not None and self._pool.owner != os.getpid():
            self._left.append(self._pool)
            self._pool = None
        if self._pool is None:
            self._pool = Pool(ready=self._ready, memory=self._memory, confinement=self._asked)
        return self._pool

    def run(self, call: Call, parts: Parts, cancel: Cancel) -> Answer:
        """Run a call to its end (see `Sandbox.run`)."""
        start = time.time()
        answer = self._run(call, parts, cancel)
        answer.start, answer.end = start, time.time()
        return answer

    def _run(self, call: Call, parts: Parts, cancel: Cancel) -> Answer:
        if cancel.requested:
            return _failed(CANCELLED)
        if parts.loader is None:
            return _failed(End("no loader", "the package holds no JavaScript loader to run"))
        problem = refused(call, parts)
        if problem is not None:
            return _failed(problem)
        code = self._message(parts)
        pool = self._pool_here()
        aborted = self._aborted = Cancel()
        try:
            process = pool.take(parts, call.limits.memory)
            try:
                # waiting for a process to start is not the call's
                began, seconds = time.monotonic(), call.limits.seconds
                course = Course(
                    call,
                    process.secret,
                    deadline=None if seconds is None else began + seconds,
                    baseline=process.baseline,
                )
                process.allow(call.limits.memory)
                pool.expect(parts, code)
                job = call_message(call)
                jobs = [job] if process.code == parts else [code, job]
                _follow(process, course, jobs, (cancel, aborted))
            finally:
                process.kill()
                pool.give_back(process)
        finally:
            with self._lock:
                self._aborted = None
                aborted.close()
        return course.answer()

    def _message(self, parts: Parts) -> bytes:
        """Read a code; the one before is kept, for it is the likeliest to come again."""
        if self._code is None or self._code[0] != parts:
            try:
                wasm = _read(parts.wasm)
                loader = b"" if parts.loader is None else _read(parts.loader)
                data = None if parts.data is None else _read(parts.data)
            except OSError as error:
                raise AlgorithmError(
                    f"cannot read a part of an algorithm {error.filename}: {error.strerror}"
                ) from None
            self._code = parts, code_message(wasm, loader, data)
        return self._code[1]

    def abort(self) -> None:
        """End the running call, if there is one; safe from another thread."""
        with self._lock:
            if self._aborted is not None:
                self._aborted.request()

    def close(self) -> None:
        """End whatever is still running. A call after that starts anew."""
        self.abort()
        pool, self._pool = self._pool, None
        if pool is not None and pool.owner == os.getpid():
            pool.close()


def _follow(
    process: SandboxProcess, course: Course, jobs: list[bytes], cancels: tuple[Cancel, Cancel]
) -> None:
    """Send the job and tell the course whatever happens, until the call is over."""
    poll = select.poll()
    for cancel in cancels:
        poll.register(cancel, select.POLLIN)
    poll.register(process.stdout, select.POLLIN)
    poll.register(process.stderr, select.POLLIN)
    job = memoryview(b"".join(jobs))
    job = _send(process.stdin, job)
    if job:
        poll.register(process.stdin, select.POLLOUT)
    open_streams = {process.stdout, process.stderr}
    look = time.monotonic() + LOOK_SECONDS
    while not course.over:
        now = time.monotonic()
        until = look if course.deadline is None else min(look, course.deadline)
        ready = {fd for fd, _ in poll.poll(max(0.0, until - now) * 1000)}
        now = time.monotonic()
        if any(cancel.requested for cancel in cancels):
            course.cancel()
            return
        for fd in open_streams & ready:
            data = read_some(fd)
            if data == b"":
                open_streams.discard(fd)
                poll.unregister(fd)
            elif data and fd == process.stdout:
                course.heard(data, now)
            elif data:
                course.printed(data)
        if process.stdin in ready:
            job = _send(process.stdin, job)
            if not job:
                poll.unregister(process.stdin)
        if now >= look:
            memory = process.memory()
            if memory is not None:
                course.held(memory)
            look = now + LOOK_SECONDS
        course.tick(now)
        if not open_streams and not course.over:
            course.ended(process.end(), process.grown)


def _send(fd: int, job: memoryview) -> memoryview:
    try:
        while job:
            job = job[os.write(fd, job) :]
    except BlockingIOError:
        pass
    except OSError:
        return memoryview(b"")  # it has ended: the streams tell how
    return job


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _failed(end: End) -> Answer:
    return Answer(ok=False, cause=end.cause, error=end.error)
