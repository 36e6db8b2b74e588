"""A taskiq with one task that does nothing, on a broker that needs no server.

BENCH_BROKER is `sqlite` (the broker below) or `zmq` (taskiq's own, at BENCH_PORT).
"""

import asyncio
import os
import sqlite3

from taskiq import AsyncBroker, ZeroMQBroker
from ticks import tick

POLL_SECONDS = 0.005


class SqliteBroker(AsyncBroker):
    """Keeps messages in a table; a message that is handed out is gone."""

    def _open(self):
        connection = sqlite3.connect("taskiq.db", timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, data BLOB)")
        return connection

    async def startup(self):
        """Open the file."""
        await super().startup()
        self.connection = self._open()

    async def kick(self, message):
        """Put a message."""
        self.connection.execute("INSERT INTO message (data) VALUES (?)", (message.message,))

    async def listen(self):
        """Hand messages out, oldest first."""
        take = "DELETE FROM message WHERE id = (SELECT min(id) FROM message) RETURNING data"
        while True:
            row = self.connection.execute(take).fetchone()
            if row is None:
                await asyncio.sleep(POLL_SECONDS)
            else:
                yield row[0]


if os.environ["BENCH_BROKER"] == "zmq":
    address = f"tcp://127.0.0.1:{os.environ['BENCH_PORT']}"
    broker = ZeroMQBroker(address, address)
else:
    broker = SqliteBroker()


@broker.task
async def noop(x: int) -> None:  # noqa: ARG001 - a task has a param
    """Note that it ran."""
    tick("ticks")
