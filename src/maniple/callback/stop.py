"""Ctrl-C, SIGTERM and SIGHUP while a user's code runs in our own process.

The handler raises `Stopped` in the main thread, wherever that is, save in a `shield`. A user's
code may swallow it, or sit in a library that never comes back to Python: a watcher, woken by the
signal itself, then does the last resort after a grace time.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Final, Self

GRACE_SECONDS: Final = 1.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS: Final = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(BaseException):
    """A signal asked the minion to leave. Not an `Exception`, so that few catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stop:
    """Listens to the signals, from `__enter__` to `__exit__`, where nobody else does.

    In another thread than the main one it does nothing: signals are not ours there.

    Args:
        last_resort: called with the signal's number in another thread when the main thread has
            not left in time; must end the process.
        grace: seconds that the main thread has.
    """

    def __init__(self, last_resort: Callable[[int], None], grace: float = GRACE_SECONDS) -> None:
        self.number: int | None = None
        self._last_resort = last_resort
        self._grace = grace
        self._depth = 0
        self._raised = False
        self._owner = 0
        self._over = threading.Event()
        self._handled: dict[int, object] = {}
        self._wakeup = -1
        self._pipe: tuple[int, int] | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        numbers = [number for number in _SIGNALS if signal.getsignal(number) in _DEFAULTS]
        if not numbers:
            return self
        self._owner = os.getpid()
        read, write = self._pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        self._watcher = threading.Thread(
            target=self._watch, args=(read,), name="maniple-stop", daemon=True
        )
        self._watcher.start()
        self._wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        _active.add(self)
        for number in numbers:
            self._handled[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipe is None or self._owner != os.getpid():
            return
        self._raised = True
        self._over.set()
        for number, handler in self._handled.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)  # type: ignore[arg-type] # what signal() gave us
        signal.set_wakeup_fd(self._wakeup)
        _active.discard(self)
        os.write(self._pipe[1], b"\0")
        if self._watcher is not None:
            self._watcher.join()
        for fd in self._pipe:
            os.close(fd)
        self._owner = 0

    def shield(self) -> Shield:
        """Hold a signal back while something is done that must not be torn in two."""
        return Shield(self)

    def check(self) -> None:
        """Raise `Stopped` if a signal has come (and somebody swallowed it)."""
        if self.number is not None:
            self._raised = True
            raise Stopped(self.number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.number is None:
            self.number = number
        if not self._raised and not self._depth:
            self._raised = True
            raise Stopped(self.number)

    def _enter(self) -> None:
        self._depth += 1

    def _leave(self) -> None:
        self._depth -= 1
        if not self._depth and self.number is not None and not self._raised:
            self._raised = True
            raise Stopped(self.number)

    def _watch(self, read: int) -> None:
        while data := os.read(read, 64):
            for number in data:
                if not number or self._over.is_set():
                    return
                # the user's code may have put its own handler in place of ours
                if number in self._handled and signal.getsignal(number) == self._handle:
                    if not self._over.wait(self._grace):
                        self._last_resort(number)
                    return

    def forget(self) -> None:
        """Let go of the signals, in a forked child: they are its own."""
        self._owner = 0
        with suppress(ValueError, OSError):
            signal.set_wakeup_fd(-1)
            for number in self._handled:
                if signal.getsignal(number) == self._handle:
                    signal.signal(number, signal.SIG_DFL)


_active: set[Stop] = set()
_masks = threading.local()


def _before_fork() -> None:
    # a signal for a child that still has our handler would be told to our watcher, and be lost
    if _active:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _after_fork() -> None:
    if (before := _masks.__dict__.pop("before", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child() -> None:
    while _active:
        _active.pop().forget()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class Shield:
    """A part of the main thread's work that `Stopped` does not interrupt; see `Stop.shield`."""

    def __init__(self, stop: Stop | None) -> None:
        self._stop = stop
        self._mine = False

    def __enter__(self) -> None:
        stop = self._stop
        self._mine = stop is not None and threading.current_thread() is threading.main_thread()
        if self._mine and stop is not None:
            stop._enter()  # noqa: SLF001 - the two are one thing

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._mine and self._stop is not None:
            self._stop._leave()  # noqa: SLF001 - the two are one thing
