"""Keeps the outbox within its bytes: the oldest events go first, dead letters never.

Used by one thread at a time; only ``dropped`` may be read from others.
"""

from __future__ import annotations

import sqlite3

import structlog

_SIZE = "length(headers) + length(body)"
_ALL = f"SELECT ifnull(sum({_SIZE}), 0) FROM outbox WHERE destination = 'sink'"
_OLDEST = f"SELECT seq, {_SIZE} FROM outbox WHERE destination = 'sink' ORDER BY seq"
_DROP = "DELETE FROM outbox WHERE destination = 'sink' AND seq <= ?"


class OutboxBound:
    """Counts the bytes of messages to the sink, and drops what is too much."""

    def __init__(self) -> None:
        self.bytes = 0
        """Estimated: never less than there are."""
        self.dropped = 0
        """Messages dropped for want of room."""

    def measure(self, connection: sqlite3.Connection) -> None:
        """Count what is in the file; raises ``sqlite3.Error``."""
        ((self.bytes,),) = connection.execute(_ALL)

    def enforce(self, connection: sqlite3.Connection, most: int) -> None:
        """Drop the oldest messages where there are more than ``most`` bytes.

        Some more than needed go, so that this is seldom done. Raises ``sqlite3.Error``.
        """
        if self.bytes <= most:
            return
        self.measure(connection)
        surplus = self.bytes - most
        if surplus <= 0:
            return
        surplus += most // 8
        last = 0
        for seq, size in connection.execute(_OLDEST).fetchall():
            last = seq
            surplus -= size
            if surplus <= 0:
                break
        count = connection.execute(_DROP, (last,)).rowcount
        self.dropped += count
        structlog.get_logger().error("outbox_messages_dropped", messages=count, bound_bytes=most)
        self.measure(connection)
