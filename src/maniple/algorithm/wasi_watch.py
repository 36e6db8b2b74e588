"""When a running call must be ended: decides, and looks at no clock and no file itself."""

from __future__ import annotations

import math
from typing import Final

from maniple.algorithm.call import Limits
from maniple.algorithm.ends import CANCELLED, End, Over, over

LOOK_SECONDS: Final = 0.025
"""How far apart looks at the private folder are."""


class Watch:
    """Watches one call.

    Args:
        limits: of the call.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = math.inf
        self._look = math.inf

    def begin(self, now: float) -> None:
        """The call's time runs from here (starting a process is not the call's)."""
        if self._limits.seconds is not None:
            self._deadline = now + self._limits.seconds

    def started(self, now: float) -> None:
        """The guest runs, and may fill its folder."""
        self._look = now + LOOK_SECONDS

    def patience(self, now: float) -> float | None:
        """Tell for how many seconds nothing has to be decided; None for ever."""
        due = min(self._deadline, self._look)
        return None if due == math.inf else max(0.0, due - now)

    def wants_look(self, now: float) -> bool:
        """Tell whether `used` should be called with what is in the folder."""
        if now < self._look:
            return False
        self._look = now + LOOK_SECONDS
        return True

    def used(self, held: int, files: int) -> End | None:
        """Decide by what is in the folder: bytes, and files and folders."""
        if files > self._limits.files:
            return over(Over.DISK, self._limits, files=True)
        return over(Over.DISK, self._limits) if held > self._limits.disk else None

    def decide(self, now: float, *, cancelled: bool) -> End | None:
        """Decide by the clock and by what was asked for."""
        if cancelled:
            return CANCELLED
        return over(Over.TIME, self._limits) if now >= self._deadline else None
