"""What is opened as a journal, and what is refused."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest

from lambda_builder.errors import BootError
from lambda_builder.journal.sqlite.schema import (
    MIGRATIONS,
    OPEN,
    SETTLED,
    TablesMissing,
    connect_writer,
)
from lambda_builder.journal.sqlite.sqlite_errors import wants_new_connection


def close_after(path) -> None:
    connect_writer(path).close()


def test_a_new_file_gets_every_migration(tmp_path):
    path = tmp_path / "journal.sqlite3"

    with contextlib.closing(connect_writer(path)) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        ((vacuum,),) = connection.execute("PRAGMA auto_vacuum").fetchall()

    assert (version, mode, vacuum) == (len(MIGRATIONS), "wal", 2)


def test_a_journal_of_this_version_is_opened_as_it_is(tmp_path):
    path = tmp_path / "journal.sqlite3"
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("INSERT INTO probe (id) VALUES (7)")

    with contextlib.closing(connect_writer(path)) as connection:
        assert connection.execute("SELECT id FROM probe").fetchall() == [(7,)]


def test_a_journal_of_an_older_version_is_brought_up_to_date_and_keeps_what_it_has(
    tmp_path, monkeypatch
):
    path = tmp_path / "journal.sqlite3"
    with monkeypatch.context() as older:
        older.setattr("lambda_builder.journal.sqlite.schema.MIGRATIONS", MIGRATIONS[:2])
        with contextlib.closing(connect_writer(path)) as connection:
            connection.execute("INSERT INTO probe (id) VALUES (7)")
            connection.execute("INSERT INTO cancels VALUES (1, 'hash', '{}')")

    with contextlib.closing(connect_writer(path)) as connection:
        assert connection.execute("SELECT id FROM probe").fetchall() == [(7,)]
        assert connection.execute("SELECT * FROM commands").fetchall() == [(1, "hash", "{}")]


def test_a_journal_of_a_newer_version_is_refused_untouched(tmp_path):
    path = tmp_path / "journal.sqlite3"
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()

    with pytest.raises(BootError, match="was written by a newer version"):
        close_after(path)

    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused_untouched(tmp_path):
    path = tmp_path / "theirs.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name)")
    before = path.read_bytes()

    with pytest.raises(BootError, match="not a journal of lambda-builder"):
        close_after(path)

    assert path.read_bytes() == before


def test_a_journal_without_its_tables_is_damaged(tmp_path):
    path = tmp_path / "journal.sqlite3"
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("DROP TABLE builds")

    with pytest.raises(TablesMissing):
        close_after(path)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (f"SELECT count(*) FROM builds WHERE {OPEN}", "COVERING INDEX builds_open"),
        (
            f"SELECT request FROM builds WHERE {OPEN} AND seq > 1 AND seq <= 9 ORDER BY seq",
            "builds_open",
        ),
        (f"SELECT count(*) FROM builds WHERE {SETTLED}", "COVERING INDEX builds_settled"),
        (
            f"SELECT seq FROM builds WHERE {SETTLED} AND settled_at < 1 ORDER BY settled_at",
            "builds_settled",
        ),
        (
            f"SELECT request FROM builds WHERE {SETTLED} AND state IN ('dead')"
            " ORDER BY settled_at DESC LIMIT 9",
            "builds_settled",
        ),
        ("SELECT request FROM builds WHERE job_name = 'a' OR correlation_id = 'a'", "MULTI-INDEX"),
        (
            "UPDATE builds SET attempts = new.column2 FROM (VALUES (1, 2), (3, 4)) AS new"
            f" WHERE builds.event_hash = new.column1 AND {OPEN}",
            "sqlite_autoindex_builds_1",
        ),
        ("SELECT min(due_at) FROM outbox WHERE destination = 'sink'", "outbox_due"),
        (
            "SELECT seq FROM audit WHERE refused = 1 ORDER BY seq DESC LIMIT 50 OFFSET 1000",
            "COVERING INDEX audit_refused",
        ),
    ],
)
def test_no_query_reads_a_whole_table(tmp_path, query, index):
    with contextlib.closing(connect_writer(tmp_path / "journal.sqlite3")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert any(index in step for step in plan), plan
    assert not any(step in ("SCAN builds", "SCAN outbox", "SCAN audit") for step in plan), plan


def test_the_log_of_a_file_that_had_none_is_there_as_soon_as_it_is_open(tmp_path):
    path = tmp_path / "journal.sqlite3"
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # as a rebuilt one is

    with contextlib.closing(connect_writer(path)):
        assert path.with_name(f"{path.name}-wal").exists()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_FSYNC])
def test_what_a_connection_believes_is_not_trusted_after_an_io_error(code):
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = code
    assert wants_new_connection(error)
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert not wants_new_connection(error)


def test_an_older_journal_of_a_killed_process_gets_a_new_log_before_it_is_brought_up_to_date(
    tmp_path, monkeypatch
):
    """What was not committed may stand behind the rest, and must not be written over."""
    path, killed = tmp_path / "journal.sqlite3", tmp_path / "killed"
    with monkeypatch.context() as older:
        older.setattr("lambda_builder.journal.sqlite.schema.MIGRATIONS", MIGRATIONS[:2])
        with contextlib.closing(connect_writer(path)) as connection:
            for number in range(200):
                connection.execute(
                    "INSERT INTO cancels VALUES (?, ?, ?)", (number, str(number), "")
                )
            killed.mkdir()
            for part in tmp_path.glob("journal.sqlite3*"):
                shutil.copy(part, killed / part.name)
    log = killed / "journal.sqlite3-wal"
    before = log.stat().st_size
    with contextlib.closing(connect_writer(killed / "journal.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM commands").fetchall() == [(200,)]
        assert 0 < log.stat().st_size < before
