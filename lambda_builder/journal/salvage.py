"""What is done with a damaged journal: its readable rows go to a new file, it is moved aside.

The new file is finished before the old one is touched, and every step can be repeated, so a
process that dies in between leaves the next one all it needs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from lambda_builder.builds import BuildState
from lambda_builder.journal.pages import Pages, Record
from lambda_builder.journal.rows import Row, Unreadable, message_of, result_of
from lambda_builder.journal.schema import BUILD_COLUMNS, OUTBOX_COLUMNS, connect_writer

_NAMES_LOGGED = 100
_BUILD_WIDTH = BUILD_COLUMNS.count(",") + 1
_MESSAGE_WIDTH = OUTBOX_COLUMNS.count(",") + 1

# Of two copies of one build the later counts, and of one build's two states the further one.
_INSERT_BUILD = (
    f"INSERT INTO builds ({BUILD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (event_hash) DO UPDATE SET seq = excluded.seq, request = excluded.request,"
    " attempts = excluded.attempts, state = excluded.state, outcome = excluded.outcome,"
    " accepted_at = excluded.accepted_at, settled_at = excluded.settled_at"
    " WHERE (excluded.seq, excluded.settled_at IS NOT NULL, excluded.attempts)"
    " > (builds.seq, builds.settled_at IS NOT NULL, builds.attempts)"
)
_INSERT_MESSAGE = f"INSERT OR IGNORE INTO outbox ({OUTBOX_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Salvaged:
    """What could be read of a damaged journal."""

    moved_aside: Path
    builds: int = 0
    open_builds: int = 0
    messages: int = 0
    unreadable: int = 0
    lost: list[str] = field(default_factory=list)
    """Job names that an index still knows, but no row."""


def salvage(path: Path, reason: str, *, clock: Callable[[], float] = time.time) -> Salvaged:
    """Replace the damaged journal at ``path`` by a new one with all rows that can be read.

    No connection to it may be open. Raises ``OSError`` and ``sqlite3.Error``; the old file is
    then still in its place.
    """
    stamp = datetime.fromtimestamp(clock(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    found = Salvaged(aside)
    fresh = _part(path, ".salvage")
    for leftover in (fresh, *_companions(fresh)):
        leftover.unlink(missing_ok=True)
    fresh.touch(0o600)
    with contextlib.closing(connect_writer(fresh)) as connection:
        # Until it is in its place nobody reads it, and a log would need its room twice.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN")
        with _pages(path) as pages:
            _copy(pages, connection, found)
        connection.execute("COMMIT")
        (found.builds,) = connection.execute("SELECT count(*) FROM builds").fetchone()
        (found.messages,) = connection.execute("SELECT count(*) FROM outbox").fetchone()
        (found.open_builds,) = connection.execute(
            "SELECT count(*) FROM builds WHERE state = ?", (BuildState.QUEUED.value,)
        ).fetchone()
    fresh.rename(_part(path, ".salvaged"))
    path.rename(aside)
    finish_swap(path, aside)
    _report(path, reason, found)
    return found


def finish_swap(path: Path, aside: Path | None = None) -> None:
    """Put a finished new file in the journal's place, if the journal is moved aside already.

    Raises ``OSError``.
    """
    salvaged = _part(path, ".salvaged")
    if path.exists():
        salvaged.unlink(missing_ok=True)  # made, but never needed: it is out of date
        return
    if not salvaged.exists():
        return
    aside = aside or path.with_name(f"{path.name}.corrupt-interrupted")
    # A log that stayed behind would be played into the new file.
    for companion in _companions(path):
        if companion.exists():
            companion.rename(aside.with_name(aside.name + companion.name[len(path.name) :]))
    salvaged.rename(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the directory's entries outlast a power cut; raises ``OSError``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _companions(path: Path) -> list[Path]:
    return [_part(path, suffix) for suffix in ("-wal", "-shm", "-journal")]


@contextlib.contextmanager
def _pages(path: Path) -> Iterator[Pages]:
    log_path = _part(path, "-wal")
    with contextlib.ExitStack() as files:
        database = files.enter_context(path.open("rb"))
        log = files.enter_context(log_path.open("rb")) if log_path.exists() else None
        yield Pages(database, log, log_path)


def _copy(pages: Pages, connection: sqlite3.Connection, found: Salvaged) -> None:
    names: dict[int, str] = {}
    for record in pages.records():
        if record.rowid is None:
            _note_name(record, names)
            continue
        row: Row = (record.rowid, *record.values[1:])
        try:
            if len(row) == _BUILD_WIDTH:
                _copy_build(connection, row)
            elif len(row) == _MESSAGE_WIDTH:
                message_of((row[2], row[3], row[4], row[5], row[1], row[6]))
                connection.execute(_INSERT_MESSAGE, row)
        except (Unreadable, sqlite3.IntegrityError):
            found.unreadable += 1
    found.unreadable += pages.unreadable
    for (seq,) in connection.execute("SELECT seq FROM builds"):
        names.pop(seq, None)
    found.lost = sorted(names.values())


def _copy_build(connection: sqlite3.Connection, row: Row) -> None:
    result_of((row[4], row[5], row[6], row[7]))
    try:
        connection.execute(_INSERT_BUILD, row)
    except sqlite3.IntegrityError:
        # Another build's row has this number: one of them is from an earlier life of its page.
        connection.execute(_INSERT_BUILD, (None, *row[1:]))


def _note_name(record: Record, names: dict[int, str]) -> None:
    if len(record.values) != 2:
        return
    name, seq = record.values
    if isinstance(name, str) and name.startswith("build-") and isinstance(seq, int):
        names[seq] = name


def _report(path: Path, reason: str, found: Salvaged) -> None:
    structlog.get_logger().error(
        "journal_salvaged",
        journal=str(path),
        reason=reason,
        moved_aside=str(found.moved_aside),
        builds=found.builds,
        open_builds=found.open_builds,
        messages=found.messages,
        unreadable=found.unreadable,
        lost=len(found.lost),
        lost_job_names=found.lost[:_NAMES_LOGGED],
    )
