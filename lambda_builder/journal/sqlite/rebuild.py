"""What is done with a file that SQLite finds damaged: what reads still give goes on in a new one.

The new file is finished before the old one is moved aside, and every step can be repeated, so a
process that dies in between leaves the next one all it needs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from lambda_builder.journal.sqlite.schema import OPEN, connect_reader, connect_writer
from lambda_builder.journal.sqlite.sqlite_errors import is_damage, result_code

_NAMES_LOGGED = 100
_COMPANIONS = ("-wal", "-shm", "-journal")
_TABLES = (
    ("builds", "builds", "job_name", "builds_job_name"),
    ("outbox", "outbox", "id", "sqlite_autoindex_outbox_1"),
    ("commands", "commands", "event_hash", "sqlite_autoindex_commands_1"),
    ("audit", "audit", "refused", "audit_refused"),
    ("cancels", "commands", "event_hash", "sqlite_autoindex_cancels_1"),  # of schema 2
)
"""(table, where its rows go, what a row is called, an index that has all those names)."""


@dataclass(slots=True)
class _Copied:
    rows: Counter[str] = field(default_factory=Counter)
    lost: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By table, what an index still names but no read gives."""


def rebuild(path: Path, reason: str) -> None:
    """Replace the damaged file at ``path`` by a new one with every row that can be read.

    No connection to it may be open. Raises ``OSError`` and ``sqlite3.Error``; the old file is
    then still in its place.
    """
    unfinished = _part(path, ".rebuilding")
    for suffix in ("", *_COMPANIONS):
        _part(unfinished, suffix).unlink(missing_ok=True)
    unfinished.touch(0o600)
    with contextlib.closing(connect_writer(unfinished)) as fresh:
        # Until it is in its place nobody reads it, and a log would need its room twice.
        fresh.execute("PRAGMA journal_mode = DELETE")
        copied = _copy(path, fresh)
        ((open_builds,),) = fresh.execute(f"SELECT count(*) FROM builds WHERE {OPEN}")
    unfinished.rename(_part(path, ".rebuilt"))
    sync_directory(path.parent)
    structlog.get_logger().error(
        "journal_moved_aside",
        journal=str(path),
        reason=reason,
        moved_to=str(finish_rebuild(path)),
        builds=copied.rows["builds"],
        open_builds=open_builds,
        messages=copied.rows["outbox"],
        lost_builds=len(copied.lost["builds"]),
        lost_job_names=copied.lost["builds"][:_NAMES_LOGGED],
        lost_messages=len(copied.lost["outbox"]),
    )


def finish_rebuild(path: Path) -> Path | None:
    """Move the damaged file aside and a finished new one to its place, if there is one.

    Returns where the damaged file is now. Raises ``OSError``.
    """
    rebuilt = _part(path, ".rebuilt")
    if not rebuilt.exists():
        return None
    # From the new file, so that a start that goes on with this uses the same name.
    moment = datetime.fromtimestamp(rebuilt.stat().st_mtime, UTC)
    aside = _part(path, moment.strftime(".corrupt-%Y%m%dT%H%M%S.%fZ"))
    # The log goes first: one that stayed behind would be played into the new file.
    for suffix in (*_COMPANIONS, ""):
        if _part(path, suffix).exists():
            _part(path, suffix).rename(_part(aside, suffix))
    rebuilt.rename(path)
    sync_directory(path.parent)
    return aside


def sync_directory(directory: Path) -> None:
    """Make the directory's entries outlast a power cut; raises ``OSError``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _copy(path: Path, fresh: sqlite3.Connection) -> _Copied:
    copied = _Copied()
    if not path.stat().st_size:
        return copied  # SQLite would delete its log
    with contextlib.closing(connect_reader(path)) as damaged:
        # As the shell's .dump does it: a file shorter than its header says is read all the same.
        damaged.execute("PRAGMA writable_schema = ON")
        damaged.row_factory = sqlite3.Row
        damaged.text_factory = lambda text: text.decode("utf-8", "replace")
        fresh.execute("BEGIN")
        for table, target, name, index in _TABLES:
            _copy_table(damaged, fresh, copied, table, target, name, index)
        fresh.execute("COMMIT")
    return copied


def _copy_table(
    damaged: sqlite3.Connection,
    fresh: sqlite3.Connection,
    copied: _Copied,
    table: str,
    target: str,
    name: str,
    index: str,
) -> None:
    kept: set[int] = set()
    lost: dict[int, str] = {}

    def keep(row: sqlite3.Row) -> None:
        columns = row.keys()
        insert = f"INSERT OR IGNORE INTO {target} ({', '.join(columns)}) VALUES "
        done = fresh.execute(f"{insert}({', '.join('?' * len(columns))})", tuple(row))
        if done.rowcount:
            kept.add(row["seq"])

    def look_up(row: sqlite3.Row) -> None:
        seq = row["seq"]
        if seq not in kept:
            _read(damaged, f"SELECT * FROM {table} WHERE seq = ?", keep, (seq,))
        if seq not in kept:
            lost[seq] = row[name]

    # From both ends as far as the damage; what is between two damaged pages an index may know.
    rows = f"SELECT * FROM {table} NOT INDEXED ORDER BY seq"
    names = f"SELECT {name}, seq FROM {table} INDEXED BY {index} ORDER BY {name}"
    if not _read(damaged, rows, keep):
        _read(damaged, f"{rows} DESC", keep)
        if not _read(damaged, names, look_up):
            _read(damaged, f"{names} DESC", look_up)
    copied.rows[table] = len(kept)
    copied.lost[table] = sorted(lost.values())


def _read(
    damaged: sqlite3.Connection,
    query: str,
    take: Callable[[sqlite3.Row], None],
    parameters: Sequence[Any] = (),
) -> bool:
    """Hand over the rows of ``query`` as far as they can be read; whether that was to the end."""
    try:
        cursor = damaged.execute(query, parameters)
        while (row := cursor.fetchone()) is not None:
            take(row)
    except sqlite3.DatabaseError as error:
        if not is_damage(error) and result_code(error) != sqlite3.SQLITE_ERROR:  # no such table
            raise
        return False
    return True
