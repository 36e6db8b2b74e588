"""The connection of the queue `redis:` to its server, or to the right node of a cluster."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Final

from maniple.address import Address, read_address
from maniple.errors import ManipleError, QueueError, StorageError, UsageError
from maniple.persist import persist
from maniple.plugins import missing_extra
from maniple.queues.redis_lua import ABSENT, Script

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.exceptions import (
        AuthenticationError,
        ClusterError,
        MasterDownError,
        NoPermissionError,
        NoScriptError,
        ReadOnlyError,
        RedisClusterException,
        RedisError,
        ResponseError,
        TryAgainError,
    )
    from redis.retry import Retry
except ImportError:
    raise missing_extra("redis", "the queue redis:") from None

PORT: Final = 6379
OLDEST_SERVER: Final = (6, 2)
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
OPTIONS: Final = ("cluster",)
_DEFAULT_NAME: Final = "maniple"
_ERRORS = (RedisError, RedisClusterException, OSError)
_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    ClusterError,
    MasterDownError,
    ReadOnlyError,
    TryAgainError,
    RedisClusterException,
)
_REFUSED = (AuthenticationError, NoPermissionError)
_NOT_ALLOWED = re.compile(r"\b(NOAUTH|WRONGPASS|NOPERM)\b|can't (run|access)")
_AGAIN = re.compile(
    r"\b(READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|UNBLOCKED|BUSY)\b"
)


class _LostError(Exception):
    """The server is away; its answer may have been lost."""


class Place:
    """What a URL says: where the server is, which database, and the queue's name.

    Args:
        scheme: `redis` or `rediss`.
        rest: the URL after the colon.

    Attributes:
        address: where, and who we are.
        db: the number of the database.
        name: the queue's.
        cluster: whether the server is part of a cluster; None: ask it.

    Raises:
        UsageError: the URL is malformed.
    """

    def __init__(self, scheme: str, rest: str) -> None:
        self.address = read_address(scheme, rest, prefix="REDIS", port=PORT, options=OPTIONS)
        path = list(self.address.path)
        shown = self.address.shown
        self.db = 0
        if path and path[0].isascii() and path[0].isdecimal():
            self.db = int(path.pop(0))
        if len(path) > 1:
            raise UsageError(f"not a {scheme} URL: {shown}; write {scheme}://HOST/[DB/]NAME")
        self.name = path[0] if path else _DEFAULT_NAME
        flag = self.address.options.get("cluster", "")
        if flag not in {"", "0", "1"}:
            raise UsageError(f"cluster={flag} in {shown}: 0 or 1 is needed")
        self.cluster = None if not flag else flag == "1"


class Link:
    """Commands and scripts for a server; a lost connection is made again.

    Args:
        place: from the URL.

    Raises:
        QueueError: the server is too old, or does not let us in.
        StorageError: there is no server.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._address: Address = place.address
        self._cluster = place.cluster
        self._client: redis.Redis | RedisCluster | None = None
        self._turn = 0
        self._nodes = list(place.address.hosts)
        self._checked = False
        # who has just written the URL wants to hear soon that nobody is there
        self._patience = min(CONNECT_SECONDS, self._address.reconnect)
        for option in ("ca", "cert", "key"):
            path = getattr(self._address, option)
            if path and not os.path.isfile(path):
                raise QueueError(
                    f"no TLS with {self._address.shown}: there is no file {path} (option {option})"
                )
        persist(
            self._connect,
            lost=(_LostError,),
            again=lambda: None,
            seconds=self._patience,
            what=self._address.shown,
        )
        self._patience = self._address.reconnect

    def command(self, *words: Any) -> Any:
        """Send a command; when its answer is lost, send it again.

        Raises:
            QueueError: it was refused.
            StorageError: the server is gone, or cannot keep more.
        """
        return persist(
            lambda: self._send(words),
            lost=(_LostError,),
            again=self._connect,
            seconds=self._patience,
            what=self._address.shown,
        )

    def script(self, script: Script, key: str, *words: Any) -> Any:
        """Run a script; the server may have forgotten it."""
        return self.command(script, key, *words)

    def close(self) -> None:
        """Let the connection go."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*_ERRORS):
                client.close()
            if isinstance(client, redis.Redis):
                with contextlib.suppress(*_ERRORS):
                    client.connection_pool.disconnect()

    def last_word(self, script: Script, key: str, *words: Any) -> None:
        """Run a script if that can be done at once."""
        if self._client is not None:
            with contextlib.suppress(_LostError, ManipleError):
                self._send((script, key, *words))

    def _send(self, words: tuple[Any, ...]) -> Any:
        if self._client is None:
            self._connect()
        send: Any = self._client.execute_command  # type: ignore[union-attr]
        try:
            if not isinstance(words[0], Script):
                return send(*words)
            script, key, *rest = words
            try:
                return send("EVALSHA", script.sha, 2, key, key + ABSENT, *rest)
            except NoScriptError:
                return send("EVAL", script.text, 2, key, key + ABSENT, *rest)
        except _ERRORS as error:
            raise self._translated(error) from None

    def _connect(self) -> None:
        self.close()
        hosts = self._address.hosts
        host, port = hosts[self._turn % len(hosts)]
        # the next one is another chance, where there are several
        self._turn += 1
        try:
            if not self._checked or not self._cluster:
                self._client = redis.Redis(
                    host=host, port=port, db=self._place.db, single_connection_client=True,
                    retry=Retry(NoBackoff(), 0), **self._settings(),
                )  # fmt: skip
                self._check()
            if self._cluster:
                self.close()
                self._client = RedisCluster(
                    startup_nodes=[_node(*at) for at in self._nodes],
                    retry=Retry(NoBackoff(), 0),
                    require_full_coverage=False,
                    **self._settings(),
                )
                # those that we were told of may be gone when these are asked
                nodes: Any = self._client.get_nodes  # type: ignore[no-untyped-call, unused-ignore]
                found = [(str(node.host), int(node.port)) for node in nodes()]
                self._nodes = list(dict.fromkeys([*hosts, *found]))
        except _ERRORS as error:
            self.close()
            raise self._translated(error, connecting=True) from None

    def _settings(self) -> dict[str, Any]:
        address = self._address
        settings: dict[str, Any] = {
            "username": address.user,
            "password": address.password,
            "protocol": 2,
            "socket_connect_timeout": CONNECT_SECONDS,
            # answers come within a second: what waits on the server waits no longer
            "socket_timeout": min(ANSWER_SECONDS, max(CONNECT_SECONDS, address.reconnect)),
            "socket_keepalive": True,
        }
        if address.scheme == "rediss":
            settings.update(
                ssl=True,
                ssl_ca_certs=address.ca,
                ssl_certfile=address.cert,
                ssl_keyfile=address.key,
                ssl_check_hostname=True,
            )
        return settings

    def _check(self) -> None:
        """Look once whom we talk to."""
        if self._checked:
            return
        try:
            info: Any = self._client.info()  # type: ignore[union-attr]
        except NoPermissionError:
            info = {}
        version = str(info.get("redis_version", ""))
        parts = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if parts and parts < OLDEST_SERVER:
            self.close()
            raise QueueError(
                f"{self._address.shown}: the server is Redis {version}; 6.2 or newer is needed"
            )
        if self._cluster is None:
            self._cluster = bool(info.get("cluster_enabled"))
        self._checked = True

    def _translated(self, error: Exception, *, connecting: bool = False) -> Exception:
        """Turn an error of the library into one of ours; it may hold no credential."""
        shown = self._address.shown
        line = " ".join(str(error).split())
        if isinstance(error, _REFUSED) or _NOT_ALLOWED.search(line):
            return QueueError(
                f"{shown} does not let us in: {line} (user and password belong into the URL or "
                "into REDIS_USER and REDIS_PASSWORD)"
            )
        if connecting and re.search(r"\[(SSL|X509)", line) and "EOF" not in line:
            return QueueError(f"no TLS with {shown}: {line} (see the options ca, cert and key)")
        if "SELECT is not allowed" in line:
            return UsageError(f"{shown}: a cluster has no databases; leave /{self._place.db} out")
        if "not enabled on this node" in line or "cluster support disabled" in line:
            return QueueError(f"{shown} is not part of a cluster: leave cluster=1 out")
        if isinstance(error, _AWAY) or _AGAIN.search(line):
            return _LostError(line)
        if re.search(r"\b(GONE|NOGROUP)\b", line):
            return QueueError(
                f"queue {shown} was deleted from the server, or the server has lost it (does it "
                "run with appendonly yes?)"
            )
        if "WRONGTYPE" in line:
            return QueueError(f"{shown}: the server's keys of that name are of another kind")
        if re.search(r"\b(OOM|MISCONF|maxmemory)\b", line):
            return StorageError(f"{shown} cannot keep more: {line}")
        if isinstance(error, ResponseError):
            return QueueError(f"{shown}: {line}")
        return StorageError(f"{shown}: {line or type(error).__name__}")


def _node(host: str, port: int) -> ClusterNode:
    node: Any = ClusterNode
    return node(host, port)  # type: ignore[no-any-return]
