"""Builds change owners: taken over from the dead, from the busy, or since somebody steers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import structlog

from lambda_builder.journal.interface import JobOf
from lambda_builder.journal.postgres.build_rows import OPEN_COLUMNS, open_builds
from lambda_builder.journal.postgres.lease import LIVE, Lease
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.schema import SWEEPING
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.rows import plain
from lambda_builder.journal.values import OpenBuild

CHANNEL = "lambda_builder"
"""What replicas tell one another of on; the payload is the lease of the one who does."""

_OVERLAP_SECONDS = 15.0
"""A change may become visible so long after its moment: no statement, and so no transaction of
some, takes longer."""
_SETTLING_SECONDS = 30.0
"""A Job that was made is in every list by then."""

_LEFT = f"state = 'queued' AND (NOT {LIVE} OR owner = %s AND grip = ANY(%s))"
# Asked each second: it goes from owner to owner, not from build to build.
_COUNT_LEFT = (
    "WITH RECURSIVE owners AS ("
    "SELECT min(owner) AS owner FROM builds WHERE state = 'queued' UNION ALL"
    " SELECT (SELECT min(builds.owner) FROM builds"
    " WHERE state = 'queued' AND builds.owner > owners.owner)"
    " FROM owners WHERE owners.owner IS NOT NULL),"
    " gone AS MATERIALIZED (SELECT owner FROM owners WHERE owner IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM replicas WHERE replicas.id = owners.owner))"
    " SELECT coalesce(sum((SELECT count(*) FROM builds"
    " WHERE state = 'queued' AND builds.owner = gone.owner)), 0) + (SELECT count(*) FROM builds"
    f" WHERE state = 'queued' AND owner = %s AND grip = ANY(%s) AND {LIVE})"
    " FROM gone"
)
_MOVE = (
    "UPDATE builds SET owner = %s, grip = %s, moved_at = clock_timestamp() FROM chosen"
    f" WHERE builds.event_hash = chosen.event_hash RETURNING {OPEN_COLUMNS}"
)
_TAKE_OVER = (
    f"WITH chosen AS MATERIALIZED (SELECT event_hash FROM builds WHERE {_LEFT}"
    f" ORDER BY priority, seq LIMIT %s FOR UPDATE SKIP LOCKED) {_MOVE}"
)
_LONGEST = (
    "SELECT builds.owner, count(*) FROM builds JOIN replicas ON replicas.id = builds.owner"
    " WHERE builds.state = 'queued' AND builds.attempts = 0 AND builds.owner <> %s"
    " GROUP BY builds.owner ORDER BY count(*) DESC LIMIT 1"
)
# The owner's workers are about to take its first ones.
_RELIEVE = (
    "WITH next AS (SELECT event_hash FROM builds"
    " WHERE state = 'queued' AND attempts = 0 AND owner = %s"
    " ORDER BY priority, seq LIMIT %s OFFSET %s),"
    " chosen AS MATERIALIZED (SELECT event_hash FROM builds JOIN next USING (event_hash)"
    " WHERE state = 'queued' AND attempts = 0 AND owner = %s"
    f" FOR UPDATE OF builds SKIP LOCKED) {_MOVE}"
)
_MINE = (
    f"SELECT {OPEN_COLUMNS} FROM builds WHERE event_hash = %s AND state = 'queued' AND owner = %s"
)
_TAKE = (
    "WITH chosen AS MATERIALIZED (SELECT event_hash FROM builds WHERE event_hash = %s"
    f" AND state = 'queued' AND owner <> %s AND (%s OR NOT {LIVE}) FOR UPDATE) {_MOVE}"
)
_MOVED = (
    "SELECT event_hash FROM builds WHERE moved_at > %s::timestamptz - make_interval(secs => %s)"
    " AND owner <> %s"
    " UNION SELECT event_hash FROM builds WHERE state = 'queued' AND owner = ANY(%s)"
)
_JOBS = (
    "unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY"
    " AS job (job_name, digest, job_uid, place)"
)
_SAME = "builds.job_name = job.job_name AND left(builds.event_hash, 32) = job.digest"
_UNWANTED = (
    f"SELECT job.place FROM {_JOBS} JOIN builds ON {_SAME}"
    " WHERE builds.state = 'cancelled'"
    " OR builds.state <> 'queued' AND builds.job_uid <> job.job_uid"
)
_FREE_ROOM = (
    "UPDATE builds SET active = false WHERE active AND state <> 'queued'"
    " AND settled_at < clock_timestamp() - make_interval(secs => %s)"
    f" AND NOT EXISTS (SELECT 1 FROM {_JOBS} WHERE {_SAME})"
)


class Moves:
    """Changes owners; thread-safe. Every method raises ``Refused`` (``JOURNAL_UNAVAILABLE``)."""

    def __init__(self, lease: Lease, reading: Reading) -> None:
        self._lease = lease
        self._reading = reading
        self._looked_at: Any = None
        """Until when ``moved`` has looked, by the database's clock."""
        self.taken_over = self.relieved = 0
        """Builds that were taken from the dead, and from the busy."""

    def left_open(self) -> int:
        """See ``Journal.left_open``."""
        arguments = (self._lease.id, self._lease.doubtful)
        ((count,),) = self._reading.fetch(_COUNT_LEFT, arguments)
        return int(count)

    def take_over(self, limit: int) -> list[OpenBuild]:
        """See ``Journal.take_over``."""
        builds = self._move(_TAKE_OVER, (self._lease.id, self._lease.doubtful, limit))
        self.taken_over += len(builds)
        if builds:
            structlog.get_logger().info("builds_taken_over", builds=len(builds))
        return builds

    def relieve(self, limit: int) -> list[OpenBuild]:
        """See ``Journal.relieve``: at most half, and not the first ones."""
        for owner, waiting in self._reading.fetch(_LONGEST, (self._lease.id,)):
            count = min(limit, waiting // 2)
            if count > 0:
                builds = self._move(_RELIEVE, (owner, count, count, owner))
                self.relieved += len(builds)
                if builds:
                    structlog.get_logger().info("builds_relieved", builds=len(builds))
                return builds
        return []

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        """See ``Journal.take``."""
        lease, key = self._lease.id, plain(event_hash)
        builds = self._move(_TAKE, (key, lease, from_others))
        if not builds:
            builds = open_builds(self._reading.fetch(_MINE, (key, lease)))
        return next(iter(builds), None)

    def moved(self) -> list[str]:
        """See ``Journal.moved``."""
        lease = self._lease

        def ask(connection: Connection) -> list[str]:
            ((now,),) = connection.execute("SELECT clock_timestamp()").fetchall()
            arguments = (self._looked_at or now, _OVERLAP_SECONDS, lease.id, lease.lost)
            found = connection.execute(_MOVED, arguments).fetchall()
            self._looked_at = now
            return [event_hash for (event_hash,) in found]

        return self._reading.run(ask)

    def unwanted(self, jobs: Sequence[JobOf]) -> list[JobOf]:
        """See ``Journal.unwanted``."""
        arrays = (
            [plain(job.name) for job in jobs],
            [job.event_hash.hex() for job in jobs],
            [plain(job.uid) for job in jobs],
        )

        def ask(connection: Connection) -> list[JobOf]:
            with connection.transaction():
                lock = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (SWEEPING,))
                if lock.fetchone() != (True,):
                    return []
                found = connection.execute(_UNWANTED, arrays).fetchall()
                connection.execute(_FREE_ROOM, (_SETTLING_SECONDS, *arrays))
                return [jobs[place - 1] for (place,) in found]

        return self._reading.run(ask)

    def _move(self, sql: str, arguments: Sequence[Any]) -> list[OpenBuild]:
        """Run a statement that takes builds, and tell the others of it."""

        def move(connection: Connection) -> list[tuple[Any, ...]]:
            lease, grip = self._lease.id, self._lease.grip()
            try:
                with connection.transaction():
                    rows = connection.execute(sql, (*arguments, lease, grip)).fetchall()
                    if rows:
                        tell(connection, lease)
                    return rows
            except psycopg.Error:
                self._lease.doubt(grip)
                raise

        return open_builds(self._reading.run(move))


def tell(connection: Connection, lease: int) -> None:
    """Have the other replicas look; in their ``wait_for_change``. Raises ``psycopg.Error``."""
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(lease)))
