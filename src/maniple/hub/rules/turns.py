"""Whose task is next: users in turn, and within each user its sessions in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_Task = TypeVar("_Task", bound=Hashable)


class Turns(Generic[_Task]):
    """Lines of tasks, one a session; every call costs the same however many tasks wait.

    A user with many sessions gets no more turns than one with a single session, and a session
    with many tasks no more than one with few.
    """

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[str, OrderedDict[_Task, None]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, user: str, session: str, task: _Task, *, front: bool = False) -> None:
        """Add a task at the end of its session's line, or at its front."""
        sessions = self._users.setdefault(user, OrderedDict())
        line = sessions.setdefault(session, OrderedDict())
        line[task] = None
        if front:
            line.move_to_end(task, last=False)
        self._count += 1

    def pop(self) -> _Task:
        """Take the next task.

        Raises:
            KeyError: no task waits.
        """
        user = next(iter(self._users), None)
        if user is None:
            raise KeyError("no task waits")
        sessions = self._users[user]
        session = next(iter(sessions))
        line = sessions[session]
        task, _ = line.popitem(last=False)
        self._count -= 1
        if line:
            sessions.move_to_end(session)
        else:
            del sessions[session]
        if sessions:
            self._users.move_to_end(user)
        else:
            del self._users[user]
        return task

    def remove(self, user: str, session: str, task: _Task) -> None:
        """Take a task out of its line.

        Raises:
            KeyError: it is not there.
        """
        sessions = self._users[user]
        line = sessions[session]
        del line[task]
        self._count -= 1
        if not line:
            del sessions[session]
            if not sessions:
                del self._users[user]
