"""A disk under the tests' control: it fails, or stops the process, at any chosen step."""

import os
import threading


class Crash(BaseException):
    """The process was killed. Nothing it still tries has an effect."""


class Disk:
    """Counts what changes files, through the calls that this thread makes of the system.

    Attributes:
        steps: changes so far.
    """

    CALLS = ("open", "write", "rename", "unlink")

    def __init__(self, monkeypatch):
        self.steps = 0
        self._at = None
        self._action = None
        self._dead = False
        self._thread = threading.get_ident()
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def at(self, step, action):
        """Run `action(name, call, args)` instead of the change number `step` from now on."""
        self.steps = 0
        self._at = step
        self._action = action

    def off(self):
        """Let everything through, uncounted."""
        self._at = None
        self._dead = False

    def crash_at(self, step):
        """Kill the process at a step; of a write, half is done."""

        def crash(name, call, args):
            self._dead = True
            if name == "write":
                call(args[0], args[1][: len(args[1]) // 2])
            raise Crash

        self.at(step, crash)

    def _watched(self, name, call):
        def watched(*args, **kwargs):
            if threading.get_ident() != self._thread:
                # of other tests, which are not over yet
                return call(*args, **kwargs)
            if self._dead:
                raise Crash
            if self._at is None or (name == "open" and not args[1] & os.O_CREAT):
                return call(*args, **kwargs)
            self.steps += 1
            if self.steps == self._at:
                return self._action(name, call, args)
            return call(*args, **kwargs)

        return watched
