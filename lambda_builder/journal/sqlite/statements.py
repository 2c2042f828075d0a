"""The SQL that writes changes: one statement per kind and batch, however many rows it has.

Python's sqlite3 gives up the interpreter lock at every step and has to win it back from busy
threads, so the number of statements, not of rows, is what a commit costs under load.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lambda_builder.journal.changes import Change, undelivered
from lambda_builder.journal.rows import Row
from lambda_builder.journal.sqlite.schema import BUILD_COLUMNS, OPEN, OUTBOX_COLUMNS

Statement = tuple[str, Sequence[Any]]

_ROWS_PER_STATEMENT = 32
_DESTINATION, _KEY = 1, 2
"""Where these stand in a message's row."""

_INSERT_BUILDS = f"INSERT INTO builds ({BUILD_COLUMNS}) VALUES "
# A finish brings its request, so that it is kept even if the row was lost to a damaged page.
_SET_OUTCOME = (
    _INSERT_BUILDS,
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " ON CONFLICT (event_hash) DO UPDATE SET attempts = excluded.attempts,"
    " state = excluded.state, outcome = excluded.outcome, settled_at = excluded.settled_at",
)
# Apart, for SQLite writes the index of a column that is set, a page for each row, be its value
# the same: only a build that was skipped is no longer found by the name that it was recorded with.
_SET_OUTCOME_AND_NAME = (*_SET_OUTCOME[:2], f"{_SET_OUTCOME[2]}, job_name = excluded.job_name")
_NEW = "(?, ?, ?, ?, ?, 0, 'queued', NULL, ?, NULL)"
_BEGIN_AGAIN = (
    " ON CONFLICT (event_hash) DO UPDATE SET seq = excluded.seq, job_name = excluded.job_name,"
    " correlation_id = excluded.correlation_id, request = excluded.request, attempts = 0,"
    " state = 'queued', outcome = NULL, accepted_at = excluded.accepted_at, settled_at = NULL"
)
_BULK = {
    "finishes": _SET_OUTCOME,
    "skips": _SET_OUTCOME_AND_NAME,
    "turned_away": _SET_OUTCOME_AND_NAME,
    "forgets": (f"DELETE FROM builds WHERE {OPEN} AND event_hash IN (", "?", ")"),
    "commands_over": ("DELETE FROM commands WHERE event_hash IN (", "?", ")"),
    "delivered": (
        "DELETE FROM outbox WHERE id IN (",
        "?",
        ") RETURNING CASE destination WHEN 'sink' THEN length(headers) + length(body) ELSE 0 END",
    ),
    # Nothing of a key is due before its first message, so that due_at alone finds what is.
    "messages": (
        f"INSERT INTO outbox ({OUTBOX_COLUMNS}) VALUES ",
        "(?, ?, ?, ?, ?, ?, 0, max(?, ifnull("
        "(SELECT max(due_at) FROM outbox WHERE destination = ? AND key = ?), 0)))",
        " ON CONFLICT (id) DO UPDATE SET headers = excluded.headers, body = excluded.body",
    ),
    "attempts": (
        "UPDATE builds SET attempts = new.column2 FROM (VALUES ",
        "(?, ?)",
        f") AS new WHERE builds.event_hash = new.column1 AND {OPEN}",
    ),
    # A build that is open already keeps its place and its attempts.
    "records": (_INSERT_BUILDS, _NEW, f"{_BEGIN_AGAIN} WHERE builds.state <> 'queued'"),
    "reopens": (_INSERT_BUILDS, _NEW, _BEGIN_AGAIN),
    "commands": (
        "INSERT INTO commands (event_hash, request) VALUES ",
        "(?, ?)",
        " ON CONFLICT (event_hash) DO NOTHING",
    ),
    "audit": ("INSERT INTO audit (refused, entry) VALUES ", "(?, ?)", ""),
}
"""What is written of changes, in this order: a statement's beginning, one row's part, its end."""
_NUMBERED = ("finishes", "skips", "turned_away", "records", "reopens")
_JOB_NAME = 1
"""Where this stands in a finish; it is empty where the build was skipped."""
_PUT_OFF = (
    "UPDATE outbox SET due_at = ? WHERE (destination, key) ="
    " (SELECT destination, key FROM outbox WHERE id = ?)"
)
_COUNT_FAILURE = "UPDATE outbox SET attempts = attempts + 1 WHERE id = ?"

PROBE = "INSERT OR REPLACE INTO probe (id, ballast) VALUES (1, randomblob(32768))"
"""Shows that the disk takes data again; large enough to need pages of its own."""


class Statements:
    """Writes changes over one connection at a time; owned by the writer."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._build_seq = 0
        self._message_seq = 0

    def count_from(self, build_seq: int, message_seq: int) -> None:
        """Number new rows above these, the highest ones in the file, and above all before."""
        self._build_seq = max(self._build_seq, build_seq)
        self._message_seq = max(self._message_seq, message_seq)

    def of(self, changes: Sequence[Change]) -> list[Statement]:
        """Return the statements that write ``changes``."""
        statements: list[Statement] = []
        for part in _BULK:
            rows = self._rows(part, changes)
            if rows:
                statements += _bulk(part, rows)
        for message_id, next_at in itertools.chain.from_iterable(c.failed for c in changes):
            statements += [(_PUT_OFF, (next_at, message_id)), (_COUNT_FAILURE, (message_id,))]
        return statements

    def _rows(self, part: str, changes: Sequence[Change]) -> list[Row]:
        if part == "messages":
            return self._messages(changes)
        if part in ("finishes", "skips"):
            skips = part == "skips"
            rows = [row for row in _last(changes, "finishes") if skips != bool(row[_JOB_NAME])]
        elif part == "attempts":
            # Which of two rows an UPDATE takes is arbitrary (https://sqlite.org/lang_update.html).
            rows = _last(changes, part)
        else:
            rows = [row for change in changes for row in getattr(change, part)]
        if part in _NUMBERED:
            rows = [(number, *row) for number, row in enumerate(rows, start=self._build_seq + 1)]
            self._build_seq += len(rows)
        return rows

    def _messages(self, changes: Sequence[Change]) -> list[Row]:
        now = self._clock()
        rows = [
            (number, *row, now, row[_DESTINATION], row[_KEY])
            for number, row in enumerate(undelivered(changes), start=self._message_seq + 1)
        ]
        self._message_seq += len(rows)
        return rows


def _last(changes: Sequence[Change], part: str) -> list[Row]:
    """Return the last row of each event."""
    return [*{row[0]: row for change in changes for row in getattr(change, part)}.values()]


def _bulk(part: str, rows: Sequence[Row]) -> Iterator[Statement]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        yield _text(part, len(some)), [value for row in some for value in row]


@functools.cache
def _text(part: str, rows: int) -> str:
    head, values, tail = _BULK[part]
    return f"{head}{', '.join([values] * rows)}{tail}"
