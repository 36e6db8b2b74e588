"""When a run starts no more tasks: after so many failures, or such a share of all tasks."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from maniple.errors import UsageError

FEW_TASKS: Final = 100
_PERCENT: Final = 100


class Halt(NamedTuple):
    """A halt policy; by default, never.

    Attributes:
        failures: how many failed tasks are too many.
        share: which share of all tasks is, between 0 and 1.
    """

    failures: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Halt:
        """Read `first`, `never`, a number or a percentage.

        Raises:
            UsageError: it is none of them.
        """
        if text == "never":
            return cls()
        if text == "first":
            return cls(failures=1)
        with suppress(ValueError):
            if text.endswith("%") and 0 < (share := float(text[:-1])) <= _PERCENT:
                return cls(share=share / _PERCENT)
            if (failures := int(text)) > 0:
                return cls(failures=failures)
        raise UsageError(
            f"--halt takes first, never, a number (5) or a percentage (10%), not {text!r}"
        )

    def reached(self, failed: int, total: int, *, more: bool) -> bool:
        """Tell whether it is time; with `more` to come, few tasks are not judged by a share."""
        if self.failures is not None and failed >= self.failures:
            return True
        if self.share is None or not failed:
            return False
        return failed >= self.share * max(total, FEW_TASKS if more else 1)
