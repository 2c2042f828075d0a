"""The lane of what becomes of builds: outcomes with their messages, retries, commands, audit."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from lambda_builder.journal.changes import Change
from lambda_builder.journal.postgres.arrays import columns_of, unnested
from lambda_builder.journal.postgres.build_rows import BUILD_TYPES, RESULT_TYPES
from lambda_builder.journal.postgres.claims import Claims
from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.messages import put, put_off
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.rows import Row

Write = Callable[[Connection, Sequence[Change]], object]

_OVERTAKEN_MAX = 10_000

_RESULTS = ", ".join(RESULT_TYPES)
_SET = ", ".join(
    f"{name} = excluded.{name}"
    for name in RESULT_TYPES
    if name in ("job_name", "searched", *[*RESULT_TYPES][len(BUILD_TYPES) :])
)
_ACTIVE = "{0}.state IN ('created', 'running')"
# What a replica that was paused brings must undo nothing: of a build that waits only its owner
# tells, of one that has a Job only who means that Job, and nobody of a cancelled one. The end of a
# Job that is told first stands.
_FINISH = (
    f"INSERT INTO builds (owner, grip, settled_at, active, {_RESULTS})"
    f" SELECT %s, 0, clock_timestamp(), {_ACTIVE.format('new')}, {_RESULTS}"
    f" FROM {unnested(RESULT_TYPES)} ORDER BY event_hash"
    f" ON CONFLICT (event_hash) DO UPDATE SET {_SET}, settled_at = excluded.settled_at,"
    " active = excluded.active"
    " WHERE CASE builds.state"
    " WHEN 'queued' THEN builds.owner = excluded.owner"
    " WHEN 'cancelled' THEN excluded.state = 'cancelled'"
    " ELSE CASE WHEN excluded.job_uid IS NULL THEN builds.owner = ANY(%s)"
    " WHEN builds.job_uid IS NULL THEN true"
    " ELSE builds.job_uid = excluded.job_uid AND"
    " (builds.state NOT IN ('succeeded', 'failed') OR builds.state = excluded.state) END END"
    " RETURNING event_hash"
)
_SAME_JOB = (
    "SELECT builds.event_hash FROM builds"
    " JOIN unnest(%s::text[], %s::text[]) AS new (event_hash, job_uid)"
    " ON builds.event_hash = new.event_hash AND builds.job_uid = new.job_uid"
    " WHERE builds.state NOT IN ('queued', 'cancelled')"
)
_BUILD = ", ".join(BUILD_TYPES)
_REOPEN = (
    f"INSERT INTO builds (owner, grip, state, attempts, moved_at, {_BUILD})"
    f" SELECT %s, grip, 'queued', 0, clock_timestamp(), {_BUILD}"
    f" FROM {unnested({**BUILD_TYPES, 'grip': 'bigint'})} ORDER BY event_hash"
    " ON CONFLICT (event_hash) DO UPDATE SET owner = excluded.owner, grip = excluded.grip,"
    " seq = excluded.seq, state = 'queued', attempts = 0, moved_at = excluded.moved_at,"
    " active = false, skipped = false, told = false, category = NULL, job_uid = NULL,"
    f" settled_at = NULL, outcome = NULL, {', '.join(f'{n} = excluded.{n}' for n in BUILD_TYPES)}"
    " WHERE builds.state IN ('dead', 'failed')"
    " OR builds.state = 'queued' AND builds.owner = excluded.owner"
    " AND builds.grip = excluded.grip RETURNING event_hash"
)
_KEEP_COMMANDS = (
    "INSERT INTO commands (owner, event_hash, request, grip) SELECT %s, event_hash, request, grip"
    f" FROM {unnested({'event_hash': 'text', 'request': 'bytea', 'grip': 'bigint'})}"
    " ORDER BY event_hash ON CONFLICT (event_hash) DO NOTHING"
)
_DROP_COMMANDS = "DELETE FROM commands WHERE event_hash = ANY(%s) AND owner = ANY(%s)"
_AUDIT = "INSERT INTO audit (refused, entry) SELECT * FROM unnest(%b::bool[], %b::bytea[])"
_REJECT = "INSERT INTO rejections (entry) SELECT unnest(%b::bytea[])"


_PARTS = (
    *("finishes", "messages", "delivered", "failed", "taken_back", "attempts", "reopens"),
    *("commands_over", "commands", "audit", "rejections"),
)
_NEED_TRANSACTION = {"finishes", "messages", "attempts"}
"""What takes several statements."""


class Outcomes:
    """Writes everything but what ``Recording`` does."""

    def __init__(self, lease: Lease, claims: Claims) -> None:
        self._lease = lease
        self._actions: Sequence[tuple[str, Write]] = (
            ("failed", put_off),
            ("taken_back", claims.take_back),
            ("attempts", claims.claim),
            ("reopens", self._reopen),
            ("commands_over", self._drop_commands),
            ("commands", self._keep_commands),
            ("audit", _audit),
            ("rejections", _reject),
        )
        self.overtaken: deque[Row] = deque(maxlen=_OVERTAKEN_MAX)
        """Outcomes that were not stored, since the build was another's."""

    def write(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Write ``changes``; ``told`` of each gets its claims, and what was reopened.

        Raises ``psycopg.Error``.
        """
        overtaken: list[Row] = []
        some = {part for part in _PARTS if any(getattr(each, part) for each in changes)}
        durable = any(change.durable for change in changes)
        alone = len(some) == 1 and not durable and not some & _NEED_TRANSACTION
        with contextlib.nullcontext() if alone else connection.transaction():
            if durable:
                connection.execute("SET LOCAL synchronous_commit = on")
            if some & {"finishes", "messages", "delivered"}:
                self._finish(connection, changes, overtaken)
            for part, write in self._actions:
                if part in some:
                    write(connection, changes)
        self.overtaken.extend(overtaken)

    # -- outcomes and their messages -----------------------------------------------------------

    def _finish(
        self, connection: Connection, changes: Sequence[Change], overtaken: list[Row]
    ) -> None:
        last = {row[0]: row for change in changes for row in change.finishes}
        stale: set[str] = set()
        if last:
            stale = {*last} - self._store(connection, [*last.values()])
        if stale:
            overtaken.extend(self._of_other_jobs(connection, [last[each] for each in stale]))
        told = [each for each in changes if not any(row[0] in stale for row in each.finishes)]
        put(connection, self._lease.id, told)

    def _store(self, connection: Connection, rows: Sequence[Row]) -> set[str]:
        """Store outcomes; returns the events of those that were."""
        arguments = (self._lease.id, *columns_of(rows), self._lease.ids)
        return {row[0] for row in connection.execute(_FINISH, arguments)}

    def _of_other_jobs(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Return outcomes of builds that are another's: not those that only came too late."""
        uid = [*RESULT_TYPES].index("job_uid")
        arguments = ([row[0] for row in rows], [row[uid] for row in rows])
        late = {row[0] for row in connection.execute(_SAME_JOB, arguments)}
        return [row for row in rows if row[0] not in late]

    # -- the rest ------------------------------------------------------------------------------

    def _reopen(self, connection: Connection, changes: Sequence[Change]) -> None:
        asked: dict[str, tuple[Change, Row]] = {}
        for change in changes:
            for row in change.reopens:
                asked.setdefault(row[0], (change, row))
        rows = [(*row, change.grip) for change, row in asked.values()]
        arguments = (self._lease.id, *columns_of(rows))
        for (event_hash,) in connection.execute(_REOPEN, arguments):
            asked[event_hash][0].told[event_hash] = True

    def _keep_commands(self, connection: Connection, changes: Sequence[Change]) -> None:
        rows = [(*row, change.grip) for change in changes for row in change.commands]
        connection.execute(_KEEP_COMMANDS, (self._lease.id, *columns_of(rows)))

    def _drop_commands(self, connection: Connection, changes: Sequence[Change]) -> None:
        hashes = sorted(row[0] for change in changes for row in change.commands_over)
        connection.execute(_DROP_COMMANDS, (hashes, self._lease.ids))


def _audit(connection: Connection, changes: Sequence[Change]) -> None:
    rows = [row for change in changes for row in change.audit]
    connection.execute(_AUDIT, columns_of(rows))


def _reject(connection: Connection, changes: Sequence[Change]) -> None:
    rows = [row for change in changes for row in change.rejections]
    connection.execute(_REJECT, columns_of(rows))
