"""Whether a server will do: its version, and that a connection keeps its session."""

from __future__ import annotations

import contextlib
import secrets

import psycopg

from lambda_builder.errors import BootError
from lambda_builder.journal.postgres.server import OLDEST, Connection, Server

_HEARING_SECONDS = 2.0
_PID = "SELECT pg_backend_pid()"


def check_server(connection: Connection, server: Server) -> None:
    """Raise ``BootError`` where the journal cannot be kept behind ``connection``.

    Raises ``psycopg.Error`` and ``OSError``.
    """
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise BootError(f"{server} is PostgreSQL {version}; the journal needs {OLDEST} or newer")
    with contextlib.closing(server.connect()) as other:
        if not keeps_session(connection, other):
            raise BootError(
                f"{server} is a pooler in transaction mode, or statement mode: it gives the "
                "session of one connection to another; have JOURNAL_URL name the server itself, "
                "or a pooler in session mode"
            )


def keeps_session(connection: Connection, other: Connection) -> bool:
    """Whether a session stays with its connection, also while ``other`` is busy.

    Raises ``psycopg.Error``.
    """
    before = connection.execute(_PID).fetchone()
    try:
        with other.transaction():
            other.execute(_PID)
            if connection.execute(_PID).fetchone() != before:
                return False
    except psycopg.errors.ProtocolViolation:
        return False  # pgbouncer in statement mode has no transactions
    channel = f"lambda_builder_{secrets.token_hex(4)}"
    connection.execute(f"LISTEN {channel}")
    other.execute(f"NOTIFY {channel}")
    heard = [*connection.notifies(timeout=_HEARING_SECONDS, stop_after=1)]
    connection.execute(f"UNLISTEN {channel}")
    return bool(heard)
