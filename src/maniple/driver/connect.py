"""`maniple.connect`: the way from a hub's URL to a cluster that runs algorithms."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from maniple.driver.address import read_hub
from maniple.driver.blocking import BlockingCluster
from maniple.driver.cluster import Cluster
from maniple.driver.desk import Desk
from maniple.driver.link import RECONNECT_SECONDS
from maniple.driver.ticket import Mailbox


class Connection:
    """A connection to come: `async with` gives a `Cluster`, `with` a `BlockingCluster`.

    `await connection` and `connection.open()` give the same without a block, for notebooks; close
    those with their `close`.
    """

    def __init__(self, url: str | None, token: str | None, reconnect: float) -> None:
        self._address = read_hub(url, token)
        self._reconnect = reconnect
        self._cluster: Cluster | None = None
        self._blocking: BlockingCluster | None = None

    def __repr__(self) -> str:
        return f"connect({self._address.shown!r})"

    def open(self) -> BlockingCluster:
        """Connect, and wait for that.

        Raises:
            NoHubError: nobody answers.
            RefusedError: the token is bad.
        """
        desk = Desk(self._address, self._reconnect)
        desk.link.start()
        try:
            desk.link.opened.result()
        except BaseException:
            desk.link.stop()
            raise
        return BlockingCluster(desk)

    async def _open(self) -> Cluster:
        desk = Desk(self._address, self._reconnect)
        desk.link.start()
        try:
            await Mailbox(asyncio.get_running_loop()).watch(desk.link.opened)
        except BaseException:
            desk.link.stop()
            raise
        return Cluster(desk)

    def __await__(self) -> Generator[Any, None, Cluster]:
        return self._open().__await__()

    async def __aenter__(self) -> Cluster:
        self._cluster = await self._open()
        return self._cluster

    async def __aexit__(self, *_: object) -> None:
        if self._cluster is not None:
            await self._cluster.close()
            self._cluster = None

    def __enter__(self) -> BlockingCluster:
        self._blocking = self.open()
        return self._blocking

    def __exit__(self, *_: object) -> None:
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None


def connect(
    url: str | None = None, *, token: str | None = None, reconnect: float = RECONNECT_SECONDS
) -> Connection:
    """Connect to a cluster.

    Args:
        url: of its hub: `ws://host:port/client_socket/websocket`, `host:port` or
            `https://host`; default: `WEBSOCKET_URI` from the environment or `.env`, or else the
            loop-back cluster of this machine.
        token: an application token; default: `APPLICATION_TOKEN` from there. It is never shown.
        reconnect: seconds for which a lost connection is taken up again; no task is lost, and
            none is answered twice, meanwhile.

    Returns:
        What both `async with` and `with` take.

    Raises:
        UsageError: the URL cannot be read.

    Example:
        >>> with connect("localhost:7070") as cluster:  # doctest: +SKIP
        ...     values = list(cluster.map("kmeans@0.0.1", [([1.0, 9.0], 2), ([3.0, 4.0], 2)]))
    """
    return Connection(url, token, reconnect)
