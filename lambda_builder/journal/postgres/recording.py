"""The lane of accepted events: one statement and one commit for all that wait together."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from lambda_builder.builds import BuildResult
from lambda_builder.journal.changes import Change
from lambda_builder.journal.postgres.arrays import columns_of, unnested
from lambda_builder.journal.postgres.build_rows import (
    BUILD_TYPES,
    RESULT_COLUMNS,
    RESULT_TYPES,
    found,
)
from lambda_builder.journal.postgres.lease import ABANDONED, Lease
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.rows import Row, Unreadable

_ROUNDS = 5
"""A row that was in the way, and then is not there, makes another."""

_NEW_TYPES = {**BUILD_TYPES, "grip": "bigint"}
_NEW = ", ".join(_NEW_TYPES)
# Numbered in the order of acceptance, but put in by their hashes, which all replicas do alike: so
# no two wait for one another.
_RECORD = (
    f"INSERT INTO builds (owner, state, attempts, seq, {_NEW})"
    f" SELECT %s, 'queued', 0, seq, {_NEW} FROM"
    f" (SELECT nextval(pg_get_serial_sequence('builds', 'seq')) AS seq, new.* FROM"
    f" {unnested(_NEW_TYPES)}) AS numbered"
    " WHERE EXISTS (SELECT 1 FROM replicas WHERE id = %s)"
    " ORDER BY event_hash ON CONFLICT (event_hash) DO NOTHING RETURNING event_hash"
)
_SETTLED = ", ".join(RESULT_TYPES)
_TURN_AWAY = (
    f"INSERT INTO builds (owner, grip, settled_at, {_SETTLED})"
    f" SELECT %s, 0, clock_timestamp(), {_SETTLED} FROM {unnested(RESULT_TYPES)}"
    " ORDER BY event_hash ON CONFLICT (event_hash) DO NOTHING"
)
_KNOWN = (
    f"SELECT event_hash, owner, grip, told, {RESULT_COLUMNS}, event FROM builds"
    " WHERE event_hash = ANY(%s)"
)
_ADOPT = (
    "UPDATE builds SET grip = %s"
    " WHERE event_hash = %s AND owner = %s AND grip = %s AND state = 'queued' RETURNING event_hash"
)
# Others were told that it is accepted: it must not be deleted any more.
_TELL = (
    "UPDATE builds SET told = true WHERE event_hash = ANY(%s) AND state = 'queued'"
    " RETURNING event_hash"
)
_FORGET = (
    "DELETE FROM builds WHERE event_hash = ANY(%s) AND owner = %s AND state = 'queued' AND NOT told"
)
_GIVE_UP = (
    "UPDATE builds SET grip = %s WHERE event_hash = ANY(%s) AND owner = %s AND state = 'queued'"
)


class Records:
    """Writes records, events that were turned away, and what is forgotten again."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def write(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Write ``changes``; ``told`` of each gets what is known of its events already.

        Raises ``psycopg.Error`` and ``LeaseGone``.
        """
        forgets = sorted({row[0] for change in changes for row in change.forgets})
        turned_away = {row[0]: row for change in changes for row in change.turned_away}
        if not forgets and not turned_away:
            self._record(connection, changes)
            return
        with connection.transaction():
            if forgets:
                self._forget(connection, forgets)
            self._record(connection, changes)
            if turned_away:
                rows = columns_of(turned_away.values())
                connection.execute(_TURN_AWAY, (self._lease.id, *rows))

    def _forget(self, connection: Connection, hashes: Sequence[str]) -> None:
        connection.execute(_FORGET, (hashes, self._lease.id))
        connection.execute(_GIVE_UP, (ABANDONED, hashes, self._lease.id))

    def _record(self, connection: Connection, changes: Sequence[Change]) -> None:
        asked: dict[str, tuple[Change, Row]] = {}
        again: list[tuple[Change, str]] = []
        for change in changes:
            for row in change.records:
                if row[0] in asked:
                    again.append((change, row[0]))
                else:
                    asked[row[0]] = change, row
        left = dict(asked)
        for _ in range(_ROUNDS):
            if not left:
                break
            left = self._round(connection, left)
        if left:
            raise psycopg.OperationalError("rows come and go")
        for change, event_hash in again:
            first, row = asked[event_hash]
            change.told[event_hash] = first.told.get(event_hash) or _as_asked(row)

    def _round(
        self, connection: Connection, asked: dict[str, tuple[Change, Row]]
    ) -> dict[str, tuple[Change, Row]]:
        """Record these; returns those that have to be recorded once more."""
        lease = self._lease.id
        rows = [(*row, change.grip) for change, row in asked.values()]
        arguments = (lease, *columns_of(rows), lease)
        new = connection.execute(_RECORD, arguments, binary=True).fetchall()
        left = {**asked}
        for (event_hash,) in new:
            del left[event_hash]
        if not left:
            return left
        # These rows may stay whatever becomes of the rest.
        for change, _ in asked.values():
            change.perhaps = True
        if not new:
            self._lease.check(connection)
        untold = []
        doubtful = self._lease.doubtful
        for event_hash, owner, grip, told, *columns in connection.execute(_KNOWN, ([*left],)):
            change, row = left[event_hash]
            queued = columns[2] == "queued"
            if owner == lease and grip == change.grip:
                del left[event_hash]
            elif owner == lease and queued and grip in doubtful:
                adopt = (change.grip, event_hash, lease, grip)
                if connection.execute(_ADOPT, adopt).fetchone():
                    del left[event_hash]
            else:
                change.told[event_hash] = _known(columns, row)
                if told or not queued:
                    del left[event_hash]
                else:
                    untold.append(event_hash)
        if untold:
            for (event_hash,) in connection.execute(_TELL, (untold,)):
                del left[event_hash]
        for event_hash, (change, _) in left.items():
            change.told.pop(event_hash, None)
        return left


def _known(columns: Sequence[object], row: Row) -> BuildResult:
    try:
        return found(columns)
    except Unreadable:
        return _as_asked(row)


def _as_asked(row: Row) -> BuildResult:
    """Return the build of a row that waits."""
    return found([row[8], 0, "queued", None, row[9]])
