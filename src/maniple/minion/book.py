"""What a minion decides about its leases: how many to take, when to acknowledge, what to retry.

No clock, no queue, no runner: events come in with the time, decisions go out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from copy import copy
from typing import Final

import msgspec

from maniple.queue import Failure, Lease
from maniple.runner import Outcome
from maniple.task import Task

OUTPUT_KEPT: Final = 16_384
SPREAD: Final = 0.4
MOST_DOUBLINGS: Final = 60


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a minion treats its tasks. Times are in seconds.

    Attributes:
        ttl: how long a lease lasts unless it is renewed.
        retries: how many more attempts a failed task gets.
        backoff: the longest pause before the first retry; it doubles with each.
        backoff_limit: the longest pause.
        batch: the most tasks that are leased at a time.
        ahead: how much work to hold in advance: batches are sized to last so long.
        linger: how long a finished task may wait to be acknowledged with others.
        patience: a task that runs longer than this keeps no others waiting behind it.
    """

    ttl: float = 30.0
    retries: int = 0
    backoff: float = 1.0
    backoff_limit: float = 300.0
    batch: int = 256
    ahead: float = 0.02
    linger: float = 0.02
    patience: float = 0.05


class Retry(msgspec.Struct, frozen=True):
    """A task to give back, to be run again after a delay."""

    lease: Lease
    delay: float


class Decisions(msgspec.Struct):
    """What to tell the queue now."""

    ack: list[Lease] = []
    retry: list[Retry] = []
    fail: list[tuple[Lease, Failure]] = []
    give_back: list[Lease] = []

    def __bool__(self) -> bool:
        return bool(self.ack or self.retry or self.fail or self.give_back)


class Book:
    """The leases of one minion, from the moment they are taken until the queue knows their end."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._running: dict[int, Lease] = {}
        self._decided = Decisions([], [], [], [])
        self._oldest: float | None = None
        self._mean: float | None = None
        self._last_end = 0.0

    @property
    def held(self) -> int:
        """Tasks that are running or wait to be run."""
        return len(self._running)

    def leases(self) -> list[Lease]:
        """All leases to renew: of tasks that run, wait, or have ended and were not told yet."""
        decided = self._decided
        return [
            *self._running.values(),
            *decided.ack,
            *(retry.lease for retry in decided.retry),
            *(lease for lease, _ in decided.fail),
        ]

    def want(self) -> int:
        """How many tasks to lease now: work for `ahead` seconds, when half of it is used up."""
        policy = self._policy
        if self._mean is None:
            target = 1
        else:
            target = max(1, min(policy.batch, int(policy.ahead / max(self._mean, 1e-7))))
        held = len(self._running)
        return target - held if held * 2 <= target and held < target else 0

    def leased(self, leases: Iterable[Lease]) -> list[Task]:
        """Note new leases; return their tasks, each an object of its own, to be run."""
        tasks: list[Task] = []
        for lease in leases:
            task = lease.task
            if id(task) in self._running:
                # our own lease lapsed, and a queue in memory has handed out the same object again
                task = copy(task)
                lease = Lease(task, lease.token)  # noqa: PLW2901 - it is the same one
            self._running[id(task)] = lease
            tasks.append(task)
        return tasks

    def ended(self, task: Task, outcome: Outcome, now: float) -> Lease:
        """Decide what becomes of a task whose attempt has ended; return its lease.

        Args:
            task: the very object that was leased.
            outcome: how it ended.
            now: a time that never goes back.
        """
        lease = self._running.pop(id(task))
        policy = self._policy
        if self._oldest is None:
            self._oldest = now
        if outcome.interrupted:
            self._decided.give_back.append(lease)
            return lease
        took = max(0.0, outcome.end - outcome.start)
        self._mean = took if self._mean is None else self._mean * 0.9 + took * 0.1
        if outcome.ok:
            self._decided.ack.append(lease)
        elif task.attempt <= policy.retries:
            doubled = policy.backoff * 2.0 ** min(task.attempt - 1, MOST_DOUBLINGS)
            pause = min(policy.backoff_limit, doubled)
            # a spread, so that tasks that failed together do not all come back together
            self._decided.retry.append(Retry(lease, pause * (1 - SPREAD * self._rng.random())))
        else:
            failure = Failure(
                cause=outcome.cause or "failed",
                error=outcome.error or "",
                output=_printed(outcome),
                at=outcome.end,
            )
            self._decided.fail.append((lease, failure))
        return lease

    def withdrawn(self, tasks: Iterable[Task]) -> None:
        """Give back tasks that have not been started."""
        for task in tasks:
            self._decided.give_back.append(self._running.pop(id(task)))

    def abandoned(self) -> None:
        """Give back all that is held: the runner has stopped."""
        self._decided.give_back += self._running.values()
        self._running.clear()

    def due(self, now: float, *, busy: bool) -> bool:
        """Tell whether to talk to the queue now.

        Args:
            now: the time as given to `ended`.
            busy: more tasks have been handed to the runner; otherwise there is nothing to wait for.
        """
        if not self._decided:
            return False
        if self._decided.give_back or not busy:
            return True
        return self._oldest is not None and now - self._oldest >= self._policy.linger

    def take(self) -> Decisions:
        """Take the decisions; the caller carries them out."""
        decided, self._decided = self._decided, Decisions([], [], [], [])
        self._oldest = None
        return decided

    def undo(self, decisions: Decisions) -> None:
        """Put decisions back that could not be carried out; they are due again at once."""
        now = self._decided
        self._decided = Decisions(
            decisions.ack + now.ack,
            decisions.retry + now.retry,
            decisions.fail + now.fail,
            decisions.give_back + now.give_back,
        )
        self._oldest = -math.inf


def _printed(outcome: Outcome) -> str:
    parts = [part for part in (outcome.stdout, outcome.stderr) if part]
    return b"\n".join(part[-OUTPUT_KEPT:] for part in parts).decode("utf-8", "replace")
