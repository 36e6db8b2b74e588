"""The tables of the PostgreSQL queues of a database: made on first use, and their version."""

# ruff: noqa: S608 - no text from outside stands in a statement

from __future__ import annotations

from contextlib import suppress
from typing import Final

from maniple.errors import ManipleError, QueueError
from maniple.queues.postgresql_link import Link

VERSION: Final = 1
SLOTS: Final = 8
"""Rows over which a queue's count of failures is spread: who counts rarely waits for others."""

# "mpltable": only one may make the tables at a time
_MAKING: Final = 0x6D706C7461626C65
# a lease is updated and deleted soon: its rows leave room on their pages, and none behind
_BUSY: Final = (
    "WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,"
    " autovacuum_vacuum_cost_delay = 0)"
)
SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS maniple_queue (
        queue int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        last bigint NOT NULL DEFAULT 0,
        tasks bigint NOT NULL DEFAULT 0)
    """,
    """
    CREATE TABLE IF NOT EXISTS maniple_task (
        queue int NOT NULL, number bigint NOT NULL, id uuid NOT NULL, data bytea NOT NULL,
        PRIMARY KEY (queue, number), UNIQUE (queue, id))
    """,
    f"""
    CREATE TABLE IF NOT EXISTS maniple_fresh (
        queue int NOT NULL, place bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
        since float8 NOT NULL,
        PRIMARY KEY (queue, place)) {_BUSY}
    """,
    f"""
    CREATE TABLE IF NOT EXISTS maniple_span (
        queue int NOT NULL, token bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
        due float8 NOT NULL, since float8 NOT NULL, holder bigint,
        attempt int NOT NULL, lapses int NOT NULL,
        PRIMARY KEY (token, first)) {_BUSY}
    """,
    """
    CREATE INDEX IF NOT EXISTS maniple_span_held ON maniple_span (queue, due)
        WHERE holder IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS maniple_span_back ON maniple_span (queue, due, first)
        WHERE holder IS NULL
    """,
    """
    CREATE TABLE IF NOT EXISTS maniple_failed (
        queue int NOT NULL, number bigint NOT NULL, attempt int NOT NULL, token bigint,
        reason bytea NOT NULL,
        PRIMARY KEY (queue, number))
    """,
    f"""
    CREATE TABLE IF NOT EXISTS maniple_tally (
        queue int NOT NULL, slot int NOT NULL, failed bigint NOT NULL,
        PRIMARY KEY (queue, slot)) {_BUSY}
    """,
    f"""
    CREATE TABLE IF NOT EXISTS maniple_holder (
        holder bigint PRIMARY KEY, queue int NOT NULL, identity text NOT NULL,
        grace float8 NOT NULL, gone float8, receipt bigint, kept int8multirange) {_BUSY}
    """,
    "CREATE TABLE IF NOT EXISTS maniple_version (version int NOT NULL)",
    f"""
    INSERT INTO maniple_version SELECT {VERSION}
        WHERE NOT EXISTS (SELECT FROM maniple_version)
    """,
)


def find_queue(link: Link, *, create: bool) -> int:
    """Look a queue's number up; make it, and the tables, where they are missing and may be made.

    Raises:
        QueueError: it is missing, of another version, or making it is not permitted.
    """
    return link.persist(lambda: _find(link, create=create))


def _find(link: Link, *, create: bool) -> int:
    if link.query("SELECT to_regclass('maniple_version')")[0][0] is None:
        if not create:
            raise _missing(link)
        _make(link)
    versions = link.query("SELECT version FROM maniple_version")
    if versions != [(VERSION,)]:
        raise QueueError(
            f"{link.shown} has tables of version {', '.join(str(v) for (v,) in versions)}; "
            f"this maniple reads version {VERSION}"
        )
    rows = link.query("SELECT queue FROM maniple_queue WHERE name = $1", link.name)
    if not rows and create:
        link.query("INSERT INTO maniple_queue (name) VALUES ($1) ON CONFLICT DO NOTHING", link.name)
        rows = link.query("SELECT queue FROM maniple_queue WHERE name = $1", link.name)
    if not rows:
        raise _missing(link)
    number: int = rows[0][0]
    return number


def _make(link: Link) -> None:
    try:
        with link.transaction():
            link.query("SELECT pg_advisory_xact_lock($1::bigint)", str(_MAKING))
            schema = link.schema
            if schema and link.query("SELECT to_regnamespace(quote_ident($1))", schema) == [
                (None,)
            ]:
                link.command(f'CREATE SCHEMA "{schema.replace(chr(34), chr(34) * 2)}"')
            for statement in SCHEMA:
                link.command(statement)
    except QueueError as error:
        raise QueueError(f"the tables of the queue cannot be made: {error}") from None


def _missing(link: Link) -> QueueError:
    return QueueError(
        f"there is no queue {link.shown}; fill it first: maniple sweep -q {link.bare} ..."
    )


def vacuum(link: Link) -> None:
    """Clear away rows that are dead; without this, the server does so once a minute."""
    with suppress(ManipleError):
        link.command(
            "VACUUM (SKIP_LOCKED, TRUNCATE FALSE, INDEX_CLEANUP ON) maniple_span, maniple_fresh"
        )
