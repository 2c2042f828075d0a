"""What keeps the journal's file small: trimming, giving pages back, moving the log into the file.

Done by the writer between commits, in slices short enough for a waiting request.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from lambda_builder.journal.sqlite.schema import SETTLED
from lambda_builder.journal.values import AUDIT_KEPT

_ROUND_SECONDS = 10.0
_SLICE_ROWS = 50
_SLICE_PAGES = 64
_KEPT_FREE_PAGES = 2560
"""10 MiB of free pages are kept for what comes next."""
_LOG_BYTES = 4 * 1024 * 1024
"""Size of the log that makes a checkpoint worth its fsyncs."""
_PAGES_PER_ROW = 6
"""Pages that a typical row touches: the table and its indexes."""
_PAGE_BYTES = 4096
_BREATH_SECONDS = 0.01
"""Pause between two slices while there are changes to write."""

_TRIM = (
    f"DELETE FROM builds WHERE seq IN (SELECT seq FROM builds WHERE {SETTLED}"
    " AND settled_at < ? ORDER BY settled_at LIMIT ?)"
)
_TRIM_AUDIT = (
    "DELETE FROM audit WHERE seq IN"
    " (SELECT seq FROM audit WHERE refused = ? ORDER BY seq DESC LIMIT ? OFFSET ?)"
)
_COUNT_SETTLED = f"SELECT count(*) FROM builds WHERE {SETTLED}"


class Housekeeping:
    """Decides what is due; used by one thread at a time.

    Settled builds go once they are ``keep_seconds`` old, and the oldest beyond ``keep_max``.
    """

    def __init__(
        self,
        keep_seconds: float,
        keep_max: int,
        *,
        log_bytes: int = _LOG_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``log_bytes`` bounds the log where the volume is small."""
        self._keep_seconds = keep_seconds
        self._keep_max = keep_max
        self._clock = clock
        self._next_round = time.monotonic() + _ROUND_SECONDS
        self._next_slice = 0.0
        self._trimming = False
        self._surplus: int | None = None
        self._vacuuming = False
        self._long_audits: list[bool] = []
        """The kinds of the audit's entries of which there may be too many."""
        self._log_bytes = min(log_bytes, _LOG_BYTES)
        self.logged = 0
        """Bytes in the log that are not in the file yet, at most."""
        self.short = False
        """Whether the volume is full, so that free pages are given back at once."""
        self.trimmed = 0
        """Builds deleted so far."""

    def wrote(self, rows: int, size: int) -> None:
        """Note a commit: its rows and bytes."""
        self.logged += self.cost(rows, size)

    @staticmethod
    def cost(rows: int, size: int) -> int:
        """Return how many bytes a commit adds to the log, at most."""
        return (1 + rows * _PAGES_PER_ROW) * _PAGE_BYTES + size

    @staticmethod
    def unused(connection: sqlite3.Connection) -> int:
        """Return the bytes of the file's free pages; raises ``sqlite3.Error``."""
        ((free,),) = connection.execute("PRAGMA freelist_count")
        return int(free) * _PAGE_BYTES

    def make_room(self, connection: sqlite3.Connection) -> None:
        """Move the log into the file and cut it; raises ``sqlite3.Error``."""
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not busy:
            self.logged = 0
        self._vacuuming = self._vacuuming or self.short

    def pause(self, *, idle: bool = True) -> float:
        """Return how many seconds may pass until ``run`` has something to do."""
        if self.log_is_long:
            return 0.0
        now = time.monotonic()
        if not (self._trimming or self._vacuuming):
            return max(0.0, self._next_round - now)
        return 0.0 if idle else max(0.0, self._next_slice - now)

    def run(self, connection: sqlite3.Connection, *, idle: bool) -> None:
        """Do one slice of what is due; raises ``sqlite3.Error``."""
        if self.log_is_long:
            self.logged = 0
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            return
        now = time.monotonic()
        if not idle and now < self._next_slice:
            return
        self._next_slice = now + _BREATH_SECONDS
        if now >= self._next_round:
            self._next_round = now + _ROUND_SECONDS
            self._trimming = True
            self._surplus = None
            self._long_audits = [*AUDIT_KEPT]
        if self._trimming:
            self._trim(connection)
        elif self._vacuuming:
            self._vacuum(connection)

    @property
    def log_is_long(self) -> bool:
        """Whether a checkpoint is due."""
        return self.logged >= self._log_bytes

    def start_round(self) -> None:
        """Trim as soon as there is time."""
        self._next_round = 0.0

    def _trim(self, connection: sqlite3.Connection) -> None:
        if self._long_audits:
            self._trim_audit(connection, self._long_audits[-1])
        before = self._clock() - self._keep_seconds
        deleted = connection.execute(_TRIM, (before, _SLICE_ROWS)).rowcount
        if deleted < _SLICE_ROWS:
            if self._surplus is None:
                ((kept,),) = connection.execute(_COUNT_SETTLED)
                self._surplus = max(0, kept - self._keep_max)
            most = min(self._surplus, _SLICE_ROWS - deleted)
            self._surplus -= most
            if most:
                deleted += connection.execute(_TRIM, (float("inf"), most)).rowcount
            self._trimming = self._surplus > 0 or bool(self._long_audits)
            self._vacuuming = not self._trimming
        self.trimmed += deleted
        self.logged += self.cost(deleted, 0)

    def _trim_audit(self, connection: sqlite3.Connection, kind: bool) -> None:
        parameters = (int(kind), _SLICE_ROWS, AUDIT_KEPT[kind])
        deleted = connection.execute(_TRIM_AUDIT, parameters).rowcount
        if deleted < _SLICE_ROWS:
            self._long_audits.pop()
        self.logged += self.cost(deleted, 0)

    def _vacuum(self, connection: sqlite3.Connection) -> None:
        """Shrink the file by some of the pages that nothing will need soon."""
        ((free,),) = connection.execute("PRAGMA freelist_count")
        ((pages,),) = connection.execute("PRAGMA page_count")
        kept = 0 if self.short else max(_KEPT_FREE_PAGES, pages // 4)
        self._vacuuming = free > kept
        if self._vacuuming:
            # Each step gives back one page.
            connection.execute(f"PRAGMA incremental_vacuum({_SLICE_PAGES})").fetchall()
            self.logged += _SLICE_PAGES * _PAGE_BYTES
