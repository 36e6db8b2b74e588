"""Errors that a user can cause, and the exit codes they lead to.

Every message is one line that says what was wrong, where, and what to do.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command `maniple` (documented in docs/exit-codes.md)."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    BROKEN = 3
    INTERRUPTED = 130
    TERMINATED = 143


class ManipleError(Exception):
    """Something a user can mend; its text is one line."""

    exit_code = Exit.USAGE


class UsageError(ManipleError):
    """The call itself is wrong: an option, a placeholder, a syntax."""


class ParamError(ManipleError):
    """A param cannot be written as JSON."""


class QueueError(ManipleError):
    """A queue cannot be used: missing, damaged, of another kind, not permitted."""


class StorageError(ManipleError):
    """The machine gave out in mid-work: disk full, folder gone, file damaged meanwhile."""

    exit_code = Exit.BROKEN


class NotSupportedError(ManipleError):
    """This backend cannot do what was asked."""


class MissingExtraError(ManipleError):
    """An optional library is not installed."""


class AlgorithmError(ManipleError):
    """An algorithm cannot be named, built, read or run as asked."""


class ClusterError(ManipleError):
    """A hub cannot be reached, or refuses."""

    exit_code = Exit.BROKEN
