"""Builds and journals for tests."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    job_name,
    netstring_digest,
)
from lambda_builder.journal import OutboxMessage, SqliteJournal

if TYPE_CHECKING:
    from lambda_builder.journal.postgres.store import PostgresJournal


def make_request(number: int, **changes: Any) -> BuildRequest:
    """Return the build of event ``number``."""
    digest = netstring_digest("network.notifi.customer-1", f"id-{number}")
    fields: dict[str, Any] = {
        "event_id": f"id-{number}",
        "event_source": "network.notifi.customer-1",
        "event_type": "network.notifi.lambda.build.start",
        "parser_id": "parser-1",
        "third_party_id": "customer-1",
        "correlation_id": f"correlation-{number}",
        "event_hash": digest,
        "job_name": job_name("customer-1", "parser-1", digest),
        "accepted_at": 1_700_000_000.0 + number,
    }
    return BuildRequest(**{**fields, **changes})


def make_result(number: int, state: BuildState = BuildState.CREATED, **changes: Any) -> BuildResult:
    """Return an outcome of the build of event ``number``."""
    fields: dict[str, Any] = {"request": make_request(number), "state": state, "attempts": 1}
    if state is BuildState.DEAD:
        fields["error"] = BuildError("forbidden", "no such right")
    return BuildResult(**{**fields, **changes})


def make_message(number: int | str, key: str = "key", **changes: Any) -> OutboxMessage:
    """Return the outgoing message ``number``."""
    fields: dict[str, Any] = {
        "destination": "sink",
        "key": key,
        "headers": {"ce-id": f"message-{number}"},
        "body": b"body",
        "id": f"message-{number}",
    }
    return OutboxMessage(**{**fields, **changes})


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[SqliteJournal]:
    """Open the journal at ``path``; it is closed at the end."""
    journal = SqliteJournal(path, **{"keep_seconds": 3600.0, "keep_max": 100_000, **options})
    journal.open()
    try:
        yield journal
    finally:
        assert journal.close(10.0), "the journal could not write all"


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Look into a journal's file past the journal."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def open_ids(journal: SqliteJournal) -> list[str]:
    """Return the event ids of all open builds, in their order."""
    builds = journal.open_builds(after_seq=0, limit=1_000_000, up_to_seq=1 << 62)
    return [build.request.event_id for build in builds]


def shared_journal(url: str, name: str = "replica-1", **options: Any) -> PostgresJournal:
    """Return a journal in the database at ``url``; it is not open yet."""
    from lambda_builder.journal.postgres.store import PostgresJournal  # noqa: PLC0415

    defaults: dict[str, Any] = {
        "lease_seconds": 30.0,
        "capacity": 100,
        "max_active": 0,
        "keep_seconds": 3600.0,
        "keep_max": 100_000,
    }
    return PostgresJournal(url, name=name, **{**defaults, **options})
