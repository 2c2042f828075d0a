"""Attempts: who may begin one, and what becomes of the room it takes of ``MAX_ACTIVE_JOBS``."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_builder.journal.changes import Change
from lambda_builder.journal.interface import Claim
from lambda_builder.journal.postgres.arrays import columns_of, unnested
from lambda_builder.journal.postgres.lease import LIVE, Lease
from lambda_builder.journal.postgres.schema import CLAIMING
from lambda_builder.journal.postgres.server import Connection

_ASKED = unnested({"event_hash": "text", "attempts": "integer"}, "asked")
_MINE = "builds.state = 'queued' AND builds.owner = %s"
_CLAIM = (
    f"UPDATE builds SET attempts = asked.attempts, active = true FROM {_ASKED}"
    f" WHERE builds.event_hash = asked.event_hash AND {_MINE} AND {LIVE}"
    " RETURNING builds.event_hash"
)
# Builds that have room already keep it. The conditions stand in the update again, which looks at
# rows as they are by then.
_CLAIM_ROOM = (
    "WITH mine AS (SELECT builds.event_hash, asked.attempts, builds.active, place"
    f" FROM builds JOIN {_ASKED} ON builds.event_hash = asked.event_hash"
    f" WHERE {_MINE} AND {LIVE}),"
    " ranked AS (SELECT *, count(*) FILTER (WHERE NOT active) OVER (ORDER BY place) AS needed"
    " FROM mine), room AS (SELECT %s - count(*) AS free FROM builds WHERE active)"
    " UPDATE builds SET attempts = ranked.attempts, active = true FROM ranked, room"
    " WHERE builds.event_hash = ranked.event_hash"
    f" AND (ranked.active OR ranked.needed <= room.free) AND {_MINE}"
    " RETURNING builds.event_hash"
)
_STILL_MINE = f"SELECT event_hash FROM builds WHERE event_hash = ANY(%s) AND {_MINE} AND {LIVE}"
_TAKE_BACK = (
    "UPDATE builds SET attempts = back.attempts, active = builds.active AND back.has_job"
    f" FROM {unnested({'event_hash': 'text', 'attempts': 'integer', 'has_job': 'bool'}, 'back')}"
    f" WHERE builds.event_hash = back.event_hash AND {_MINE}"
)


class Claims:
    """Writes the attempts of a batch; used by one thread at a time."""

    def __init__(self, lease: Lease, most: int) -> None:
        """``most``: of all replicas' unfinished Jobs; 0 for no limit."""
        self._lease = lease
        self._most = most

    def claim(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Note attempts that may begin; ``told`` of each change gets its ``Claim``.

        In a transaction; raises ``psycopg.Error``.
        """
        asked = {row[0]: row for change in changes for row in change.attempts}
        lease, rows = self._lease.id, columns_of(asked.values())
        if self._most:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (CLAIMING,))
            arguments = (*rows, lease, self._most, lease)
            granted = connection.execute(_CLAIM_ROOM, arguments).fetchall()
        else:
            granted = connection.execute(_CLAIM, (*rows, lease)).fetchall()
        answers = dict.fromkeys(asked, Claim.MOVED)
        answers.update((event_hash, Claim.GRANTED) for (event_hash,) in granted)
        refused = [each for each, answer in answers.items() if answer is Claim.MOVED]
        if self._most and refused:
            mine = connection.execute(_STILL_MINE, (refused, lease))
            answers.update((event_hash, Claim.NO_ROOM) for (event_hash,) in mine)
        for change in changes:
            for event_hash, _ in change.attempts:
                change.told[event_hash] = answers[event_hash]

    def take_back(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Note what attempts that ended without outcome count; raises ``psycopg.Error``."""
        rows = {row[0]: row for change in changes for row in change.taken_back}
        connection.execute(_TAKE_BACK, (*columns_of(rows.values()), self._lease.id))
