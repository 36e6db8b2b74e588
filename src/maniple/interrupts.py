"""Ctrl-C that comes only where something can be done about it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class HeldBack:
    """Lets no signal's handler raise an exception inside this block, but where `heard` says so.

    A handler may run between the return of a call and the assignment of what it returned. When it
    raises there, as that of Ctrl-C does, a process may run that nobody knows of.

    The first exception is the last one: further signals have nothing more to end. A signal that
    was never heard is handled after the block. Signals without a handler do what they always do,
    and outside the main thread nothing is held back, for handlers run in that alone.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: tuple[int, FrameType | None] | None = None
        self._open = False
        self._over = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self._handle()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Handle a signal at once inside this block, and one that came before it."""
        self._open = not self._over
        try:
            if self._open:
                self._handle()
            yield
        finally:
            self._open = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            self._came = number, frame
        if self._open:
            self._handle()

    def _handle(self) -> None:
        if self._came is not None:
            (number, frame), self._came = self._came, None
            try:
                self._before[number](number, frame)
            except BaseException:
                self._open, self._over = False, True
                raise
