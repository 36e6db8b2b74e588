"""The connection under the PostgreSQL queue: from URL to session, and errors in a user's words.

What libpq reads from the environment (PGHOST, PGPASSWORD, PGSERVICE, ~/.pgpass and so on) holds
wherever the URL is silent.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from maniple.address import Address, read_address
from maniple.errors import ManipleError, QueueError, StorageError, UsageError
from maniple.persist import persist
from maniple.plugins import missing_extra
from maniple.urls import redact

try:
    import psycopg
    from psycopg.pq import TransactionStatus
except ImportError:
    raise missing_extra("psycopg", "the queue postgresql:") from None

DEFAULT_NAME: Final = "maniple"
DEFAULT_PORT: Final = 5432
OPENING_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 5
SERVER_AT_LEAST: Final = 140000
LIBPQ_OPTIONS: Final = (
    "sslmode",
    "sslcrl",
    "sslnegotiation",
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "host",
    "service",
    "passfile",
    "application_name",
    "target_session_attrs",
)
_KEEPALIVES: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# the plans are made once, perhaps while the tables are empty: they must hold for a million tasks
_SETTINGS: Final = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_sort": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "lock_timeout": "0",
    # a minion that is stopped while it puts would keep all others from putting
    "idle_in_transaction_session_timeout": "30s",
    # a session whose network is gone must not live on in the server
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
_SET: Final = (
    "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s(name, value)"
    " UNION ALL SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)
# libpq gives no code for what fails while it connects; these will not pass by themselves
_FINAL: Final = (
    "password authentication failed",
    "no password supplied",
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "not permitted to log in",
    "not currently accepting connections",
    "SSL was required",
    "does not support SSL",
    "does not match host name",
    "certificate",
    "private key",
    "definition of service",
    "invalid",
    "requires",
)
_ELSEWHERE: Final = frozenset(
    {
        "25006",  # read_only_sql_transaction: it has become a standby
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
    }
)
_Answer = TypeVar("_Answer")


class LostError(Exception):
    """The connection is gone, or leads to a server that cannot serve now."""


class Link:
    """A session with the server, made again when it is lost. It belongs to one process.

    Args:
        rest: the URL after `postgresql:`.

    Attributes:
        name: of the queue.
        shown: the address for messages, without credentials.
        greet: is called in every new session, to bring back what belongs to a session.
    """

    def __init__(self, scheme: str, rest: str) -> None:
        self._address, self._options, self.schema = _read(scheme, rest)
        self.name = self._address.path[-1] if len(self._address.path) > 1 else DEFAULT_NAME
        self.shown = self._address.shown
        if "host" not in self._options:
            self.shown = f"{scheme}:///{'/'.join(self._address.path)}"
        self.bare = redact(f"{scheme}:{rest}")
        self.greet: Callable[[], None] = lambda: None
        self.told = False
        self._connection: psycopg.Connection[Any] | None = None
        try:
            persist(
                self._connect,
                lost=(LostError,),
                again=lambda: None,
                seconds=min(OPENING_SECONDS, self._address.reconnect),
                what=self.shown,
            )
        except BaseException:
            self.close()
            raise

    def persist(self, call: Callable[[], _Answer]) -> _Answer:
        """Make a call that may be repeated; connect again when the connection is lost."""
        return persist(
            call,
            lost=(LostError,),
            again=self._again,
            seconds=self._address.reconnect,
            what=self.shown,
        )

    def _again(self) -> None:
        self._connect()
        try:
            self.greet()
        except BaseException:
            # a session that was not greeted is none
            self.close()
            raise

    def _connect(self) -> None:
        self.close()
        with self.errors():
            try:
                connection: psycopg.Connection[Any] = psycopg.Connection.connect(
                    autocommit=True, cursor_factory=psycopg.RawCursor, **self._options
                )
            except psycopg.Error as error:
                raise self._refused(error) from None
        self._connection = connection
        connection.add_notify_handler(self._tell)
        connection.prepare_threshold = 0
        if connection.info.server_version < SERVER_AT_LEAST:
            raise QueueError(
                f"{self.shown} is PostgreSQL {connection.info.server_version // 10000}: "
                "14 or newer is needed"
            )
        settings = dict(_SETTINGS)
        if self.schema is not None:
            settings["search_path"] = '"{}"'.format(self.schema.replace('"', '""'))
        self.query(_SET, list(settings), list(settings.values()))

    def _refused(self, error: psycopg.Error) -> Exception:
        text = " ".join(str(error).split()).removeprefix("connection failed: ")
        if not isinstance(error, psycopg.OperationalError) or any(word in text for word in _FINAL):
            return QueueError(f"cannot use {self.shown}: {text}")
        return LostError(text)

    def _tell(self, _notification: object) -> None:
        self.told = True

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The session.

        Raises:
            LostError: there is none.
        """
        if self._connection is None or self._connection.closed:
            raise LostError("the connection is closed")
        return self._connection

    def query(self, sql: str, *values: Any, often: bool = True) -> list[tuple[Any, ...]]:
        """Run one statement and fetch its rows.

        Args:
            sql: the statement.
            values: of its parameters; numbers as text, so that they have the types it gives them.
            often: plan it once for all. Otherwise it is planned for the tables as they are now.

        Raises:
            LostError: the connection is gone; the statement may have been carried out.
        """
        with self.errors():
            cursor = self.connection.execute(sql, values, prepare=often, binary=True)
            return cursor.fetchall() if cursor.description else []

    def command(self, sql: str) -> None:
        """Run statements without values."""
        with self.errors():
            self.connection.execute(sql, prepare=False)

    def copy(self, sql: str, block: bytes) -> None:
        """Send one block of rows."""
        with self.errors(), self.connection.cursor().copy(sql) as copy:
            copy.write(block)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one transaction of what is done inside."""
        with self.errors(), self.connection.transaction():
            yield

    def wait(self, seconds: float) -> None:
        """Wait until somebody notifies us, at most some seconds.

        Raises:
            LostError: the connection is gone.
        """
        with self.errors():
            connection = self.connection.pgconn
            poll = select.poll()
            poll.register(connection.socket, select.POLLIN)
            until = time.monotonic() + seconds
            while True:
                # what came with an earlier answer is not seen by poll
                while connection.notifies():
                    self.told = True
                left = until - time.monotonic()
                if self.told or left <= 0:
                    return
                if poll.poll(left * 1000):
                    connection.consume_input()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell lost connections from other errors, and say those in a line."""
        try:
            yield
        except psycopg.Error as error:
            raise self._explain(error) from None

    def _explain(self, error: psycopg.Error) -> Exception:
        code = error.sqlstate or ""
        text = " ".join((error.diag.message_primary or str(error)).split())
        connection = self._connection
        if (
            connection is None
            or connection.closed
            or connection.pgconn.transaction_status == TransactionStatus.UNKNOWN
            # 08: connection exceptions; 57P: ended by the administrator, starting up, and so on
            or code.startswith(("08", "57P"))
            or code in _ELSEWHERE
        ):
            return LostError(text)
        return self.explained(code, text)

    def explained(self, code: str, text: str) -> ManipleError:
        """Say what is wrong and what to do."""
        if code.startswith("42501"):
            return QueueError(
                f"not permitted in {self.shown}: {text}; its owner can GRANT it, or make the "
                "tables in a schema of yours: ?schema=NAME"
            )
        if code.startswith("53"):
            return StorageError(f"the server of {self.shown} has run out of something: {text}")
        if code in {"42P01", "42703"}:
            return StorageError(f"the tables of {self.shown} are gone or of another kind: {text}")
        return StorageError(f"the queue {self.shown} cannot be used: {text}")

    def close(self) -> None:
        """Close the session."""
        connection, self._connection = self._connection, None
        self.told = False
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def _read(scheme: str, rest: str) -> tuple[Address, dict[str, Any], str | None]:
    port = os.environ.get("PGPORT", "")
    address = read_address(
        scheme,
        rest,
        prefix="PG",
        port=int(port) if port.isdecimal() and 0 < int(port) < 1 << 16 else DEFAULT_PORT,
        options=(*LIBPQ_OPTIONS, "schema"),
        # libpq reads its own variables
        environ={},
    )
    place = rest.partition("?")[0]
    if not 1 <= len(address.path) <= 2:  # noqa: PLR2004 - a database and a queue
        raise UsageError(f"{address.shown}: write {scheme}://HOST/DATABASE/QUEUE")
    options: dict[str, Any] = {
        "fallback_application_name": "maniple",
        "client_encoding": "UTF8",
        "connect_timeout": CONNECT_SECONDS,
        # in a list of hosts, or behind one name, only the primary can be written to
        "target_session_attrs": "read-write",
        "dbname": address.path[0],
        **_KEEPALIVES,
    }
    if place.removeprefix("//").partition("/")[0].rpartition("@")[2]:
        options["host"] = ",".join(host for host, _ in address.hosts)
        options["port"] = ",".join(str(number) for _, number in address.hosts)
    named = dict(address.options)
    schema = named.pop("schema", None)
    files = {"sslrootcert": address.ca, "sslcert": address.cert, "sslkey": address.key}
    if address.ca is not None and "PGSSLMODE" not in os.environ:
        # who names whom to trust wants it checked
        options["sslmode"] = "verify-full"
    given = {"user": address.user, "password": address.password, **files, **named}
    options.update({key: value for key, value in given.items() if value})
    return address, options, schema or None
