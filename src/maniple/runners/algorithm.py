"""The runner for algorithms: each task is one call, in a sandbox.

The guard of a crew hears of no process group from this runner: a sandbox's processes die with the
minion that started them, by the kernel's doing, however it dies.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from maniple.algorithm.blobs import Blobs
from maniple.algorithm.call import Answer, Call, Code, Limits
from maniple.algorithm.kind import Kind
from maniple.algorithm.package import Package
from maniple.algorithm.sandbox import Parts, Sandbox
from maniple.algorithm.shelf import Shelf, cache_folder
from maniple.errors import ManipleError, StorageError
from maniple.runner import Cancel, Context, Outcome
from maniple.runners.algorithm_sandboxes import Sandboxes
from maniple.runners.process import Output
from maniple.scratch import unnamed_file
from maniple.task import Task, decode_param, encode_param

CANCELLED: Final = "cancelled"
INSIST_SECONDS: Final = 0.02
NO_LIMITS: Final = Limits(seconds=None, memory=1 << 62, output=1 << 62, disk=1 << 62, files=1 << 62)


class Deliver(Protocol):
    """Takes the answer of a task that has ended, before its outcome is told."""

    def __call__(self, task: Task, answer: Answer) -> None:
        """Take it.

        Raises:
            StorageError: it cannot be kept; the minion ends, and the task is given back.
        """
        ...


class AlgorithmRunner:
    """Runs a call of an algorithm for each task.

    A task whose call cannot be made, or that this machine cannot run, has failed; the sentence says
    why.

    Args:
        call: makes the call of a task; a ManipleError fails the task.
        parts: tells where an algorithm's bytes are; likewise.
        limits: what any call may use at most, or None: what the call says itself.
        deliver: takes the answers of calls that were not interrupted.
        output: takes what a call printed, when it has ended.
        values: decode the value of the answer for the outcome (results need it, a hub does not).
        makers: what makes the sandbox of each kind.
    """

    def __init__(
        self,
        call: Callable[[Task], Call],
        parts: Callable[[Code], Parts],
        *,
        limits: Limits | None = None,
        deliver: Deliver | None = None,
        output: Output | None = None,
        values: bool = True,
        makers: Mapping[Kind, Callable[[], Sandbox]] | None = None,
    ) -> None:
        self._call = call
        self._parts = parts
        self._limits = limits
        self._deliver = deliver
        self._output = output
        self._values = values
        self._sandboxes = Sandboxes(makers)
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._files: list[int] = []

    def run(self, task: Task, context: Context) -> Outcome:
        """Run one call to its end.

        Raises:
            StorageError: this machine gave out: nothing can be kept any more.
        """
        start = time.time()
        running = _Running(task)
        # from now on, that is before its call is known, the task can be aborted
        with self._lock:
            self._running = running
        try:
            answer = self._answer(running, context)
        except StorageError:
            raise
        except ManipleError as error:
            answer = failed(error, start)
        finally:
            with self._lock:
                self._running = None
        if answer.cause == CANCELLED and context.cancel.requested and not running.unwanted:
            return Outcome(ok=False, start=start, end=time.time(), interrupted=True)
        outcome = self._outcome(start, answer)
        if self._output is not None:
            self._pass_on(task, outcome)
        if self._deliver is not None:
            self._deliver(task, answer)
        return outcome

    def _answer(self, running: _Running, context: Context) -> Answer:
        call = self._call(running.task)
        limits = capped(call.limits, self._limits, context.time_limit)
        call = msgspec.structs.replace(call, limits=limits)
        parts = self._parts(call.code)
        sandbox = self._sandboxes.of(call.code, parts)
        with self._lock:
            running.sandbox = sandbox
            if running.unwanted:
                return Answer(ok=False, cause=CANCELLED, error="cancelled before it began")
        return sandbox.run(call, parts, context.cancel)

    def abort(self, task_id: str) -> None:
        """End the call of this task if it runs now; its outcome is a failure, `cancelled`.

        Safe from another thread; returns at once.
        """
        with self._lock:
            running = self._running
            if running is None or running.task.id != task_id or running.unwanted:
                return
            running.unwanted = True
        threading.Thread(
            target=self._insist, args=(running,), name="maniple-abort", daemon=True
        ).start()

    def _insist(self, running: _Running) -> None:
        # a call that is just about to begin does not hear the first word
        while True:
            with self._lock:
                if self._running is not running:
                    return
                if running.sandbox is not None:
                    running.sandbox.abort()
            time.sleep(INSIST_SECONDS)

    def _outcome(self, start: float, answer: Answer) -> Outcome:
        end = time.time()
        value: Any = None
        if answer.ok and self._values:
            value = decode_param(answer.value)
        return Outcome(
            ok=answer.ok,
            start=start,
            end=end,
            cause=None if answer.ok else answer.cause or "failed",
            error=None if answer.ok else _told(answer),
            value=value,
            stdout=answer.stdout,
            stderr=answer.stderr,
            # 0 would say that the result is what was printed, as of a program
            exit_code=None if answer.ok else answer.exit_code,
        )

    def _pass_on(self, task: Task, outcome: Outcome) -> None:
        assert self._output is not None  # noqa: S101 - only called when there is one
        if not (outcome.stdout or outcome.stderr):
            return
        if not self._files:
            self._files += (unnamed_file(), unnamed_file())
        sources: list[int | None] = []
        for fd, data in zip(self._files, (outcome.stdout, outcome.stderr), strict=True):
            _fill(fd, data)
            sources.append(fd if data else None)
        self._output(task, outcome, *sources)

    def close(self) -> None:
        """End the sandboxes, and let go of the files."""
        self._sandboxes.close()
        while self._files:
            with suppress(OSError):
                os.close(self._files.pop())


class _Running:
    """The task that runs now.

    Attributes:
        task: as it was leased.
        sandbox: that runs it.
        unwanted: somebody asked for its end.
    """

    __slots__ = ("sandbox", "task", "unwanted")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sandbox: Sandbox | None = None
        self.unwanted = False


def capped(asked: Limits, most: Limits | None, time_limit: float | None) -> Limits:
    """Allow what is asked for, but no more than others do.

    Args:
        asked: what the call says.
        most: what its runner allows, or None: anything.
        time_limit: seconds that one attempt may take, or None.
    """
    if most is None and time_limit is None:
        return asked
    most = most or NO_LIMITS
    times = [each for each in (asked.seconds, most.seconds, time_limit) if each is not None]
    return Limits(
        seconds=min(times) if times else None,
        memory=min(asked.memory, most.memory),
        output=min(asked.output, most.output),
        disk=min(asked.disk, most.disk),
        files=min(asked.files, most.files),
    )


def failed(error: ManipleError, start: float) -> Answer:
    """Make the answer of a call that could not even begin."""
    return Answer(
        ok=False, cause=type(error).__name__, error=str(error), start=start, end=time.time()
    )


def _told(answer: Answer) -> str:
    """Put the last line of standard error behind the sentence, where it is not in it already."""
    text = answer.stderr.strip()[-2000:].rpartition(b"\n")[2]
    said = text.decode("utf-8", "replace").strip()[:500]
    if not said or said in answer.error:
        return answer.error
    return f"{answer.error}: {said}" if answer.error else said


def _fill(fd: int, data: bytes) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise StorageError(f"cannot keep the output of a task: {error.strerror}") from None


def unpacked(package: Package, cache: str | None = None) -> Parts:
    """Put a package's parts into this user's cache, where all minions find them.

    Raises:
        StorageError: the cache cannot be written.
    """
    cache = cache or cache_folder()
    return package.unpack(Blobs(os.path.join(cache, "blobs")), os.path.join(cache, "compiled"))


def parts_of(code: Code, blobs: Blobs, cache: str) -> Parts:
    """Tell where the parts of an algorithm are among the blobs.

    Raises:
        ValueError: what names a part is no digest.
    """
    return Parts(
        wasm=blobs.path(code.wasm),
        cache=cache,
        loader=None if code.loader is None else blobs.path(code.loader),
        data=None if code.data is None else blobs.path(code.data),
    )


def run_package(
    package: Package,
    *,
    params: bytes = b"[]",
    arguments: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    results: Sequence[str] = (),
    limits: Limits | None = None,
    cancel: Cancel | None = None,
    cache: str | None = None,
) -> Answer:
    """Run an algorithm once, with no queue and no cluster.

    Args:
        package: the algorithm.
        params: the JSON of the list of `main`'s arguments.
        arguments: words as on a command line.
        files: what the call finds: absolute path there to content.
        results: absolute paths of the files to bring back.
        limits: what it may use.
        cancel: ends it.
        cache: folder for its parts and what is compiled of them; this user's by default.

    Raises:
        AlgorithmError: no sandbox can run it.
        MissingExtraError: the library of its sandbox is not installed.
        StorageError: the cache cannot be written.
    """
    call = Call(
        package.code,
        params,
        list(arguments),
        dict(files or {}),
        list(results),
        limits or Limits(),
    )
    parts = unpacked(package, cache)
    own = Cancel() if cancel is None else None
    sandboxes = Sandboxes()
    try:
        return sandboxes.of(call.code, parts).run(call, parts, cancel or own or Cancel())
    finally:
        sandboxes.close()
        if own is not None:
            own.close()


def params_of(param: Any) -> bytes:
    """Make the params of `main` of a task's param: a list is all of them, anything else the one."""
    return encode_param(param if isinstance(param, list) else [param])


def algorithm_runner(
    algorithm: str | Package,
    *,
    arguments: Sequence[str] = (),
    limits: Limits | None = None,
    cache: str | None = None,
) -> AlgorithmRunner:
    """Make a runner that calls one algorithm with each task's param.

    A param that is a list holds the positional arguments of `main`; anything else is the only one.

    Args:
        algorithm: `NAME`, `NAME@VERSION`, the path of a package, or the package itself.
        arguments: words as on a command line, the same for each call.
        limits: what a call may use.
        cache: folder for its parts and what is compiled of them; this user's by default.

    Raises:
        AlgorithmError: there is no such algorithm.
        StorageError: the cache cannot be written.

    Example:
        >>> Minion(queue, algorithm_runner("kmeans@0.0.1")).run()  # doctest: +SKIP
    """
    package = Shelf().find(algorithm) if isinstance(algorithm, str) else algorithm
    code, parts = package.code, unpacked(package, cache)
    words, allowed = list(arguments), limits or Limits()

    def call(task: Task) -> Call:
        data = task.data
        return Call(code, data if data[:1] == b"[" else b"[%b]" % data, words, limits=allowed)

    return AlgorithmRunner(call, lambda _: parts)
