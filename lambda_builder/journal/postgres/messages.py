"""The SQL of outgoing messages; part of the transaction of what they tell of."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_builder.journal.changes import Change, undelivered
from lambda_builder.journal.postgres.arrays import columns_of, unnested
from lambda_builder.journal.postgres.server import Connection

_MESSAGE_TYPES = {
    "id": "text",
    "destination": "text",
    "key": "text",
    "headers": "bytea",
    "body": "bytea",
}
_MESSAGES = ", ".join(_MESSAGE_TYPES)
# Nothing of a key is due before its first message, so that due_at alone finds what is.
_PUT = (
    f"INSERT INTO outbox (owner, due_at, {_MESSAGES}) SELECT %s,"
    " greatest(extract(epoch FROM clock_timestamp()), (SELECT max(due_at) FROM outbox AS earlier"
    " WHERE earlier.destination = new.destination AND earlier.key = new.key)),"
    f" {_MESSAGES} FROM {unnested(_MESSAGE_TYPES)} ORDER BY place"
    " ON CONFLICT (id) DO UPDATE SET headers = excluded.headers, body = excluded.body"
)
_DELIVERED = "DELETE FROM outbox WHERE id = ANY(%s)"
_PUT_OFF = (
    "UPDATE outbox SET due_at = late.next_at,"
    " attempts = outbox.attempts + CASE WHEN outbox.id = late.id THEN 1 ELSE 0 END"
    " FROM (SELECT first.id, first.destination, first.key, new.next_at FROM outbox AS first"
    f" JOIN {unnested({'id': 'text', 'next_at': 'double precision'})} ON first.id = new.id)"
    " AS late WHERE outbox.destination = late.destination AND outbox.key = late.key"
)


def put(connection: Connection, owner: int, changes: Sequence[Change]) -> None:
    """Delete what was delivered, add what is new; raises ``psycopg.Error``."""
    gone = sorted(row[0] for change in changes for row in change.delivered)
    if gone:
        connection.execute(_DELIVERED, (gone,))
    messages = undelivered(changes)
    if messages:
        connection.execute(_PUT, (owner, *columns_of(messages)))


def put_off(connection: Connection, changes: Sequence[Change]) -> None:
    """Note deliveries that failed; raises ``psycopg.Error``."""
    late = {row[0]: row for change in changes for row in change.failed}
    connection.execute(_PUT_OFF, columns_of(late.values()))
