"""The reporter contract: where events go."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from maniple.event import Event


@runtime_checkable
class Reporter(Protocol):
    """Takes events. A reporter that fails never stops the work."""

    def report(self, event: Event) -> None:
        """Take one event; it may be kept until `flush`."""
        ...

    def flush(self) -> None:
        """Make all events so far visible to readers."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...
