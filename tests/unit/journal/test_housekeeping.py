"""The file stays small: what is trimmed, and that pages go back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from lambda_builder.journal.changes import Change
from lambda_builder.journal.rows import request_row, result_row
from lambda_builder.journal.sqlite.housekeeping import Housekeeping
from lambda_builder.journal.sqlite.schema import connect_writer
from lambda_builder.journal.sqlite.statements import Statements
from tests.journals import make_request, make_result


@pytest.fixture
def connection(tmp_path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect_writer(tmp_path / "journal.sqlite3")) as connection:
        yield connection


@pytest.fixture
def write(connection):
    statements = Statements()

    def write_all(*changes: Change) -> None:
        for statement in statements.of(changes):
            connection.execute(*statement)

    return write_all


def settled(numbers: range, at: float) -> Change:
    return Change(finishes=[result_row(make_result(number), at) for number in numbers])


def run_a_round(connection: sqlite3.Connection, housekeeping: Housekeeping) -> None:
    housekeeping.start_round()
    for _ in range(10_000):
        housekeeping.run(connection, idle=True)
        if housekeeping.pause() > 0:
            return
    pytest.fail("the round never ends")


def count(connection: sqlite3.Connection) -> int:
    ((rows,),) = connection.execute("SELECT count(*) FROM builds").fetchall()
    return int(rows)


def test_only_what_settled_long_enough_ago_goes(connection, write):
    write(settled(range(500), at=100.0))
    write(Change(finishes=[result_row(make_result(700), 200.0)]))
    housekeeping = Housekeeping(60.0, 1000, clock=lambda: 161.0)

    run_a_round(connection, housekeeping)

    assert count(connection) == 1
    assert housekeeping.trimmed == 500


def test_builds_that_wait_are_never_trimmed_however_old_and_many(connection, write):
    rows = [request_row(make_request(number)) for number in range(50)]
    write(Change(records=rows))

    run_a_round(connection, Housekeeping(1.0, 1, clock=lambda: 1e12))

    assert count(connection) == 50


@pytest.mark.parametrize("builds", [30, 31, 81, 700])  # 81: one more than a slice
def test_beyond_the_most_that_are_kept_the_oldest_outcomes_go(connection, write, builds):
    for number in range(builds):
        write(Change(finishes=[result_row(make_result(number), 1000.0 - number)]))

    run_a_round(connection, Housekeeping(1e6, 30, clock=lambda: 1000.0))

    ages = connection.execute("SELECT settled_at FROM builds ORDER BY settled_at").fetchall()
    assert [age for (age,) in ages] == [1000.0 - number for number in reversed(range(30))]


def test_the_file_shrinks_once_a_flood_was_trimmed(connection, write):
    def pages() -> int:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])

    for first in range(0, 3000, 100):
        results = [
            make_result(n, request=make_request(n, event=b"x" * 8000))
            for n in range(first, first + 100)
        ]
        write(Change(finishes=[result_row(result, 1.0) for result in results]))
    flood = pages()

    run_a_round(connection, Housekeeping(1.0, 10, clock=lambda: 100.0))

    assert count(connection) == 0
    assert pages() < flood / 2


def test_a_full_log_is_moved_into_the_file_without_waiting_for_a_round(connection, write):
    housekeeping = Housekeeping(1.0, 10)
    write(settled(range(10), at=1.0))

    assert housekeeping.pause() > 0
    housekeeping.wrote(rows=1, size=8_000_000)
    assert housekeeping.pause() == 0
    housekeeping.run(connection, idle=False)

    ((_, logged, moved),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert logged == moved
    assert housekeeping.pause() > 0


def test_a_busy_journal_is_trimmed_in_slices_with_a_breath_between(connection, write, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.housekeeping._BREATH_SECONDS", 60.0)
    write(settled(range(1000), at=1.0))
    housekeeping = Housekeeping(1.0, 10, clock=lambda: 100.0)
    housekeeping.start_round()

    housekeeping.run(connection, idle=False)
    first = housekeeping.trimmed
    housekeeping.run(connection, idle=False)

    assert 0 < first < 1000
    assert housekeeping.trimmed == first


@pytest.mark.parametrize(("short", "given_back"), [(False, False), (True, True)])
def test_a_few_free_pages_are_kept_unless_the_volume_is_full(connection, write, short, given_back):
    def pages() -> int:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])

    write(settled(range(500), at=1.0))
    before = pages()
    housekeeping = Housekeeping(1.0, 10, clock=lambda: 100.0)
    if short:
        housekeeping.short = True

    run_a_round(connection, housekeeping)

    assert count(connection) == 0
    assert (pages() < before / 2) is given_back
