"""Several replicas over one database, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_builder.journal.postgres.store import PostgresJournal
from tests.journals import shared_journal
from tests.postgres_server import PostgresServer, running

Replica = Callable[..., PostgresJournal]


@pytest.fixture(scope="module")
def own_server(postgres_files: Path) -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running(postgres_files) as server:
        yield server


@pytest.fixture
def replica(postgres_url: str) -> Iterator[Replica]:
    """Opens a journal for another replica, with options of ``PostgresJournal``."""
    journals: list[PostgresJournal] = []

    def open_one(**options: Any) -> PostgresJournal:
        journal = shared_journal(postgres_url, f"replica-{len(journals) + 1}", **options)
        journal.open()
        journals.append(journal)
        return journal

    yield open_one
    for journal in journals:
        journal.close(10.0)


@pytest.fixture
def database(postgres_server, journal_database) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a query past the journals."""
    return lambda query, *arguments: postgres_server.execute(
        query, *arguments, database=journal_database
    )
