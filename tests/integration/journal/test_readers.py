"""Reading connections: kept for the next query, never outliving the file they belong to."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.journal.sqlite.readers import Readers
from lambda_builder.journal.sqlite.schema import connect_writer
from tests.waiting import wait_until

SLOW = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000)"
    " SELECT count(*) FROM n"
)


@pytest.fixture
def readers(tmp_path) -> Iterator[Readers]:
    path = tmp_path / "journal.sqlite3"
    connect_writer(path).close()
    readers = Readers(path)
    readers.resume()
    yield readers
    assert readers.suspend(30.0, "the test is over")


def test_many_threads_read_at_once(readers):
    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(lambda n: readers.fetch("SELECT ?", (n,)), range(500)))

    assert answers == [[(number,)] for number in range(500)]


def test_a_query_that_fails_costs_no_connection(readers):
    for _ in range(50):
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            readers.fetch("SELECT 1 FROM missing")

    assert readers.fetch("SELECT 1") == [(1,)]


def test_nobody_can_write_through_them(readers):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        readers.fetch("DELETE FROM builds")


def test_no_query_is_let_in_while_they_are_suspended(readers):
    assert readers.suspend(1.0, "the file is being replaced")

    with pytest.raises(sqlite3.OperationalError, match="the file is being replaced"):
        readers.fetch("SELECT 1")

    readers.resume()
    assert readers.fetch("SELECT 1") == [(1,)]


def test_suspending_tells_when_a_query_is_still_under_way(readers):
    query = threading.Thread(target=readers.fetch, args=(SLOW,))
    query.start()
    wait_until(lambda: readers._lent)

    assert not readers.suspend(0.0, "too early")

    query.join(60.0)
    assert readers.suspend(0.0, "now")


def test_no_more_than_a_few_connections_are_kept_for_the_next_query(readers):
    lent = [readers._borrow() for _ in range(20)]
    for connection in lent:
        readers._give_back(connection)

    closed = 0
    for connection in lent:
        try:
            connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            closed += 1
    assert closed == 12
