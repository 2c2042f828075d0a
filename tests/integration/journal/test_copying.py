"""A journal that nobody uses, copied from a file to a database and back."""

from __future__ import annotations

import pytest

from lambda_builder.builds import SKIPPED, BuildError, BuildState, Priority
from lambda_builder.errors import BootError
from lambda_builder.journal import SqliteJournal
from lambda_builder.journal.copying import copy
from lambda_builder.journal.postgres.copying import DatabaseCopy
from tests.integration.journal.conformance.test_notes import command
from tests.journals import make_message, make_request, make_result, opened, raw, shared_journal


def file_url(path):
    return f"sqlite://{path}"


@pytest.fixture
def path(tmp_path):
    """A journal's file with some of everything."""
    path = tmp_path / "journal.sqlite3"
    skipped = make_result(8, error=BuildError(SKIPPED, "there is one"))
    with opened(path) as journal:
        journal.record([make_request(n, event=b"{}", priority=Priority.LOW) for n in (3, 1, 2)])
        journal.attempt(make_request(1).event_hash, 2)
        journal.record([make_request(4)], [skipped])
        journal.finish(make_result(2, BuildState.DEAD))
        journal.finish(make_result(4, job_uid="uid", created_at=1.5), [make_message(1)])
        journal.outbox.put([make_message(2, body=b"\0")])
        journal.keep_commands([command(1)])
        journal.note([b"done"], refused=False)
        journal.note([b"not done"], refused=True)
        assert journal.flush(10.0)
        journal.outbox.failed("message-1", journal.outbox.now() + 60.0)
    return path


COUNTS = {"builds": 5, "open": 2, "outbox": 2, "commands": 1, "audit": 2}


def test_a_file_copied_to_a_database_and_back_is_what_it_was(path, tmp_path, postgres_url):
    back = tmp_path / "back" / "journal.sqlite3"
    assert copy(file_url(path), postgres_url) == COUNTS
    assert copy(postgres_url, file_url(back)) == COUNTS

    for table in ("builds", "outbox", "commands", "audit"):
        assert content(back, table) == [[*map(nearly, row)] for row in content(path, table)]


def nearly(value):
    """Let a moment be one to the microsecond, as the database keeps it."""
    return pytest.approx(value, rel=0, abs=2e-6) if isinstance(value, float) else value


def content(path, table):
    """Return all rows but their numbers."""
    with raw(path) as connection:
        rows = connection.execute(f"SELECT * FROM {table} ORDER BY seq").fetchall()
    return [[*row[1:]] for row in rows]


def test_a_replica_goes_on_with_what_was_copied(path, postgres_url):
    copy(file_url(path), postgres_url)
    journal = shared_journal(postgres_url)
    report = journal.open()
    try:
        assert report.open_rows == 2
        builds = journal.take_over(10)
        assert [(b.request.event_id, b.attempts) for b in builds] == [("id-3", 0), ("id-1", 2)]
        assert builds[0].request.event == b"{}"
        assert journal.find(make_request(4).event_hash).job_uid == "uid"
        assert journal.commands() == [command(1)]
        assert journal.outbox.pending() == 2
        assert [*journal.record([make_request(2)])] == [make_request(2).event_hash]
        assert [entry for _, entry in journal.audit(before=None, limit=9)] == [b"not done", b"done"]
    finally:
        assert journal.close(10.0)


def test_a_target_that_is_not_empty_is_left_as_it_is(path, tmp_path, postgres_url):
    copy(file_url(path), postgres_url)
    with pytest.raises(BootError, match="not empty"):
        copy(file_url(path), postgres_url)
    before = content(path, "builds")
    with pytest.raises(BootError, match="not empty"):
        copy(postgres_url, file_url(path))
    assert content(path, "builds") == before


def test_what_is_in_use_is_not_copied(path, tmp_path, postgres_url):
    with opened(path), pytest.raises(BootError, match="held by process"):
        copy(file_url(path), postgres_url)
    journal = shared_journal(postgres_url, "replica-7")
    journal.open()
    try:
        with pytest.raises(BootError, match="in use by replica replica-7"):
            copy(file_url(path), postgres_url)
        with pytest.raises(BootError, match="in use by replica replica-7"):
            copy(postgres_url, file_url(tmp_path / "new.sqlite3"))
    finally:
        journal.close(10.0)


def test_a_copy_that_fails_leaves_nothing_behind(path, postgres_url, monkeypatch):
    add = DatabaseCopy.add_rows

    def fail(self, table, rows):
        if table == "audit":
            raise OSError("no more")
        add(self, table, rows)

    monkeypatch.setattr(DatabaseCopy, "add_rows", fail)
    with pytest.raises(BootError, match="no more"):
        copy(file_url(path), postgres_url)
    monkeypatch.undo()
    assert copy(file_url(path), postgres_url) == COUNTS


def test_what_is_no_journal_is_said_to_be_none(tmp_path, postgres_url):
    with pytest.raises(BootError, match="there is no journal"):
        copy(file_url(tmp_path / "none"), postgres_url)
    with pytest.raises(BootError, match="sqlite:///path or postgresql"):
        copy("mysql://host/db", postgres_url)
    with pytest.raises(BootError, match="cannot be used"):
        copy(postgres_url, "postgresql://127.0.0.1:1/nothing")
    assert not (tmp_path / "none").exists()


def test_a_file_of_many_builds_is_copied_in_pages(tmp_path, postgres_url):
    path = tmp_path / "many.sqlite3"
    journal = SqliteJournal(path, keep_seconds=3600.0, keep_max=10_000)
    journal.open()
    journal.record([make_request(number) for number in range(450)])
    assert journal.close(10.0)
    assert copy(file_url(path), postgres_url)["open"] == 450
    shared = shared_journal(postgres_url)
    shared.open()
    order = [build.request.event_id for build in shared.take_over(450)]
    shared.close(10.0)
    assert order == [f"id-{number}" for number in range(450)]
