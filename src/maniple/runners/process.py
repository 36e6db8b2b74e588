"""The runner for programs: a process group for each attempt, started by posix_spawn.

posix_spawn and one wait are the cheapest way that Python has to run a program. Output goes to
unlinked files and not to pipes, so that nobody has to read while the program runs, and a program
that writes nothing costs two fstat calls.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from maniple import proctree
from maniple.errors import ManipleError
from maniple.runner import MINION_VARIABLE, Context, Outcome
from maniple.scratch import unnamed_file
from maniple.task import Task

KEPT_OUTPUT: Final = 1 << 20
GRACE_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.1
LONGEST_VARIABLE: Final = 65_536
PARAM: Final = "MANIPLE_PARAM"
PARAM_FILE: Final = "MANIPLE_PARAM_FILE"
_SHELL: Final = "/bin/sh"
_PARAM: Final = PARAM.encode()
_PARAM_FILE: Final = PARAM_FILE.encode()
_DEFAULT_SIGNALS: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


class Command(Protocol):
    """Makes the words of a command out of a param (see `maniple.sweep.template`)."""

    def __call__(self, param: Any, *, number: int, slot: int) -> list[str]:
        """Give the program and its arguments."""
        ...


class Output(Protocol):
    """Where captured output goes when an attempt has ended."""

    def __call__(
        self, task: Task, outcome: Outcome, stdout: int | None, stderr: int | None
    ) -> None:
        """Take the open files of what was printed (None: nothing was); read them with pread."""
        ...


class ProcessRunner:
    """Runs a command for each task.

    Args:
        command: makes the words from the param.
        live: let the program write to our own output instead of capturing it.
        output: called after each attempt that printed something.
        environment: of the programs; `MANIPLE_*` variables are added. The param as JSON is in
            `MANIPLE_PARAM`, or where it is longer than `LONGEST_VARIABLE` in the file that
            `MANIPLE_PARAM_FILE` names.
        grace: seconds between TERM and KILL.
    """

    calls_meanwhile = True

    def __init__(
        self,
        command: Command,
        *,
        live: bool = False,
        output: Output | None = None,
        environment: dict[str, str] | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._command = command
        self._live = live
        self._output = output
        variables = os.environ if environment is None else environment
        self._environment = {os.fsencode(k): os.fsencode(v) for k, v in variables.items()}
        self._programs: dict[str, str] = {}
        self._param_path: str | None = None
        self._grace = grace
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._files: list[int] = []

    def run(self, task: Task, context: Context) -> Outcome:
        """Run one attempt: start, wait, end the whole group, tell how it went."""
        start = time.time()
        param = task.param
        try:
            words = self._command(param, number=task.number, slot=context.slot)
        except ManipleError as error:
            return Outcome(
                ok=False, start=start, end=start, cause=type(error).__name__, error=str(error)
            )
        streams = self._streams()
        context.running(-os.getpid())
        pid = self._spawn(words, task, context, streams)
        if isinstance(pid, Outcome):
            context.running(0)
            return pid
        ended = False
        status = 0
        limit = None if context.time_limit is None else time.monotonic() + context.time_limit
        context.running(pid)
        try:
            context.meanwhile()
            ended = _wait(pid, context, limit)
        finally:
            if ended:
                # the leader is still a zombie here, so its group's number cannot be another's
                proctree.signal_group(pid, signal.SIGKILL)
                status = os.waitpid(pid, 0)[1]
            else:
                status = proctree.end_tree(pid, grace=self._grace)
            context.running(0)
        outcome = _outcome(start, status, ended=ended, context=context)
        if streams:
            collect(task, outcome, streams, self._output)
        return with_last_line(outcome)

    def _streams(self) -> tuple[int, int] | None:
        if self._live:
            return None
        if not self._files:
            # a program writes at the end, wherever the one before it stopped
            self._files += (unnamed_file(os.O_APPEND), unnamed_file(os.O_APPEND))
        return self._files[0], self._files[1]

    def _spawn(
        self, words: list[str], task: Task, context: Context, streams: tuple[int, int] | None
    ) -> int | Outcome:
        actions = [(os.POSIX_SPAWN_DUP2, self._null, 0)]
        if streams:
            actions += [(os.POSIX_SPAWN_DUP2, streams[0], 1), (os.POSIX_SPAWN_DUP2, streams[1], 2)]
        home = None
        now = time.time()
        try:
            environment = self._environment_of(task, context)
            if context.directory is not None:
                home = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
                os.chdir(context.directory)
            return self._start(words, environment, actions)
        except FileNotFoundError:
            cause, error = "not found", f"there is no command {words[0]!r}"
        except PermissionError:
            cause, error = "not executable", f"{words[0]!r} cannot be executed: not permitted"
        except (OSError, ValueError) as problem:
            cause, error = "cannot start", f"{words[0]!r} cannot be started: {problem}"
            if isinstance(problem, OSError) and problem.errno == errno.E2BIG:
                cause = "too long"
                error = (
                    "the param is too long for a command line: "
                    f"read it from the environment variable {PARAM}, or the file {PARAM_FILE} names"
                )
        finally:
            if home is not None:
                os.fchdir(home)
                os.close(home)
        return Outcome(ok=False, start=now, end=time.time(), cause=cause, error=error)

    def _start(
        self, words: list[str], environment: dict[bytes, bytes], actions: list[tuple[int, int, int]]
    ) -> int:
        program = self._programs.get(words[0])
        if program is None:
            program = self._programs[words[0]] = _locate(words[0])

        def start(call: Callable[..., int], program: str, words: list[str]) -> int:
            return call(
                program,
                words,
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )

        try:
            if program:
                # a tenth of the time of a start goes by while the system looks through the path
                return start(os.posix_spawn, program, words)
            return start(os.posix_spawnp, words[0], words)
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                # a script that names no interpreter is the shell's, as it is for a shell
                return start(os.posix_spawn, _SHELL, [_SHELL, program or words[0], *words[1:]])
            if error.errno == errno.ENOENT and program:
                # it may have moved; the next attempt looks for it
                del self._programs[words[0]]
                return start(os.posix_spawnp, words[0], words)
            raise

    def _environment_of(self, task: Task, context: Context) -> dict[bytes, bytes]:
        environment = self._environment.copy()
        if len(task.data) <= LONGEST_VARIABLE:
            environment[_PARAM] = task.data
        else:
            environment[_PARAM_FILE] = os.fsencode(self._param_file(task.data))
        environment[b"MANIPLE_TASK"] = task.id.encode()
        environment[b"MANIPLE_NUMBER"] = b"%d" % task.number
        environment[b"MANIPLE_ATTEMPT"] = b"%d" % task.attempt
        environment[b"MANIPLE_SLOT"] = b"%d" % context.slot
        environment[MINION_VARIABLE] = b"%d" % os.getpid()
        return environment

    def _param_file(self, data: bytes) -> str:
        """Write a param that is too long for a variable; the same file serves every task."""
        if self._param_path is None:
            import tempfile

            fd, self._param_path = tempfile.mkstemp(prefix="maniple-param-", suffix=".json")
            os.close(fd)
        with open(self._param_path, "wb") as file:
            file.write(data)
        return self._param_path

    def close(self) -> None:
        """Let go of the files."""
        for fd in (*self._files, self._null):
            with suppress(OSError):
                os.close(fd)
        self._files.clear()
        self._null = -1
        if self._param_path is not None:
            with suppress(OSError):
                os.unlink(self._param_path)


def _locate(word: str) -> str:
    """Find a program in the search path; nothing where that is not for long, or not there."""
    import shutil

    found = word if "/" in word else shutil.which(word) or ""
    return found if os.path.isabs(found) else ""


def _wait(pid: int, context: Context, limit: float | None) -> bool:
    """Wait for the end of a child; False when time is up or the minion must stop."""
    if context.cancel.requested:
        return False
    poll = select.poll()
    poll.register(context.cancel, select.POLLIN)
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return _wait_by_looking(pid, poll, context, limit)
    try:
        poll.register(handle, select.POLLIN)
        while True:
            # a signal just before the wait does not end it, and its handler runs after it only
            nap = LOOK_SECONDS
            if limit is not None:
                nap = max(0.0, min(nap, limit - time.monotonic()))
            ready = poll.poll(nap * 1000)
            if any(fd == handle for fd, _ in ready):
                return True
            if ready or context.cancel.requested:
                return False
            if limit is not None and time.monotonic() >= limit:
                return False
    finally:
        os.close(handle)


def _wait_by_looking(pid: int, poll: select.poll, context: Context, limit: float | None) -> bool:
    """Wait where there are no process descriptors: look again and again, ever more seldom."""
    nap = 0.5
    while not proctree.has_ended(pid):
        if context.cancel.requested or (limit is not None and time.monotonic() >= limit):
            return False
        poll.poll(nap)
        nap = min(nap * 1.5, 20)
    return True


def _outcome(start: float, status: int, *, ended: bool, context: Context) -> Outcome:
    end = time.time()
    code = os.waitstatus_to_exitcode(status)
    if not ended and context.cancel.requested:
        return Outcome(ok=False, start=start, end=end, exit_code=code, interrupted=True)
    if not ended:
        error = f"ran longer than the time limit of {context.time_limit:g} s, and was ended"
        return Outcome(
            ok=False, start=start, end=end, exit_code=code, cause="time limit", error=error
        )
    if code == 0:
        return Outcome(ok=True, start=start, end=end, exit_code=0)
    if code < 0:
        name = signal_name(-code)
        return Outcome(
            ok=False, start=start, end=end, exit_code=code, cause=name, error=f"killed by {name}"
        )
    return Outcome(
        ok=False,
        start=start,
        end=end,
        exit_code=code,
        cause=f"exit {code}",
        error=f"exit status {code}",
    )


def signal_name(number: int) -> str:
    """Name a signal, as far as it has a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def collect(task: Task, outcome: Outcome, streams: tuple[int, int], output: Output | None) -> None:
    """Take what an attempt printed: its end into the outcome, all of it to `output`.

    The files are empty after that.
    """
    sizes = [os.fstat(fd).st_size for fd in streams]
    if not any(sizes):
        return
    outcome.stdout, outcome.stderr = (
        _tail(fd, size, KEPT_OUTPUT) for fd, size in zip(streams, sizes, strict=True)
    )
    try:
        if output is not None and not outcome.interrupted:
            out, err = (fd if size else None for fd, size in zip(streams, sizes, strict=True))
            output(task, outcome, out, err)
    finally:
        for fd, size in zip(streams, sizes, strict=True):
            if size:
                os.ftruncate(fd, 0)


def _tail(fd: int, size: int, limit: int) -> bytes:
    return os.pread(fd, min(size, limit), max(0, size - limit)) if size else b""


def with_last_line(outcome: Outcome) -> Outcome:
    """Add the last line that a failed attempt printed to its error."""
    if not outcome.ok and outcome.error is not None:
        text = (outcome.stderr.strip() or outcome.stdout.strip())[-2000:]
        said = text.rpartition(b"\n")[2].decode("utf-8", "replace").strip()[:500]
        if said:
            outcome.error = f"{outcome.error}: {said}"
    return outcome
