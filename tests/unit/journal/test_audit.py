"""The audit's entries in a journal and without one: bounded, and in the order they came."""

from __future__ import annotations

import pytest

from lambda_builder.journal import NoJournal, SqliteJournal
from lambda_builder.journal.changes import Change
from lambda_builder.journal.sqlite.housekeeping import Housekeeping
from lambda_builder.journal.sqlite.schema import connect_writer
from tests.journals import opened


@pytest.fixture(params=["journal", "memory"])
def journal(request, tmp_path):
    if request.param == "memory":
        yield NoJournal()
        return
    with opened(tmp_path / "journal.sqlite3") as journal:
        yield journal


def noted(journal, **query):
    assert journal.flush(10)
    return [entry for _, entry in journal.audit(**{"before": None, "limit": 100, **query})]


def test_entries_of_both_kinds_come_newest_first_page_by_page(journal):
    for number in range(6):
        journal.note([b"%d" % number], refused=number % 2 == 0)
    assert noted(journal) == [b"5", b"4", b"3", b"2", b"1", b"0"]
    page = journal.audit(before=None, limit=2)
    assert [entry for _, entry in page] == [b"5", b"4"]
    assert noted(journal, before=page[-1][0], limit=2) == [b"3", b"2"]


def test_what_is_refused_pushes_out_nothing_that_was_done(monkeypatch, tmp_path):
    for module in ("memory", "sqlite.housekeeping"):
        monkeypatch.setattr(f"lambda_builder.journal.{module}.AUDIT_KEPT", {False: 60, True: 3})
    memory = NoJournal()
    rows = [(int(number % 2 == 0), b"%d" % number) for number in range(400)]
    for refused, entry in rows:
        memory.note([entry], refused=bool(refused))
    path = tmp_path / "journal.sqlite3"
    connection = connect_writer(path)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO audit (refused, entry) VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    housekeeping = Housekeeping(60.0, 100)
    housekeeping.start_round()
    while housekeeping.pause() == 0:
        housekeeping.run(connection, idle=True)
    connection.close()
    with opened(path) as journal:
        assert noted(journal) == noted(memory)
    done = [number for number in range(400) if number % 2][-60:]
    expected = sorted([*done, 394, 396, 398], reverse=True)
    assert noted(memory) == [b"%d" % number for number in expected]


def test_what_is_refused_waits_for_no_disk(tmp_path, monkeypatch):
    with opened(tmp_path / "journal.sqlite3") as journal:
        monkeypatch.setattr(SqliteJournal, "available", False)
        for _ in range(100):
            journal.note([b"{}"], refused=True)
        journal.note([b"1"], refused=False)
        assert noted(journal) == [b"1"]


def test_an_entry_counts_for_what_a_change_writes():
    change = Change(audit=[(0, b"x" * 100), (1, b"y")])
    assert (change.rows, change.bytes, change.intake) == (2, 101, False)
