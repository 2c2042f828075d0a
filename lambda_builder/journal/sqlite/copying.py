"""A journal's file, read or written whole while no service uses it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lambda_builder.errors import BootError
from lambda_builder.journal.kept import COLUMNS, KeptBuild
from lambda_builder.journal.rows import RESULT_COLUMNS, Row, result_of, result_row, tolerance
from lambda_builder.journal.sqlite.lock import JournalLock
from lambda_builder.journal.sqlite.schema import BUILD_COLUMNS, connect_writer

_TABLES = ("builds", *COLUMNS)


class FileCopy:
    """``Source`` and ``Target`` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seq = 0

    def builds(self) -> Iterator[KeptBuild]:
        """See ``Source.builds``."""
        found = self._connection.execute(
            f"SELECT seq, settled_at, {RESULT_COLUMNS} FROM builds ORDER BY seq"
        )
        for seq, settled_at, *columns in found:
            with tolerance(seq=seq):
                yield KeptBuild(result_of(columns), settled_at or 0.0)

    def rows(self, table: str) -> Iterator[Row]:
        """See ``Source.rows``."""
        yield from self._connection.execute(f"SELECT {COLUMNS[table]} FROM {table} ORDER BY seq")

    def add_builds(self, builds: list[KeptBuild]) -> None:
        """See ``Target.add_builds``."""
        rows = []
        for build in builds:
            self._seq += 1
            row = list(result_row(build.result, build.settled_at))
            if build.result.state.waits:
                row[6], row[8] = None, None  # neither outcome nor its moment
            rows.append((self._seq, *row))
        self._insert("builds", BUILD_COLUMNS, rows)

    def add_rows(self, table: str, rows: list[Row]) -> None:
        """See ``Target.add_rows``."""
        self._insert(table, COLUMNS[table], rows)

    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        found = (self._connection.execute(f"SELECT 1 FROM {each} LIMIT 1") for each in _TABLES)
        return all(cursor.fetchone() is None for cursor in found)

    def _insert(self, table: str, columns: str, rows: list[Row]) -> None:
        marks = ", ".join("?" * len(columns.split(", ")))
        self._connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


@contextlib.contextmanager
def reading_file(path: Path) -> Iterator[FileCopy]:
    """Read a file; raises ``BootError``."""
    if not path.is_file():
        raise BootError(f"there is no journal {path}")
    with _opened(path) as connection:
        yield FileCopy(connection)


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[FileCopy]:
    """Write a file that is new or empty, all or nothing; raises ``BootError``."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(0o600)
    with _opened(path) as connection:
        copy = FileCopy(connection)
        if not copy.is_empty():
            raise BootError(f"journal {path} is not empty; move it away, or name another")
        connection.execute("BEGIN IMMEDIATE")
        yield copy
        connection.execute("COMMIT")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    lock = JournalLock(path)
    with contextlib.ExitStack() as undo:
        try:
            undo.callback(lock.release)
            lock.acquire(0.0)
            connection = undo.enter_context(contextlib.closing(connect_writer(path)))
            yield connection
        except (sqlite3.Error, OSError) as error:
            raise BootError(f"journal {path} cannot be used: {error}") from error
