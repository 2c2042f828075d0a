"""A shared journal, read or written whole while no replica uses it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from lambda_builder.errors import BootError
from lambda_builder.journal.kept import COLUMNS, KeptBuild
from lambda_builder.journal.postgres.arrays import columns_of, unnested
from lambda_builder.journal.postgres.build_rows import (
    RESULT_COLUMNS,
    RESULT_TYPES,
    found,
    result_row,
)
from lambda_builder.journal.postgres.database_errors import describe
from lambda_builder.journal.postgres.schema import MIGRATING, migrate
from lambda_builder.journal.postgres.server import Connection, Server
from lambda_builder.journal.rows import Row, tolerance

_PAGE_ROWS = 200
_NOBODY = 0
"""An owner that never lives: what is open is left to whoever takes it over."""
_TABLES = ("builds", *COLUMNS)
_TYPES = {**RESULT_TYPES, "settled_at": "double precision"}
_RESULTS = ", ".join(RESULT_TYPES)
# Numbered in their order: the rows of one statement are put in one after the other.
_ADD_BUILDS = (
    f"INSERT INTO builds (owner, grip, settled_at, active, {_RESULTS})"
    " SELECT %s, 0, to_timestamp(nullif(settled_at, 0)), state IN ('created', 'running'),"
    f" {_RESULTS} FROM {unnested(_TYPES)} ORDER BY place"
)


class DatabaseCopy:
    """``Source`` and ``Target`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def builds(self) -> Iterator[KeptBuild]:
        """See ``Source.builds``."""
        for seq, settled_at, *columns in self._read(
            f"SELECT seq, extract(epoch FROM settled_at)::double precision, {RESULT_COLUMNS},"
            " event FROM builds ORDER BY seq"
        ):
            with tolerance(seq=seq):
                yield KeptBuild(found(columns), settled_at or 0.0)

    def rows(self, table: str) -> Iterator[Row]:
        """See ``Source.rows``."""
        yield from self._read(f"SELECT {COLUMNS[table]} FROM {table} ORDER BY seq")

    def add_builds(self, builds: list[KeptBuild]) -> None:
        """See ``Target.add_builds``."""
        rows = []
        for build in builds:
            row = result_row(build.result)
            if build.result.state.waits:
                row = (*row[:-1], None)  # no outcome
            rows.append((*row, build.settled_at))
        self._connection.execute(_ADD_BUILDS, (_NOBODY, *columns_of(rows)))

    def add_rows(self, table: str, rows: list[Row]) -> None:
        """See ``Target.add_rows``."""
        owned = {"outbox": "owner, ", "commands": "owner, grip, "}.get(table, "")
        own: Sequence[Any] = [_NOBODY] * owned.count(",")
        if table == "audit":
            rows = [(bool(refused), entry) for refused, entry in rows]
        marks = ", ".join(["%s"] * (len(own) + len(COLUMNS[table].split(", "))))
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} ({owned}{COLUMNS[table]}) VALUES ({marks})",
                [(*own, *row) for row in rows],
            )

    def is_empty(self) -> bool:
        """Whether nothing is in it; raises ``psycopg.Error``."""
        some = (f"EXISTS (SELECT 1 FROM {table})" for table in _TABLES)
        return self._connection.execute(f"SELECT {' OR '.join(some)}").fetchone() == (False,)

    def _read(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor("copy") as cursor:
            cursor.itersize = _PAGE_ROWS
            yield from cursor.execute(query)


@contextlib.contextmanager
def reading_database(url: str, password_file: Path | None) -> Iterator[DatabaseCopy]:
    """Read a database; raises ``BootError``."""
    with _opened(url, password_file) as (connection, _):
        yield DatabaseCopy(connection)


@contextlib.contextmanager
def writing_database(url: str, password_file: Path | None) -> Iterator[DatabaseCopy]:
    """Write a database that is new or empty, all or nothing; raises ``BootError``."""
    with _opened(url, password_file) as (connection, server):
        copy = DatabaseCopy(connection)
        if not copy.is_empty():
            raise BootError(f"journal {server} is not empty; name another database")
        yield copy


@contextlib.contextmanager
def _opened(url: str, password_file: Path | None) -> Iterator[tuple[Connection, Server]]:
    """In one transaction, during which no replica can start."""
    server = Server(url, name="copy", password_file=password_file)
    try:
        with (
            contextlib.closing(server.connect()) as connection,
            connection.more_patience(math.inf),
            connection.transaction(),
        ):
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATING,))
            migrate(connection, server)
            live = connection.execute(
                "SELECT name FROM replicas WHERE alive_until > clock_timestamp() LIMIT 1"
            ).fetchone()
            if live is not None:
                raise BootError(f"journal {server} is in use by replica {live[0]}; stop all first")
            yield connection, server
    except (psycopg.Error, OSError) as error:
        raise BootError(f"journal {server} cannot be used: {describe(error)}") from error
