"""Events: what happened to one attempt of one task. One record type for every kind of worker."""

from __future__ import annotations

from typing import Any

import msgspec


class Step(msgspec.Struct, gc=False):
    """One step of an attempt, in seconds since the epoch."""

    name: str
    start: float
    end: float


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """What happened to one attempt: who, where, when, how long each step took, how it ended.

    Attributes:
        uid: of the minion.
        generation: counts from 1 in each minion.
        start, end: of the attempt, in seconds since the epoch.
        param: the task's param (or its JSON, as `msgspec.Raw`).
        error: the message of a failure, or None.
        atomic_actions: the steps.
        nodename: of the machine.
        oar_job_id: of the OAR job that the minion runs in, if any.
        task: the task's id.
        attempt: which attempt this was.
        cause: a failure in a few words, to group alike ones.
        pid: of the minion.
        queue: the queue's URL, without credentials.
    """

    uid: str
    generation: int
    start: float
    end: float
    param: Any
    error: str | None
    atomic_actions: list[Step]
    nodename: str
    oar_job_id: str = ""
    task: str = ""
    attempt: int = 1
    cause: str = ""
    pid: int = 0
    queue: str = ""
