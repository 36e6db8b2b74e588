"""The sandbox contract: who runs the untrusted code of a call, and what holds against it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from maniple.algorithm.call import Answer, Call
from maniple.runner import Cancel


class Parts(msgspec.Struct, frozen=True):
    """Where the bytes of an algorithm are on this machine.

    Attributes:
        wasm, loader, data: paths of files that never change: their names are their digests.
        cache: a folder where a sandbox may keep what it makes of them (compiled modules); only
            its owner may write there, for what is in it is trusted.
    """

    wasm: str
    cache: str
    loader: str | None = None
    data: str | None = None


@runtime_checkable
class Sandbox(Protocol):
    """Runs one call at a time, in a process of its own that can be killed.

    Nothing that the code does may reach beyond its call: not the files, processes, network or
    environment of the machine, not the calls before and after it, not the worker itself. A limit
    that is passed ends the call with an answer that is not ok and names the limit; the next call
    finds a sandbox as good as new.
    """

    def run(self, call: Call, parts: Parts, cancel: Cancel) -> Answer:
        """Run a call to its end. What the code does wrong is an answer, not an exception.

        `cancel` ends it within a second, with the cause `cancelled`.

        Raises:
            ManipleError: this machine cannot run it: something is missing.
        """
        ...

    def abort(self) -> None:
        """End the running call, if there is one, as `cancel` would; safe from another thread."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...
