"""The admin interface of a Pulsar broker: numbers that its binary protocol does not tell."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any, Final
from urllib.parse import quote, urlsplit

from maniple.errors import QueueError, StorageError, UsageError

SECONDS: Final = 10.0
_OK: Final = 200
_FORBIDDEN: Final = (401, 403)
_MISSING: Final = 404


class Admin:
    """Reads the numbers of topics over HTTP.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT`.
        tls: the context for https.
        authorization: the value of that header, or nothing.

    Raises:
        UsageError: the URL is none.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None, authorization: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise UsageError(f"admin={url.rpartition('@')[2]}: write admin=http://HOST:PORT")
        self.shown = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._http: http.client.HTTPConnection
        if parts.scheme == "https":
            self._http = http.client.HTTPSConnection(
                parts.hostname, port, timeout=SECONDS, context=tls
            )
        else:
            self._http = http.client.HTTPConnection(parts.hostname, port, timeout=SECONDS)

    def subscription(self, topic: str, name: str) -> dict[str, Any]:
        """Give the numbers of one subscription; empty where there is none.

        Args:
            topic: `persistent://TENANT/NAMESPACE/TOPIC`, a partition perhaps.
            name: of the subscription.

        Raises:
            QueueError: not permitted.
            StorageError: no answer.
        """
        path = "/".join(quote(part, safe="") for part in topic.partition("://")[2].split("/", 2))
        target = f"/admin/v2/persistent/{path}/stats?getPreciseBacklog=false"
        status, body = self._get(target)
        if status in _FORBIDDEN:
            raise QueueError(f"{self.shown} does not let us read the numbers of {topic}")
        if status == _MISSING:
            return {}
        if status != _OK:
            raise StorageError(f"{self.shown} has no numbers of {topic}: status {status}")
        found: dict[str, Any] = json.loads(body).get("subscriptions", {}).get(name, {})
        return found

    def _get(self, target: str) -> tuple[int, bytes]:
        # a connection that was kept open may have been closed meanwhile
        for last in (False, True):
            try:
                self._http.request("GET", target, headers=self._headers)
                response = self._http.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                if last:
                    line = " ".join(str(error).split())
                    raise StorageError(f"no answer from {self.shown}: {line}") from None
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
