"""What people see of a hub."""

from __future__ import annotations

import msgspec


class WorkerView(msgspec.Struct, frozen=True):
    """A worker: `tasks` are the algorithms of those it has, the one that runs first."""

    name: str
    connected: bool
    tasks: list[str]


class Counts(msgspec.Struct):
    """How many tasks stand where now, and how many ended since the beginning.

    Attributes:
        wanting: wait for a part of their algorithm.
        waiting: wait for a worker.
        leased: are with a worker.
        done, failed, cancelled: ended so.
        drivers: are connected.
    """

    wanting: int = 0
    waiting: int = 0
    leased: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    drivers: int = 0


class View(msgspec.Struct, frozen=True):
    """All of it at one moment."""

    counts: Counts
    workers: list[WorkerView]
