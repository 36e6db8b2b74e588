"""Queue URLs: `sqlite:q.db`, `dir:/shared/sweep`, `memory:`, and how they are opened."""

from __future__ import annotations

import os
import re
from typing import Any

from maniple import plugins
from maniple.errors import UsageError
from maniple.queue import Queue

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):(.*)$", re.DOTALL)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_SECRETS = re.compile(
    r"([?&](?:[a-z_]*password|[a-z_]*token|[a-z_]*secret)=)[^&\s]*", re.IGNORECASE
)


_PATHS = frozenset({"sqlite", "dir", "execo"})


def split_url(url: str) -> tuple[str, str]:
    """Split a queue URL into its backend's name and the rest.

    Raises:
        UsageError: there is no scheme.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise UsageError(f"not a queue URL: {url!r}; write sqlite:{url} or dir:{url}")
    return match[1].lower(), match[2]


def redact(url: str) -> str:
    """Take credentials out of a URL before it is shown or kept."""
    return _SECRETS.sub(r"\1***", _CREDENTIALS.sub("", url))


def findable(url: str) -> str:
    """Write a URL so that it means the same from any directory, without credentials."""
    scheme, rest = split_url(url)
    if scheme in _PATHS and rest:
        return f"{scheme}:{os.path.abspath(rest)}"
    return redact(url)


def open_queue(url: str, *, create: bool = True, **options: Any) -> Queue:
    """Open a queue by its URL.

    Args:
        url: `scheme:rest`; the scheme names the backend.
        create: make the queue when it does not exist; otherwise that is an error.
        options: passed on to the backend.

    Raises:
        UsageError: no such backend, or a malformed URL.
        QueueError: the queue does not exist, is damaged, of another kind, or not permitted.
        MissingExtraError: the backend's library is not installed.
    """
    scheme, rest = split_url(url)
    backend = plugins.find("maniple.queues", scheme)
    queue: Queue = backend(rest, create=create, **options)
    return queue
