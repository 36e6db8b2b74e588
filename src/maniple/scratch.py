"""Files without a name, for what is printed while a program runs."""

from __future__ import annotations

import os


def unnamed_file(flags: int = 0) -> int:
    """Make a file that vanishes with its last descriptor; return one, not inherited.

    Args:
        flags: more of `open`'s flags, such as `O_APPEND`.
    """
    # the module tempfile costs more at start-up than all else that a run needs from the library
    folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - the file never has a name there
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except (AttributeError, OSError):
        return _by_name(flags)


def _by_name(flags: int) -> int:
    """Where the file system has no unnamed files: make one and remove its name at once."""
    import fcntl
    import tempfile

    with tempfile.TemporaryFile(prefix="maniple-") as file:
        fd = os.dup(file.fileno())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | flags)
    return fd
