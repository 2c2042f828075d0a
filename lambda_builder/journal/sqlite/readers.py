"""Connections for reading beside the writer; any thread may read, none waits for a commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lambda_builder.journal.sqlite.schema import connect_reader

_KEPT = 8


class Readers:
    """A pool of reading connections; thread-safe. Closed until ``resume``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0
        self._closed: str | None = "the journal is not open yet"
        self._changed = threading.Condition()

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return every row of a query; raises ``sqlite3.Error``."""
        connection = self._borrow()
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            self._give_back(connection)

    def resume(self) -> None:
        """Let queries in."""
        with self._changed:
            self._closed = None

    def suspend(self, timeout: float, reason: str) -> bool:
        """Keep queries out and close every connection; False when some are still under way."""
        with self._changed:
            self._closed = reason
            over = self._changed.wait_for(lambda: not self._lent, timeout)
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        return over

    def _borrow(self) -> sqlite3.Connection:
        with self._changed:
            if self._closed is not None:
                raise sqlite3.OperationalError(self._closed)
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return connect_reader(self._path)
        except BaseException:
            self._give_back(None)
            raise

    def _give_back(self, connection: sqlite3.Connection | None) -> None:
        with self._changed:
            self._lent -= 1
            keep = connection is not None and self._closed is None and len(self._idle) < _KEPT
            if keep and connection is not None:
                self._idle.append(connection)
            if not self._lent:
                self._changed.notify_all()
        if connection is not None and not keep:
            connection.close()
