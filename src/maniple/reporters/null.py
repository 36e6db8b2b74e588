"""Events that nobody wants."""

from __future__ import annotations

from maniple.event import Event


class NullReporter:
    """Forgets every event."""

    def report(self, event: Event) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing is held."""
