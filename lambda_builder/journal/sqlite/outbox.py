"""Where a file keeps outgoing messages; bounded in bytes by ``outbox_bound``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lambda_builder.journal.rows import MESSAGE_COLUMNS
from lambda_builder.journal.values import Destination

Fetch = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_DUE = (
    "SELECT id FROM outbox AS message WHERE destination = ? AND due_at <= ?"
    " AND NOT EXISTS (SELECT 1 FROM outbox AS earlier"
    " WHERE earlier.destination = message.destination AND earlier.key = message.key"
    " AND earlier.seq < message.seq) ORDER BY due_at, seq LIMIT ?"
)
_BY_ID = f"SELECT {MESSAGE_COLUMNS} FROM outbox WHERE id IN (%s) ORDER BY due_at, seq"
_NEXT_DUE = "SELECT min(due_at) FROM outbox WHERE destination = ?"


class FileMessages:
    """``Messages`` in the file."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def due(self, now: float, limit: int, destination: Destination) -> list[str]:
        """See ``Messages.due``."""
        return [each for (each,) in self._fetch(_DUE, (destination, now, limit))]

    def read(self, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """See ``Messages.read``."""
        return self._fetch(_BY_ID % ", ".join("?" * len(ids)), ids)

    def first_due(self, destination: Destination) -> float | None:
        """See ``Messages.first_due``."""
        ((due_at,),) = self._fetch(_NEXT_DUE, (destination,))
        return None if due_at is None else float(due_at)

    def count(self, destination: Destination | None) -> int:
        """See ``Messages.count``."""
        if destination is None:
            ((count,),) = self._fetch("SELECT count(*) FROM outbox", ())
        else:
            ((count,),) = self._fetch(
                "SELECT count(*) FROM outbox WHERE destination = ?", (destination,)
            )
        return int(count)
