"""Commits batches of changes, and says what a failed one means. Used by one thread at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import structlog

from lambda_builder.errors import BootError
from lambda_builder.journal.changes import DISK_FULL, Change, Verdict
from lambda_builder.journal.sqlite.database import Database
from lambda_builder.journal.sqlite.housekeeping import Housekeeping
from lambda_builder.journal.sqlite.outbox_bound import OutboxBound
from lambda_builder.journal.sqlite.room import Room
from lambda_builder.journal.sqlite.sqlite_errors import (
    describe,
    is_damage,
    wants_new_connection,
)
from lambda_builder.journal.sqlite.statements import PROBE, Statement, Statements

_UNUSABLE = (sqlite3.Error, OSError, BootError)


class Committer:
    """Writes to the database; only ``failure`` and the counts may be read from other threads."""

    def __init__(
        self,
        database: Database,
        statements: Statements,
        housekeeping: Housekeeping,
        room: Room,
    ) -> None:
        self._database = database
        self._statements = statements
        self._housekeeping = housekeeping
        self._room = room
        self.outbox = OutboxBound()
        self.failure: str | None = None
        """Why builds cannot be recorded now; None while all is well."""
        self.rows = self.commits = self.fsyncs = 0
        self._counted = -1

    def commit(self, changes: Sequence[Change]) -> Verdict:
        """Write ``changes`` in one transaction, all or none; raises nothing."""
        try:
            rows = sum(change.rows for change in changes)
            size = sum(change.bytes for change in changes)
            if not self._fits(changes, rows, size):
                self._set_failure(DISK_FULL)
                return Verdict.UNAVAILABLE
            self._write(changes, rows, size)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not suffer
            return Verdict.UNAVAILABLE if self._blame_disk(error) else Verdict.REJECTED
        self._after_commit()
        return Verdict.WRITTEN

    def probe(self) -> None:
        """See whether the disk takes data again, without waiting for somebody to be refused."""
        try:
            connection = self._database.writer(durable=True)
            self._housekeeping.make_room(connection)
            connection.execute(PROBE)
            self._note_room()
        except _UNUSABLE as error:
            self._blame_disk(error)

    def pause(self, *, idle: bool) -> float:
        """Return how many seconds may pass until ``keep_house`` has something to do."""
        return self._housekeeping.pause(idle=idle)

    def keep_house(self, *, idle: bool) -> None:
        """Do a slice of what keeps the file small, if some is due; raises nothing."""
        if self.failure not in (None, DISK_FULL) or self._housekeeping.pause() > 0:
            return
        try:
            self._housekeeping.run(self._database.writer(durable=False), idle=idle)
        except _UNUSABLE as error:
            if not self._blame_disk(error):
                structlog.get_logger().error("journal_housekeeping_failed", error=repr(error))

    def finish(self) -> None:
        """Leave one tidy file behind; raises nothing."""
        try:
            connection = self._database.writer(durable=True)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except _UNUSABLE as error:
            self._database.drop_writer()
            structlog.get_logger().warning("journal_not_checkpointed", error=str(error))

    # -- room ----------------------------------------------------------------------------------

    def _fits(self, changes: Sequence[Change], rows: int, size: int) -> bool:
        """Whether ``changes`` leave free what must stay free; makes room where they do not."""
        if self.failure == DISK_FULL and self._housekeeping.log_is_long:
            self._housekeeping.make_room(self._database.writer(durable=False))
        if any(change.intake for change in changes):
            left = self._room.reserve
        elif any(change.dead_letters for change in changes):
            left = self._room.reserve // 2
        else:
            return True
        # Once in the log, and once in the file, where what the log holds already goes, too.
        left += 2 * size
        most = self._housekeeping.cost(rows, 0)
        if self._has_room(left + most):
            return True
        needed = left + min(most, self._database.size)
        if self._has_room(needed):
            return True
        self._housekeeping.short = True
        self._housekeeping.make_room(self._database.writer(durable=False))
        return self._has_room(needed)

    def _has_room(self, needed: int) -> bool:
        """Whether the volume has ``needed`` bytes beside those that the outbox may yet take.

        Pages that the file does not use count, but the log needs room of its own.
        """
        needed += max(0, self._room.outbox - self.outbox.bytes) + self._housekeeping.logged
        free = self._room.free
        if free >= needed or free < self._room.reserve // 2:
            return free >= needed
        return free + self._housekeeping.unused(self._database.writer(durable=False)) >= needed

    def _after_commit(self) -> None:
        """Do what may fail without taking back what was written."""
        try:
            if self.outbox.bytes > self._room.outbox:
                self.outbox.enforce(self._database.writer(durable=False), self._room.outbox)
            if self.failure is not None:
                self._note_room()
        except _UNUSABLE as error:
            self._blame_disk(error)

    def _note_room(self) -> None:
        """After something was written: see whether builds would be recorded again."""
        enough = self._has_room(self._room.reserve + self._housekeeping.cost(1, 0))
        self._set_failure(None if enough else DISK_FULL)

    # -- writing -------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], rows: int, size: int) -> None:
        if self._database.suspect:
            self._set_failure("damaged file")
        durable = any(change.durable for change in changes)
        connection = self._database.writer(durable=durable)
        if self._counted != self._database.moved_aside:
            self._count_rows(connection)
        statements = self._statements.of(changes)
        if not statements:
            return
        deleted = _execute(connection, statements)
        self.rows += rows
        self.commits += 1
        self.fsyncs += durable
        self._housekeeping.wrote(rows, size)
        self.outbox.bytes = max(0, self.outbox.bytes - deleted)
        self.outbox.bytes += sum(change.sink_bytes for change in changes if change.messages)

    def _count_rows(self, connection: sqlite3.Connection) -> None:
        """Have new rows numbered above those in the file, which is new or was rebuilt."""
        ((build,),) = connection.execute("SELECT ifnull(max(seq), 0) FROM builds")
        ((message,),) = connection.execute("SELECT ifnull(max(seq), 0) FROM outbox")
        self._statements.count_from(build, message)
        self.outbox.measure(connection)
        self._counted = self._database.moved_aside

    def _blame_disk(self, error: Exception) -> bool:
        """Undo what was begun; whether the file or the disk is to blame."""
        self._database.roll_back(error)
        reason = str(error) if isinstance(error, _UNUSABLE) else None
        if isinstance(error, OSError):
            reason = error.strerror or reason
        if isinstance(error, sqlite3.Error):
            reason = describe(error)
            if is_damage(error):
                self._database.suspect = True
            elif wants_new_connection(error):
                self._database.drop_writer()
        if reason is None:
            structlog.get_logger().error("journal_change_rejected", error=repr(error))
            return False
        self._set_failure(reason, error)
        return True

    def _set_failure(self, reason: str | None, error: Exception | None = None) -> None:
        before, self.failure = self.failure, reason
        self._housekeeping.short = reason == DISK_FULL
        if reason is not None and before is None:
            structlog.get_logger().error(
                "journal_unavailable", reason=reason, error=error and repr(error)
            )
        elif reason is None and before is not None:
            structlog.get_logger().info("journal_available")


def _execute(connection: sqlite3.Connection, statements: Sequence[Statement]) -> int:
    """Run ``statements`` in one transaction; returns the bytes of messages that were deleted."""
    if len(statements) == 1:
        return sum(int(row[0]) for row in connection.execute(*statements[0]))
    connection.execute("BEGIN IMMEDIATE")
    deleted = sum(int(row[0]) for statement in statements for row in connection.execute(*statement))
    connection.execute("COMMIT")
    return deleted
