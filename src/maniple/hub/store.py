"""Where calls and answers are while the hub has them."""

from __future__ import annotations

from typing import Protocol

from maniple.algorithm.call import Answer, Call
from maniple.hub.rules.orders import Key


class Store(Protocol):
    """Keeps one call or one answer a task. What it knows of a task goes with `forget`."""

    def keep(self, key: Key, call: Call) -> None:
        """Keep the call of a new task."""
        ...

    def call(self, key: Key) -> Call | None:
        """Give a call; None when the task has been settled or forgotten."""
        ...

    def settle(self, key: Key, answer: Answer) -> None:
        """Keep an answer in the place of the call."""
        ...

    def answer(self, key: Key) -> Answer | None:
        """Give an answer; None when there is none, or no more."""
        ...

    def forget(self, key: Key) -> None:
        """Drop all that is known of a task."""
        ...

    def __len__(self) -> int:
        """Count the tasks."""
        ...


class MemoryStore:
    """Of a loop-back hub: what it knows ends with its process.

    Drivers that connect again are told so, and submit again.
    """

    def __init__(self) -> None:
        self._calls: dict[Key, Call] = {}
        self._answers: dict[Key, Answer] = {}

    def keep(self, key: Key, call: Call) -> None:
        """Keep the call of a new task."""
        self._calls[key] = call

    def call(self, key: Key) -> Call | None:
        """Give a call."""
        return self._calls.get(key)

    def settle(self, key: Key, answer: Answer) -> None:
        """Keep an answer in the place of the call."""
        self._calls.pop(key, None)
        self._answers[key] = answer

    def answer(self, key: Key) -> Answer | None:
        """Give an answer."""
        return self._answers.get(key)

    def forget(self, key: Key) -> None:
        """Drop all that is known of a task."""
        if self._calls.pop(key, None) is None:
            self._answers.pop(key, None)

    def __len__(self) -> int:
        """Count the tasks."""
        return len(self._calls) + len(self._answers)
