"""What every journal has to be: the same tests over each that keeps something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_builder.journal import Journal, SqliteJournal
from tests.journals import shared_journal

Store = Callable[[], Journal]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Opens the same journal again and again, as one process after the other would."""
    opened: list[Journal] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""

    def make() -> Journal:
        if url:
            return shared_journal(url)
        path = tmp_path / "journal.sqlite3"
        journal: Journal = SqliteJournal(path, keep_seconds=3600.0, keep_max=100_000)
        return journal

    def open_again() -> Journal:
        for journal in opened:
            assert journal.close(10.0), "the journal could not write all"
        journal = make()
        journal.open()
        opened.append(journal)
        return journal

    yield open_again
    for journal in opened:
        journal.close(10.0)


@pytest.fixture
def journal(store: Store) -> Journal:
    """A journal that is open."""
    return store()
