"""Rows are read from a file's pages as SQLite reads them, and where SQLite no longer can."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_builder.journal.pages import Pages, Value
from lambda_builder.journal.schema import PAGE_SIZE, connect_writer

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.binary(max_size=40),
    st.integers(4000, 20_000).map(lambda size: b"x" * size),
)


@contextlib.contextmanager
def pages(path: Path) -> Iterator[Pages]:
    log_path = Path(f"{path}-wal")
    with contextlib.ExitStack() as files:
        database = files.enter_context(path.open("rb"))
        log = files.enter_context(log_path.open("rb")) if log_path.exists() else None
        yield Pages(database, log, log_path)


def rows_of(path: Path) -> dict[int, tuple[Value, ...]]:
    with pages(path) as found:
        return {
            record.rowid: record.values[1:]
            for record in found.records()
            if record.rowid is not None and len(record.values) == 4
        }


def create(path: Path) -> sqlite3.Connection:
    connection = connect_writer(path)
    connection.execute("CREATE TABLE mixed (id INTEGER PRIMARY KEY, a, b, c)")
    return connection


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.dictionaries(st.integers(1, 2**62), st.tuples(VALUES, VALUES, VALUES), max_size=40),
    checkpoint=st.booleans(),
)
def test_rows_of_any_kind_and_size_are_read_as_sqlite_reads_them(
    tmp_path_factory, rows, checkpoint
):
    path = tmp_path_factory.mktemp("pages") / "any.sqlite3"
    with contextlib.closing(create(path)) as connection:
        connection.executemany(
            "INSERT INTO mixed VALUES (?, ?, ?, ?)", [(key, *row) for key, row in rows.items()]
        )
        if checkpoint:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        assert rows_of(path) == rows


def test_deleted_rows_do_not_come_back(tmp_path):
    path = tmp_path / "deleted.sqlite3"
    with contextlib.closing(create(path)) as connection:
        connection.executemany(
            "INSERT INTO mixed VALUES (?, ?, 1, 1)", [(key, b"x" * 300) for key in range(1, 500)]
        )
        connection.execute("DELETE FROM mixed WHERE id > 20")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        assert sorted(rows_of(path)) == list(range(1, 21))


def test_an_index_tells_which_rows_there_should_be(tmp_path):
    path = tmp_path / "index.sqlite3"
    with contextlib.closing(create(path)) as connection:
        connection.execute("CREATE INDEX mixed_a ON mixed (a)")
        connection.executemany(
            "INSERT INTO mixed VALUES (?, ?, 1, 1)",
            [(key, f"name-{key}" + "x" * (key % 3000)) for key in range(1, 3000, 7)],
        )

        with pages(path) as found:
            entries = {record.values[1] for record in found.records() if record.rowid is None}

    assert set(range(1, 3000, 7)) <= entries


@pytest.mark.parametrize("page", [1, 2, 3, 5, 9])
def test_garbage_on_one_page_costs_only_the_rows_on_it(tmp_path, page):
    path = tmp_path / "garbage.sqlite3"
    with contextlib.closing(create(path)) as connection:
        connection.executemany(
            "INSERT INTO mixed VALUES (?, ?, 1, 1)", [(key, b"x" * 300) for key in range(1, 500)]
        )
    whole = rows_of(path)
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE)
        file.write(bytes((7 * index + 13) % 256 for index in range(PAGE_SIZE)))

    found = rows_of(path)

    assert found.items() <= whole.items()
    assert len(found) >= len(whole) - PAGE_SIZE // 300


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=3 * PAGE_SIZE), kind=st.sampled_from([0x0D, 0x0A, 0x02]))
def test_no_garbage_at_all_stops_the_reading(tmp_path_factory, data, kind):
    path = tmp_path_factory.getbasetemp() / "noise.sqlite3"
    path.write_bytes(bytes([kind]) + data)
    Path(f"{path}-wal").write_bytes(data)

    with pages(path) as found:
        assert all(record.values is not None for record in found.records())
