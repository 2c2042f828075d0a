"""Trimming, by one replica at a time, in batches so small that nobody waits for one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from lambda_builder.errors import Refused
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.schema import TRIMMING
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.values import AUDIT_KEPT, REJECTIONS_KEPT

ROUND_SECONDS = 10.0
_COUNT_SECONDS = 60.0
"""Between two counts of what is kept, which look at all of it."""
_BATCH_ROWS = 500
EVENTS_KEPT = 100_000
"""How many outgoing events wait at most; the oldest go. Dead letters are never dropped."""

_COUNT = "SELECT count(*) FROM builds WHERE state <> 'queued'"
_SETTLED = (
    "DELETE FROM builds WHERE event_hash IN (SELECT event_hash FROM builds"
    " WHERE state <> 'queued' AND NOT active{} ORDER BY settled_at LIMIT %s"
    " FOR UPDATE SKIP LOCKED)"
)
_OLD = _SETTLED.format(" AND settled_at < clock_timestamp() - make_interval(secs => %s)")
_SURPLUS = _SETTLED.format("")
_NEWEST = (
    "DELETE FROM {0} WHERE seq IN (SELECT seq FROM {0} {1} ORDER BY seq DESC LIMIT %s OFFSET %s)"
)
_AUDIT = _NEWEST.format("audit", "WHERE refused = %s")
_REJECTIONS = _NEWEST.format("rejections", "")
_EVENTS = _NEWEST.format("outbox", "WHERE destination = 'sink'")


class Caretaker:
    """Keeps the tables small; used by one thread."""

    def __init__(self, reading: Reading, *, keep_seconds: float, keep_max: int) -> None:
        """Settled builds go once they are ``keep_seconds`` old, and the oldest of too many."""
        self._reading = reading
        self._keep_seconds = keep_seconds
        self._keep_max = keep_max
        self._counted_at = -math.inf
        self.trimmed = self.dropped = 0
        """Builds that were forgotten, and outgoing events for want of room."""

    def round(self) -> None:
        """Delete all that is too much, unless another replica is about it; raises nothing."""
        try:
            self._trim_builds()
            for refused, kept in AUDIT_KEPT.items():
                self._repeat(_AUDIT, (refused, _BATCH_ROWS, kept))
            self._repeat(_REJECTIONS, (_BATCH_ROWS, REJECTIONS_KEPT))
            self.dropped += self._repeat(_EVENTS, (_BATCH_ROWS, EVENTS_KEPT))
        except Refused:
            pass  # as everybody sees; the next round may go better

    def _trim_builds(self) -> None:
        self.trimmed += self._repeat(_OLD, (self._keep_seconds, _BATCH_ROWS))
        if time.monotonic() - self._counted_at < _COUNT_SECONDS:
            return
        self._counted_at = time.monotonic()
        ((settled,),) = self._reading.fetch(_COUNT)
        surplus = settled - self._keep_max
        while surplus > 0:
            count = self._delete(_SURPLUS, (min(surplus, _BATCH_ROWS),))
            if not count:
                return
            self.trimmed += count
            surplus -= count

    def _repeat(self, sql: str, arguments: Sequence[Any]) -> int:
        total = 0
        while count := self._delete(sql, arguments):
            total += count
            if count < _BATCH_ROWS:
                break
        return total

    def _delete(self, sql: str, arguments: Sequence[Any]) -> int:
        """Return how many rows are gone; 0 where another replica is about it."""

        def delete(connection: Connection) -> int:
            with connection.transaction():
                lock = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (TRIMMING,))
                if lock.fetchone() != (True,):
                    return 0
                return connection.execute(sql, arguments).rowcount

        return self._reading.run(delete)
