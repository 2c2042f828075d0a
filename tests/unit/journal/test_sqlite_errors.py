"""What the journal makes of SQLite's result codes."""

from __future__ import annotations

import sqlite3

import pytest

from lambda_builder.journal.sqlite.sqlite_errors import describe, is_damage, wants_new_connection


def error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "reason", "damage", "new_connection"),
    [
        (sqlite3.SQLITE_FULL, "disk full", False, False),
        (sqlite3.SQLITE_IOERR, "disk I/O error", False, True),
        (sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error", False, True),
        (sqlite3.SQLITE_NOMEM, "out of memory", False, True),
        (sqlite3.SQLITE_CANTOPEN, "cannot open the file", False, True),
        (sqlite3.SQLITE_BUSY, "locked by another program", False, False),
        (sqlite3.SQLITE_CORRUPT, "damaged file", True, False),
        (sqlite3.SQLITE_NOTADB, "damaged file", True, False),
        (sqlite3.SQLITE_CONSTRAINT, None, False, False),
    ],
)
def test_an_error_blames_the_file_the_disk_or_the_change(code, reason, damage, new_connection):
    assert describe(error(code)) == reason
    assert is_damage(error(code)) is damage
    assert wants_new_connection(error(code)) is new_connection


def test_an_error_that_is_not_of_sqlite_blames_the_change():
    assert describe(sqlite3.ProgrammingError("wrong number of bindings")) is None
