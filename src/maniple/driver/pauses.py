"""How long to wait before a lost connection is tried again, and when to give up."""

from __future__ import annotations

import random
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 5.0
SPREAD: Final = 0.4


class Pauses:
    """Ever longer pauses, spread so that many drivers do not come back at the same time.

    Args:
        seconds: how long to go on trying after a connection was lost.
        rng: spreads the pauses.
    """

    def __init__(self, seconds: float, rng: random.Random) -> None:
        self.seconds = seconds
        self._rng = rng
        self._until: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def connected(self) -> None:
        """All is well: the next loss begins anew."""
        self._until = None
        self._pause = FIRST_PAUSE_SECONDS

    def failed(self, now: float) -> float | None:
        """Tell how many seconds to wait before the next try; None when time is up.

        Args:
            now: on a clock that does not go back.
        """
        if self._until is None:
            self._until = now + self.seconds
        if now >= self._until:
            return None
        pause = self._pause * (1 - SPREAD * self._rng.random())
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return min(pause, self._until - now)
