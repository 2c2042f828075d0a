"""The journal's file: opened, examined, opened again after an error, replaced when damaged.

Owns every connection. The writing one belongs to the writer's thread; any thread may ``fetch``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from lambda_builder.journal import wal
from lambda_builder.journal.readers import Readers
from lambda_builder.journal.salvage import Salvaged, finish_swap, salvage, sync_directory
from lambda_builder.journal.schema import BUSY_SECONDS, OPEN, connect_writer
from lambda_builder.journal.troubles import is_damage

_CHECKED_BYTES = 64 * 1024 * 1024
"""Larger files are not checked whole at start; a damaged page then shows when it is read."""
_NEEDED_AT_START = (
    f"SELECT count(*) FROM builds WHERE {OPEN}",
    "SELECT max(seq) FROM builds",
    "SELECT max(seq) FROM outbox",
)
_MAGIC = b"SQLite format 3\0"


class Database:
    """One SQLite file in WAL mode and the connections to it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self._clock = clock
        self._readers = Readers(path)
        self._writer: sqlite3.Connection | None = None
        self._durable = True
        self._damage: str | None = None
        self.replaced = 0
        """How often the file was replaced since ``open``."""

    def open(self) -> Salvaged | None:
        """Open the file, made or salvaged where needed; returns what was salvaged.

        Raises ``BootError`` for a file that is not this version's to open, ``OSError`` and
        ``sqlite3.Error``.
        """
        finish_swap(self.path)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        sync_directory(self.path.parent)
        found = None
        damage = self._damage_outside() or self._damage_inside()
        if damage is not None:
            self.drop_writer()
            found = salvage(self.path, damage, clock=self._clock)
            self._writer = connect_writer(self.path)
        self._readers.resume()
        return found

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query beside the writer; raises ``sqlite3.Error``."""
        return self._readers.fetch(sql, parameters)

    def writer(self, *, durable: bool) -> sqlite3.Connection:
        """Return the writing connection, new where an error cost the last one.

        ``durable`` commits reach the disk, others only the system. Raises ``sqlite3.Error``, or
        ``OSError`` while a damaged file is replaced.
        """
        if self._damage is not None:
            self._replace(self._damage)
        if self._writer is None:
            self._writer = self._reconnect()
            self._readers.resume()
        if durable != self._durable:
            level = "FULL" if durable else "NORMAL"
            self._writer.execute(f"PRAGMA synchronous = {level}")
            self._durable = durable
        return self._writer

    def roll_back(self) -> None:
        """End a transaction that failed."""
        connection = self._writer
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.rollback()
        except sqlite3.Error:
            self.drop_writer()

    def drop_writer(self) -> None:
        """Close the writing connection after an error that may have cost what it believed."""
        connection, self._writer, self._durable = self._writer, None, True
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def mark_damaged(self, reason: str) -> None:
        """Have the file replaced before anything more is written."""
        self.drop_writer()
        self._damage = reason

    @property
    def size(self) -> int:
        """Bytes of the file and its log."""
        return _size(self.path) + _size(self._log)

    def close(self) -> None:
        """Close every connection; harmless twice."""
        if not self._readers.suspend(BUSY_SECONDS, "the journal is closed"):
            structlog.get_logger().warning("journal_readers_still_busy")
        self.drop_writer()

    def _reconnect(self) -> sqlite3.Connection:
        connection = connect_writer(self.path)
        try:
            # What the log holds may never have reached the disk, and the system would not say so
            # again: write it to the file itself and begin a new log.
            ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if busy:
                raise sqlite3.OperationalError("the log is in use")
        except BaseException:
            connection.close()
            raise
        return connection

    def _replace(self, reason: str) -> None:
        # A connection that outlived the old file would delete the new one's log when it closes.
        if not self._readers.suspend(BUSY_SECONDS, "the file is damaged and being replaced"):
            raise TimeoutError("queries are still under way")
        salvage(self.path, reason, clock=self._clock)
        self._damage = None
        self.replaced += 1

    # -- is it sound? --------------------------------------------------------------------------

    def _damage_outside(self) -> str | None:
        """Say what of the file SQLite would refuse, or drop without a word."""
        with self.path.open("rb") as file:
            header = file.read(len(_MAGIC))
        if not header:
            return "the file is empty, its log is not" if _size(self._log) else None
        if header != _MAGIC:
            return "not a database"
        return "the log is broken" if wal.breaks_off_early(self._log) else None

    def _damage_inside(self) -> str | None:
        """Connect; say what SQLite finds wrong."""
        try:
            self._writer = connect_writer(self.path)
            for query in _NEEDED_AT_START:
                self._writer.execute(query).fetchall()
            if self.size > _CHECKED_BYTES:
                return None
            ((verdict,),) = self._writer.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return str(error)
            raise
        return None if verdict == "ok" else str(verdict)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
