"""The journal's tables and connections: what a file must be to be ours, and how it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from lambda_builder.errors import BootError

APPLICATION_ID = 0x6C62_6A31
"""Marks the file as ours in SQLite's header ("lbj1")."""
PAGE_SIZE = 4096
BUSY_SECONDS = 5.0
_WAL_KEPT_BYTES = 16 * 1024 * 1024
_NEEDED = (3, 35, 0)

OPEN = "state = 'queued'"
"""A row is open while its build waits; the partial indexes answer only to this wording."""
SETTLED = "state <> 'queued'"

BUILD_COLUMNS = (
    "seq, event_hash, job_name, correlation_id, request, attempts, state, outcome, "
    "accepted_at, settled_at"
)
OUTBOX_COLUMNS = "seq, id, destination, key, headers, body, attempts, due_at"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE builds (
            seq INTEGER PRIMARY KEY,
            event_hash TEXT NOT NULL UNIQUE,
            job_name TEXT NOT NULL,
            correlation_id TEXT NOT NULL,
            request BLOB NOT NULL,
            attempts INTEGER NOT NULL,
            state TEXT NOT NULL,
            outcome BLOB,
            accepted_at REAL NOT NULL,
            settled_at REAL
        )""",
        # With the column of its condition, so that counting reads no rows.
        f"CREATE INDEX builds_open ON builds (state, seq) WHERE {OPEN}",
        f"CREATE INDEX builds_settled ON builds (settled_at, state) WHERE {SETTLED}",
        "CREATE INDEX builds_job_name ON builds (job_name)",
        "CREATE INDEX builds_correlation_id ON builds (correlation_id)",
        """CREATE TABLE outbox (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            destination TEXT NOT NULL,
            key TEXT NOT NULL,
            headers BLOB NOT NULL,
            body BLOB NOT NULL,
            attempts INTEGER NOT NULL,
            due_at REAL NOT NULL
        )""",
        "CREATE INDEX outbox_due ON outbox (destination, due_at)",
        "CREATE INDEX outbox_key ON outbox (destination, key, due_at)",
        "CREATE TABLE probe (id INTEGER PRIMARY KEY, ballast BLOB)",
    ),
    (
        """CREATE TABLE cancels (
            seq INTEGER PRIMARY KEY,
            event_hash TEXT NOT NULL UNIQUE,
            request BLOB NOT NULL
        )""",
    ),
    # An older version would take the retries among them for cancels.
    ("ALTER TABLE cancels RENAME TO commands",),
    (
        """CREATE TABLE audit (
            seq INTEGER PRIMARY KEY,
            refused INTEGER NOT NULL,
            entry BLOB NOT NULL
        )""",
        "CREATE INDEX audit_refused ON audit (refused, seq)",
    ),
)
"""One tuple of statements per version; ``PRAGMA user_version`` is how many were made."""


class TablesMissing(sqlite3.DatabaseError):
    """The file lacks the tables that its version must have: a kind of damage."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class LogUnusable(sqlite3.OperationalError):
    """SQLite could not go over to its log, which it tells by going on without.

    Then a commit would not outlast a power cut: the old pages, whose removal is not synced, come
    back.
    """

    sqlite_errorcode = sqlite3.SQLITE_IOERR


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open ``path`` for writing, made or brought up to date where needed.

    Raises ``BootError`` for a newer version or somebody else's database, and ``sqlite3.Error``.
    """
    if sqlite3.sqlite_version_info < _NEEDED:
        raise BootError(
            f"SQLite {sqlite3.sqlite_version} is too old: the journal needs 3.35 or later; take "
            "another Python, or unset JOURNAL_PATH"
        )
    connection = _connect(path)
    try:
        version = _version(connection, path)
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise LogUnusable(f"journal mode stays {mode}")
        connection.execute("PRAGMA schema_version").fetchone()  # the first read makes the log
        connection.execute("PRAGMA synchronous = FULL")
        # Checkpoints are made between commits, so that nobody waits for one.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        connection.execute("PRAGMA cache_size = -16000")
        _migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open ``path`` for reading; raises ``sqlite3.Error``."""
    connection = _connect(path)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if application != APPLICATION_ID and (tables or version):
        raise BootError(
            f"{path} is a database, but not a journal of lambda-builder; set another JOURNAL_PATH"
        )
    if version > len(MIGRATIONS):
        raise BootError(
            f"journal {path} was written by a newer version (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); run that version, or set another JOURNAL_PATH"
        )
    if version and not {"builds", "outbox", "probe"} <= tables:
        raise TablesMissing(f"schema {version} without its tables")
    return int(version)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if 0 < version < len(MIGRATIONS):
        # What a killed process left in the log must not be written over: see Database._begin_log.
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise TimeoutError("the log is in use by another program")
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
