"""The leases that this process holds, and the thread that keeps the service from taking them back.

The service withholds a message for seconds to minutes. It is asked for a short time (`hold`), so
that what a dead process held comes back soon, and asked again and again while a lease lasts. What
it does not tell, whether a lease is still ours, is told by our own clock: reckoned from before each
request was sent, a little less than the time that was asked for.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from maniple.queues.pubsub_wire import LostError, RefusedError

MARGIN: Final = 0.1
MOST_MARGIN_SECONDS: Final = 1.0
RENEW_PART: Final = 0.6
TICKS: Final = 4
BATCH: Final = 1000


class Hold:
    """What is known of a lease.

    Attributes:
        until: when it ends unless it is extended.
        deadline: when the service may take it back unless it is asked again.
        lapses: of its task, to be told by a copy of its message.
        worn: it was delivered so often that giving it back as it is could be taken for lapses.
        extra: attributes that another program wrote.
    """

    __slots__ = ("deadline", "extra", "lapses", "until", "worn")

    def __init__(
        self,
        until: float,
        deadline: float,
        lapses: int,
        worn: bool,  # noqa: FBT001 - a record
        extra: Mapping[str, str],
    ) -> None:
        self.until = until
        self.deadline = deadline
        self.lapses = lapses
        self.worn = worn
        self.extra = extra


def deadline_after(sent: float, seconds: float) -> float:
    """When a lease may be over that was asked for at `sent`, for `seconds`."""
    return sent + seconds - min(MOST_MARGIN_SECONDS, MARGIN * seconds)


class Holds:
    """All leases of a queue object.

    Args:
        renew: asks the service once to withhold messages, by their ids, for so many seconds;
            waits for its answer for so many; returns the ids that it refused.
        again: makes a new connection.
        hold: the most seconds to ask for.
        clock: seconds that only grow, also while the machine sleeps.
    """

    def __init__(
        self,
        renew: Callable[[Sequence[str], int, float], Iterable[str]],
        again: Callable[[], None],
        hold: float,
        clock: Callable[[], float],
    ) -> None:
        self._renew = renew
        self._again = again
        self.hold = hold
        self.clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Hold] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def seconds(self, left: float) -> int:
        """For how long to ask when a lease lasts for `left` seconds."""
        return max(1, math.ceil(min(self.hold, left)))

    def add(self, holds: Mapping[str, Hold]) -> None:
        """Hold leases from now on."""
        with self._lock:
            self._held.update(holds)
        if self._thread is None and any(h.until > h.deadline for h in holds.values()):
            self._start()

    def get(self, token: str) -> Hold | None:
        """Return what is known of a lease, or None if it is (perhaps) ours no more."""
        with self._lock:
            hold = self._held.get(token)
            if hold is not None and self.clock() >= hold.deadline:
                del self._held[token]
                return None
            return hold

    def ours(self, tokens: Iterable[str]) -> list[str]:
        """Pick those that are certainly ours."""
        return [token for token in tokens if self.get(token) is not None]

    def renewed(self, tokens: Iterable[str], deadline: float, until: float | None = None) -> None:
        """Note that the service has agreed to renew leases."""
        later = False
        with self._lock:
            now = self.clock()
            for token in tokens:
                hold = self._held.get(token)
                # one that was over before the answer came may have been over before it was asked
                if hold is not None and now < hold.deadline:
                    hold.deadline = deadline
                    hold.until = hold.until if until is None else until
                    later = later or hold.until > deadline
        if later and self._thread is None:
            self._start()

    def drop(self, tokens: Iterable[str]) -> None:
        """Hold leases no more."""
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="maniple-pubsub", daemon=True)
        # signals are for the main thread
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while not self._over.wait(self.hold / TICKS):
            for seconds, tokens in self._due().items():
                for start in range(0, len(tokens), BATCH):
                    if self._over.is_set():
                        return
                    self._ask(tokens[start : start + BATCH], seconds)

    def _due(self) -> dict[int, list[str]]:
        """The leases to renew now, by the seconds to ask for."""
        now = self.clock()
        due: dict[int, list[str]] = {}
        with self._lock:
            for token, hold in self._held.items():
                soon = hold.deadline - now < RENEW_PART * self.hold
                if soon and now < hold.deadline < hold.until:
                    due.setdefault(self.seconds(hold.until - now), []).append(token)
        return due

    def _ask(self, tokens: list[str], seconds: int) -> None:
        sent = self.clock()
        try:
            self.drop(self._renew(tokens, seconds, max(1.0, self.hold / TICKS)))
            self.renewed(tokens, deadline_after(sent, seconds))
        except LostError as lost:
            # there is a next time before they lapse
            if lost.late and not self._over.is_set():
                self._again()
        except (RefusedError, ValueError):
            # it is said to the one who calls next
            pass

    def close(self) -> None:
        """End the thread; what is held lapses."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._held.clear()
