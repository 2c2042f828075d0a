"""What an error of SQLite means for the journal."""

from __future__ import annotations

import sqlite3

from lambda_builder.journal.changes import DISK_FULL

_RESULT_CODE = 0xFF
"""The rest of an extended result code is detail."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNUSABLE = {
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_READONLY: "read-only file system",
    sqlite3.SQLITE_IOERR: "disk I/O error",
    sqlite3.SQLITE_CANTOPEN: "cannot open the file",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_BUSY: "locked by another program",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked by another program",
    sqlite3.SQLITE_NOLFS: "file too large for the file system",
    sqlite3.SQLITE_CORRUPT: "damaged file",
    sqlite3.SQLITE_NOTADB: "damaged file",
}


def result_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 where the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _RESULT_CODE


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, so that it must be checked and rebuilt."""
    return result_code(error) in _DAMAGED


def wants_new_connection(error: sqlite3.Error) -> bool:
    """Whether what the connection believes about the file may be wrong from now on."""
    return result_code(error) in (
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
    )


def describe(error: sqlite3.Error) -> str | None:
    """Return why nothing can be written, in a few words; None when the change is to blame."""
    return _UNUSABLE.get(result_code(error))
