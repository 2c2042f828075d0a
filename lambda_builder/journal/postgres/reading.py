"""Questions and short acts beside the lanes, over a pool of connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
import psycopg_pool

from lambda_builder.journal.changes import unavailable
from lambda_builder.journal.postgres.database_errors import Meaning, describe, meaning
from lambda_builder.journal.postgres.server import Connection, Server, configure

Answer = TypeVar("Answer")

_CONNECTIONS = 4
_PATIENCE_SECONDS = 3.0
"""How long to wait for a connection."""
_TRIES = 5


def _configure(connection: Connection) -> None:
    configure(connection)
    # What is lost of this with the server is done again, by whoever finds it undone.
    connection.execute("SET synchronous_commit = off")


class Reading:
    """Runs queries for any thread."""

    def __init__(self, server: Server, *, away: Callable[[], str | None]) -> None:
        """``away`` says why the server cannot be reached, so that nobody waits for it."""
        self._away = away
        # No connection is kept open for its own sake, and none tried for long in the background:
        # after an outage the first who asks connects, at once.
        self._pool: psycopg_pool.ConnectionPool[Connection] = psycopg_pool.ConnectionPool(
            kwargs=lambda: {**server.parameters(), "autocommit": True},
            connection_class=Connection,
            configure=_configure,
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_PATIENCE_SECONDS,
            reconnect_timeout=_PATIENCE_SECONDS,
            num_workers=1,
            name="journal",
            open=False,
        )

    def open(self) -> None:
        """Begin to connect."""
        self._pool.open()

    def close(self) -> None:
        """Close all connections; harmless twice."""
        self._pool.close()

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return int(self._pool.get_stats().get("requests_waiting", 0))

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query that changes nothing; raises ``Refused`` (``JOURNAL_UNAVAILABLE``)."""
        return self.run(lambda connection: connection.execute(sql, parameters).fetchall())

    def run(self, action: Callable[[Connection], Answer]) -> Answer:
        """Do ``action``, which may be done twice; raises ``Refused`` (``JOURNAL_UNAVAILABLE``)."""
        for left in reversed(range(_TRIES)):
            connection: Connection | None = None
            try:
                if (reason := self._away()) is not None:
                    raise unavailable(f"journal cannot be read: {reason}")
                with self._pool.connection() as connection:
                    return action(connection)
            except (psycopg.Error, OSError) as error:
                what = meaning(error, connection)
                if what is Meaning.LOST:
                    self._pool.check()
                if left and what in (Meaning.LOST, Meaning.RETRY):
                    continue
                raise unavailable(f"journal cannot be read: {describe(error)}") from error
        raise AssertionError  # the last try returns or raises
