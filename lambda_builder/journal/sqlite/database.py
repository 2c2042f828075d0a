"""The journal's file: opened, checked, opened again after an error, rebuilt when damaged.

Owns every connection. The writing one is used by whoever has the turn; any thread may ``fetch``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from lambda_builder.journal.sqlite.readers import Readers
from lambda_builder.journal.sqlite.rebuild import finish_rebuild, rebuild, sync_directory
from lambda_builder.journal.sqlite.schema import BUSY_SECONDS, connect_writer
from lambda_builder.journal.sqlite.sqlite_errors import is_damage, result_code

_READ_BYTES = 1024 * 1024
_LOOK_SECONDS = 1.0
"""Longest time that the files are not looked for: a mount changes no directory."""
_TICK_NANOSECONDS = 2_000_000_000
_Identity = tuple[int, int]


class Database:
    """One SQLite file in WAL mode and the connections to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self._readers = Readers(path)
        self._writer: sqlite3.Connection | None = None
        self._dropped: sqlite3.Connection | None = None
        """Given up, and closed once the log is on the disk: closing moves it into the file."""
        self._distrusted = False
        """Whether what was moved into the file may not be on the disk, though the log says so."""
        self._log_has_remains = True
        """Whether what a transaction left that failed, or a process that was killed, may stand in
        the log behind what counts.
        """
        self._opened: dict[Path, _Identity | None] = {}
        """The files that commits go to, by the names under which the next start looks for them."""
        self._directory = os.fspath(path.parent)
        self._version: tuple[int, int, int] | None = None
        """Of the directory when the files were last found in it."""
        self._look_again_at = 0.0
        self._durable = True
        self.suspect = False
        """Damage was met: the file is checked before anything more is written. Any thread may
        set it.
        """
        self.moved_aside = 0
        """How often a damaged file was moved aside and a new one put in its place."""

    def open(self) -> None:
        """Open the file, made or rebuilt where needed.

        Raises ``BootError`` for a file that is not this version's to open, ``OSError`` and
        ``sqlite3.Error``.
        """
        if finish_rebuild(self.path) is not None:
            self.moved_aside += 1
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        sync_directory(self.path.parent)
        _write_again(self._log)
        damage = self._damage()
        if damage is not None:
            # SQLite calls some reads damage that the disk refused: the file must be readable, and
            # the damage still there.
            self._close_writer()
            _read_through(self.path)
            _read_through(self._log)
            damage = self._damage()
        if damage is not None:
            self._close_writer()
            rebuild(self.path, damage)
            self.moved_aside += 1
            self._writer = self._connect()
        self._opened[self.path], self._version = _identity(self.path), None
        self.suspect = False
        self._readers.resume()

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query beside the writer; raises ``sqlite3.Error``."""
        return self._readers.fetch(sql, parameters)

    def writer(self, *, durable: bool) -> sqlite3.Connection:
        """Return the writing connection, new where an error cost the last one.

        ``durable`` commits reach the disk, others only the system. Raises ``sqlite3.Error``;
        ``OSError`` while a damaged file is rebuilt, or when the file or its log is not where the
        next start looks for it.
        """
        self._look_for_files()
        if self.suspect:
            self._open_again()
        if self._writer is None:
            self._close_writer()
            self._writer, self._log_has_remains = self._connect(), True
        if self._log_has_remains:
            self._begin_log(self._writer)
            self._readers.resume()
        if durable != self._durable:
            level = "FULL" if durable else "NORMAL"
            self._writer.execute(f"PRAGMA synchronous = {level}")
            self._durable = durable
        return self._writer

    def _look_for_files(self) -> None:
        """Raises ``OSError`` where the next start would not find what is written.

        No file comes or goes without a new version of its directory, so that is looked at first.
        """
        now, version = time.monotonic(), _version(self._directory)
        if version is not None and version == self._version and now < self._look_again_at:
            return
        self._version = None
        for path, opened in self._opened.items():
            if _identity(path) != opened:
                raise OSError(f"{path} was removed or replaced; put it back or restart")
        self._version, self._look_again_at = version, now + _LOOK_SECONDS

    def roll_back(self, error: Exception) -> None:
        """End a transaction that failed with ``error``."""
        connection = self._writer
        if isinstance(error, sqlite3.Error) and result_code(error) == sqlite3.SQLITE_FULL:
            self._log_has_remains = True  # SQLite has ended the transaction itself
        if connection is None or not connection.in_transaction:
            return
        self._log_has_remains = True
        try:
            connection.rollback()
        except sqlite3.Error:
            self.drop_writer()

    def drop_writer(self) -> None:
        """Give up the writing connection after an error that may have cost what it believed."""
        self._distrusted = True
        with contextlib.suppress(OSError):  # then it is closed later
            self._close_writer()

    @property
    def size(self) -> int:
        """Bytes of the file and its log."""
        return _size(self.path) + _size(self._log)

    def close(self) -> None:
        """Close every connection; harmless twice."""
        if not self._readers.suspend(BUSY_SECONDS, "the journal is closed"):
            structlog.get_logger().warning("journal_readers_still_busy")
        with contextlib.suppress(OSError):
            self._close_writer()

    def _close_writer(self) -> None:
        """Close the writing connection; raises ``OSError`` while the files cannot be written.

        Two that close the journal may meet here.
        """
        writer = self._writer
        if writer is not None:
            self._dropped, self._writer, self._durable = writer, None, True
        dropped = self._dropped
        if dropped is not None or self._distrusted:
            _write_again(self._log)
        if self._distrusted:
            # A part of the log is moved without a sync, and is not moved again.
            _write_again(self.path)
            self._distrusted = False
        if dropped is not None:
            self._opened.pop(self._log, None)  # SQLite removes it with the last connection
            with contextlib.suppress(sqlite3.Error):
                dropped.close()
            self._dropped = None

    def _begin_log(self, connection: sqlite3.Connection) -> None:
        """Move the log into the file and begin a new one; raises ``sqlite3.Error``, ``OSError``.

        SQLite would write over the remains page by page, under the same salts. Its checksum does
        not tell every old page from a new one: a power cut between could mix the two unnoticed.
        """
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise TimeoutError("the log is in use by another program")
        self._log_has_remains = False

    def _connect(self) -> sqlite3.Connection:
        connection = connect_writer(self.path)
        try:
            sync_directory(self.path.parent)  # SQLite does it for a new log, but lets it fail
        except BaseException:
            connection.close()
            raise
        self._opened[self._log], self._version = _identity(self._log), None
        return connection

    def _open_again(self) -> None:
        # A connection that outlived the old file would delete the new one's log when it closes.
        if not self._readers.suspend(BUSY_SECONDS, "the file is damaged and being rebuilt"):
            raise TimeoutError("queries are still under way")
        self._close_writer()
        self.open()

    def _damage(self) -> str | None:
        """Connect; say what SQLite finds wrong with the file."""
        if not _size(self.path) and _size(self._log):
            return "the file is empty, its log is not"  # SQLite would delete the log
        try:
            self._writer = self._connect()
            ((verdict,),) = self._writer.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return str(error)
            raise
        return None if verdict == "ok" else str(verdict)


def _read_through(path: Path) -> None:
    """Raises ``OSError`` where a part of the file cannot be read."""
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        offset = 0
        while part := os.pread(descriptor, _READ_BYTES, offset):
            offset += len(part)
    finally:
        os.close(descriptor)


def _write_again(path: Path) -> None:
    """Have the log, or the file, reach the disk as it is; raises ``OSError``.

    After a sync that failed the system takes what it could not write for written, and the next sync
    succeeds without it, in the next process too: it has to be written once more. What is moved into
    the file, or comes behind it in the log, could not be relied on before.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while part := os.pread(descriptor, _READ_BYTES, offset):
            offset += os.pwrite(descriptor, part, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> _Identity | None:
    """Return what tells the file from any other, as long as it is open; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _version(directory: str) -> tuple[int, int, int] | None:
    """Return what changes whenever a file comes or goes; None where that cannot be told.

    The clock of a file system ticks slowly: another change may have the same time, as long as that
    is not over.
    """
    try:
        found = os.stat(directory)
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < _TICK_NANOSECONDS:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
