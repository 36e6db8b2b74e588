"""Getting what is at a URL that a task names: the zip with its starting file system."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final

from maniple.algorithm.package import LARGEST
from maniple.errors import ClusterError

TIMEOUT_SECONDS: Final = 60.0
_SHOWN: Final = 200
_CHUNK: Final = 1 << 20


def fetch(url: str) -> bytes:
    """Get bytes over HTTP(S), and by nothing else: a task must not read files of the hub.

    Raises:
        ClusterError: that is no such URL, or what is there cannot be had or is too large.
    """
    shown = url[:_SHOWN]
    if not url.lower().startswith(("http://", "https://")):
        raise ClusterError(f"data_link {shown!r} is not an http or https URL")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    data = bytearray()
    try:
        answer = opener.open(url, timeout=TIMEOUT_SECONDS)
        if answer is None:
            raise ClusterError(f"data_link {shown!r} leads to what is not http or https")
        with answer:
            while chunk := answer.read(_CHUNK):
                data += chunk
                if len(data) > LARGEST:
                    raise ClusterError(f"data_link {shown!r}: more than {LARGEST >> 20} MiB")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ClusterError(f"data_link {shown!r} cannot be fetched: {reason}") from None
    return bytes(data)
