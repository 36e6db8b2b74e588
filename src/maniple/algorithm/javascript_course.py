"""The course of one call in a sandbox for JavaScript: what was heard, and how the call ended.

Decides without I/O: a thin shell (`javascript.py`) tells what it read, measured and waited for, and
stops as soon as `over` is true.
"""

from __future__ import annotations

import re
import signal
from typing import Final, NamedTuple

import msgspec

from maniple.algorithm.call import Answer, Call
from maniple.algorithm.ends import CANCELLED, End, Over
from maniple.algorithm.ends import over as over_limit
from maniple.algorithm.javascript_answer import read_answer
from maniple.algorithm.javascript_frames import Frames, Kind, TooLongError

DONE_SECONDS: Final = 2.0
"""How long a turn that has answered may go on, for what it still prints. Nearly all end at once,
unless they do not get a processor: what they print must not be lost for that."""

_TELLS: Final = 0.8
_OUT_OF_MEMORY: Final = re.compile(
    rb"out of memory|memory allocation of \d+ bytes failed|Cannot allocate memory"
    rb"|Check failed: .*[Aa]lloc|failed to (?:allocate|spawn thread|create isolate)",
    re.IGNORECASE,
)
_REFUSED_MEMORY: Final = re.compile(
    r"RangeError: (?:Array buffer allocation failed|Invalid array buffer length"
    r"|Invalid typed array length.*|.*[Uu]nable to grow instance memory.*"
    r"|WebAssembly\.(?:Memory|instantiate|Instance)\(\).*"
    r"(?:[Oo]ut of memory|could not allocate memory).*|.*[Oo]ut of memory.*)"
)
_SIGNALLED: Final = 128
_LONGEST_WORDS: Final = 500


class _Thrown(msgspec.Struct):
    what: str
    where: str = ""


class Exit(NamedTuple):
    """How the sandbox ended by itself: an exit status, or the number of a signal."""

    status: int = 0
    signal: int = 0


def exit_of(code: int) -> Exit:
    """Read a return code; bubblewrap tells of signals as shells do, by 128 and the number."""
    if code < 0:
        return Exit(signal=-code)
    return Exit(signal=code - _SIGNALLED) if code > _SIGNALLED else Exit(status=code)


class Course:
    """One call, from the moment that its job is sent.

    Args:
        call: what runs; its limits are held here.
        secret: of the process that runs it.
        deadline: when its time is up, on the shell's clock; None for never.
        baseline: bytes of memory that the process held before its job.
    """

    def __init__(
        self, call: Call, secret: bytes, *, deadline: float | None, baseline: int = 0
    ) -> None:
        self._call = call
        self._limits = call.limits
        self._frames = Frames(secret, self._limits.memory)
        self._deadline = deadline
        self._baseline = baseline
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._answer: bytes | None = None
        self._end: End | None = None
        self._rejected: _Thrown | None = None
        self._strays = 0
        self._peak = 0
        self.over = False

    @property
    def deadline(self) -> float | None:
        """When to look at the clock again, whatever else happens."""
        return self._deadline

    def heard(self, data: bytes, now: float) -> None:
        """Take what came on the stream of frames."""
        try:
            for kind, payload in self._frames.feed(data):
                self._frame(kind, payload, now)
                if self.over:
                    return
        except TooLongError:
            self._stop(over_limit(Over.MEMORY, self._limits))

    def printed(self, data: bytes) -> None:
        """Take what came on standard error: deno's own words, or those of code that found it."""
        self._keep(self._stderr, data)

    def held(self, memory: int) -> None:
        """Take how many bytes of memory the sandbox holds."""
        used = memory - self._baseline
        self._peak = max(self._peak, used)
        if used > self._limits.memory:
            self._stop(over_limit(Over.MEMORY, self._limits))

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self._deadline is not None and now >= self._deadline:
            if self._answer is not None:
                self.over = True
            else:
                self._stop(over_limit(Over.TIME, self._limits))

    def cancel(self) -> None:
        """The caller wants it no more."""
        self._stop(CANCELLED)

    def ended(self, code: int, grown: int = 0) -> None:
        """The sandbox has ended by itself.

        Args:
            code: its return code.
            grown: bytes of memory that it had in use at most, beyond those before its job.
        """
        self._keep(self._stdout, self._frames.rest())
        if self.over or self._answer is not None:
            self.over = True
            return
        end = exit_of(code)
        text = bytes(self._stderr)
        # code that is refused memory crashes in many ways, and perhaps before `held` was told of it
        full = max(self._peak, grown) > self._limits.memory * _TELLS
        if (end.signal or end.status) and (full or _OUT_OF_MEMORY.search(text)):
            self._stop(over_limit(Over.MEMORY, self._limits))
        elif end.signal:
            name = _name(end.signal)
            self._stop(End(name, f"the sandbox was ended by {name}"))
        elif self._rejected is not None:
            self._stop(self._failure(self._rejected))
        elif end.status:
            said = text.strip().rpartition(b"\n")[2].decode("utf-8", "replace")
            self._stop(End("no answer", _cut(f"the sandbox ended without an answer: {said}")))
        else:
            others = f"; {self._strays} messages had no body" if self._strays else ""
            self._stop(
                End(
                    "no answer",
                    "the loader came to its end without an answer: it must call"
                    f" postMessage({{body, stdout, stderr}}) once{others}",
                )
            )

    def answer(self) -> Answer:
        """Say how the call ended; without times."""
        if self._end is not None:
            answer = Answer(ok=False, cause=self._end.cause, error=self._end.error)
        elif self._answer is not None:
            answer = read_answer(self._answer, self._call)
        else:
            answer = Answer(ok=False, cause="no answer", error="there was no answer")
        answer.stdout = answer.stdout or bytes(self._stdout)
        answer.stderr = answer.stderr or bytes(self._stderr)
        return answer

    def _stop(self, end: End) -> None:
        if not self.over:
            self.over = True
            if self._answer is None:
                self._end = end

    def _frame(self, kind: Kind, payload: bytes, now: float) -> None:
        match kind:
            case Kind.NOISE | Kind.STDOUT:
                self._keep(self._stdout, payload)
            case Kind.STDERR:
                self._keep(self._stderr, payload)
            case Kind.ANSWER if self._answer is None:
                self._answer = payload
                patience = now + DONE_SECONDS
                if self._deadline is None or patience < self._deadline:
                    self._deadline = patience
            case Kind.DONE if self._answer is not None:
                self.over = True
            case Kind.THROWN if self._answer is None:
                thrown = _thrown(payload)
                self._show(thrown)
                self._stop(self._failure(thrown))
            case Kind.UNFIT if self._answer is None:
                what = _thrown(payload).what
                self._stop(End("exception", _cut(f"the answer cannot be written as JSON: {what}")))
            case Kind.REJECTED if self._rejected is None:
                # as in a browser's console; the loader may still answer
                self._rejected = _thrown(payload)
                self._show(self._rejected)
            case Kind.STRAY:
                self._strays += 1
            case _:
                pass

    def _keep(self, stream: bytearray, data: bytes) -> None:
        room = self._limits.output - len(stream)
        stream += data[: max(0, room)]
        if len(data) > room:
            if self._answer is not None:
                self.over = True
            else:
                self._stop(over_limit(Over.OUTPUT, self._limits))

    def _show(self, thrown: _Thrown) -> None:
        if thrown.where:
            self._keep(self._stderr, thrown.where.rstrip("\n").encode("utf-8", "replace") + b"\n")

    def _failure(self, thrown: _Thrown) -> End:
        if _REFUSED_MEMORY.search(thrown.what):
            return over_limit(Over.MEMORY, self._limits)
        return End("exception", _cut(thrown.what))


def _thrown(payload: bytes) -> _Thrown:
    try:
        return msgspec.json.decode(payload, type=_Thrown)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Thrown("something that cannot be shown")


def _cut(text: str) -> str:
    """Make one line of it, of a length for people."""
    return " ".join(text.split())[:_LONGEST_WORDS] or "an exception without words"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
