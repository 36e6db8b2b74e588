"""What the dispatch tells its shell to do: plain data."""

from __future__ import annotations

from typing import NamedTuple

from maniple.algorithm.call import Answer, Call
from maniple.cluster.messages import ToDriver, ToWorker


class Key(NamedTuple):
    """A task's name: chosen by its driver, and unique within its session."""

    user: str
    session: str
    task: str


class Keep(NamedTuple):
    """Store the call of a new task."""

    key: Key
    call: Call


class Settle(NamedTuple):
    """Store the answer of a task in the place of its call, before what comes after this."""

    key: Key
    answer: Answer


class Forget(NamedTuple):
    """Drop what is stored of a task."""

    key: Key


class Start(NamedTuple):
    """Send a `Run` with the stored call over a worker's link."""

    link: int
    token: str
    key: Key
    attempt: int


class Tell(NamedTuple):
    """Send a `Result` with the stored answer over a driver's link."""

    link: int
    key: Key


class Send(NamedTuple):
    """Send a message over a link."""

    link: int
    message: ToDriver | ToWorker


class Close(NamedTuple):
    """End a link: another connection of the same peer has taken its place."""

    link: int


Order = Keep | Settle | Forget | Start | Tell | Send | Close
