"""Parts of algorithms that have not arrived: who waits for them, and who was asked for them."""

from __future__ import annotations

from maniple.hub.rules.records import Session, Task


class _Part:
    __slots__ = ("asked", "waiting")

    def __init__(self) -> None:
        self.asked: Session | None = None
        self.waiting: dict[Session, dict[Task, None]] = {}


class Parts:
    """Asks one driver at a time for a part, once, however many tasks wait for it.

    Attributes:
        tasks: how many wait.
    """

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self.tasks = 0

    def __len__(self) -> int:
        return len(self._parts)

    def park(self, task: Task, digests: list[str]) -> list[str]:
        """Let a task wait for parts.

        Returns:
            Those that nobody has been asked for: `ask` for them.
        """
        self.tasks += 1
        task.lacking = len(digests)
        unasked = []
        for digest in digests:
            part = self._parts.setdefault(digest, _Part())
            part.waiting.setdefault(task.session, {})[task] = None
            if part.asked is None:
                unasked.append(digest)
        return unasked

    def remove(self, task: Task) -> None:
        """Take a task out that waits no more."""
        self.tasks -= 1
        for digest in task.digests:
            part = self._parts.get(digest)
            line = None if part is None else part.waiting.get(task.session)
            if part is None or line is None or task not in line:
                continue
            del line[task]
            if not line:
                del part.waiting[task.session]
                if not part.waiting:
                    del self._parts[digest]

    def arrived(self, digest: str) -> list[Task]:
        """Note that a part is here; return the tasks that have all of theirs now."""
        part = self._parts.pop(digest, None)
        complete = []
        for line in part.waiting.values() if part is not None else ():
            for task in line:
                task.lacking -= 1
                if not task.lacking:
                    complete.append(task)
        self.tasks -= len(complete)
        return complete

    def refused(self, session: Session, digest: str) -> list[Task]:
        """Note that a driver has not got a part; return its tasks that wait for it."""
        part = self._parts.get(digest)
        if part is None:
            return []
        if part.asked is session:
            part.asked = None
        return list(part.waiting.get(session, ()))

    def left(self, session: Session) -> list[str]:
        """Note that a driver is gone; return the parts that it still owed."""
        owed = [digest for digest, part in self._parts.items() if part.asked is session]
        for digest in owed:
            self._parts[digest].asked = None
        return owed

    def unasked(self, session: Session) -> list[str]:
        """List what this driver waits for and nobody has been asked for."""
        return [
            digest
            for digest, part in self._parts.items()
            if part.asked is None and session in part.waiting
        ]

    def ask(self, digest: str) -> Session | None:
        """Choose a driver to ask for a part: one that is here and waits for it; None: later."""
        part = self._parts.get(digest)
        if part is None or part.asked is not None:
            return None
        for session in part.waiting:
            if session.link is not None:
                part.asked = session
                return session
        return None
