"""Where the database keeps outgoing messages; each replica delivers its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.rows import MESSAGE_COLUMNS
from lambda_builder.journal.values import Destination

_PAGE_ROWS = 1000

# Only the first of a key, whoever owns the others.
_DUE = (
    "SELECT id FROM outbox AS message WHERE owner = %s AND destination = %s AND due_at <= %s"
    " AND NOT EXISTS (SELECT 1 FROM outbox AS earlier"
    " WHERE earlier.destination = message.destination AND earlier.key = message.key"
    " AND earlier.seq < message.seq) ORDER BY due_at, seq LIMIT %s"
)
_BY_ID = f"SELECT {MESSAGE_COLUMNS} FROM outbox WHERE id = ANY(%s) ORDER BY due_at, seq"
_NEXT_DUE = "SELECT min(due_at) FROM outbox WHERE owner = %s AND destination = %s"
_COUNT = (
    "SELECT count(*) FROM outbox WHERE owner = %s AND destination = coalesce(%s::text, destination)"
)
_INHERIT = (
    "UPDATE outbox SET owner = %s WHERE seq IN (SELECT seq FROM outbox"
    " WHERE NOT EXISTS (SELECT 1 FROM replicas WHERE replicas.id = outbox.owner)"
    " ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED)"
    " AND EXISTS (SELECT 1 FROM replicas WHERE id = %s)"
)


class SharedMessages:
    """``Messages`` of this replica."""

    def __init__(self, lease: Lease, reading: Reading) -> None:
        self._lease = lease
        self._reading = reading

    def due(self, now: float, limit: int, destination: Destination) -> list[str]:
        """See ``Messages.due``."""
        arguments = (self._lease.id, destination, now, limit)
        return [each for (each,) in self._reading.fetch(_DUE, arguments)]

    def read(self, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """See ``Messages.read``."""
        return self._reading.fetch(_BY_ID, ([*ids],))

    def first_due(self, destination: Destination) -> float | None:
        """See ``Messages.first_due``."""
        ((due_at,),) = self._reading.fetch(_NEXT_DUE, (self._lease.id, destination))
        return None if due_at is None else float(due_at)

    def count(self, destination: Destination | None) -> int:
        """See ``Messages.count``."""
        ((count,),) = self._reading.fetch(_COUNT, (self._lease.id, destination))
        return int(count)


def inherit(connection: Connection, lease: int) -> int:
    """Take some messages of replicas that are gone, unless this one is; returns how many.

    Raises ``psycopg.Error``.
    """
    return connection.execute(_INHERIT, (lease, _PAGE_ROWS, lease)).rowcount
