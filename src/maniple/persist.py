"""Calls that outlive a lost connection: tried again, ever more slowly, until time is up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from maniple.errors import StorageError

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
SPREAD: Final = 0.4
_Answer = TypeVar("_Answer")


def persist(
    call: Callable[[], _Answer],
    *,
    lost: tuple[type[BaseException], ...],
    again: Callable[[], None],
    seconds: float,
    what: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    rng: random.Random | None = None,
) -> _Answer:
    """Make a call; when the connection is lost, connect again and repeat it.

    The call may have happened on the server although its answer was lost: it must be one that may
    be repeated.

    Args:
        call: what to do.
        lost: the exceptions that mean a lost connection; others are not caught.
        again: makes a new connection; it may raise `lost` as well.
        seconds: how long to go on; 0 tries once.
        what: whom we talk to, for the message; no credentials.
        clock: seconds that only grow.
        sleep: waits.
        rng: spreads the pauses, so that many minions do not come back at the same time.

    Raises:
        StorageError: time is up.
    """
    chance = rng or random.Random()
    until: float | None = None
    pause = FIRST_PAUSE_SECONDS
    fresh = True
    while True:
        try:
            if not fresh:
                again()
                fresh = True
            return call()
        except lost as error:
            fresh = False
            now = clock()
            until = now + seconds if until is None else until
            if now >= until:
                raise StorageError(
                    f"no connection to {what} for {seconds:g} s: {_line(error)}"
                ) from None
            sleep(min(pause * (1 - SPREAD * chance.random()), until - now))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
