"""Too many bytes cost the oldest events, some more than needed, and no dead letter."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_builder.journal.changes import Change
from lambda_builder.journal.rows import message_row
from lambda_builder.journal.sqlite.outbox_bound import OutboxBound
from lambda_builder.journal.sqlite.schema import connect_writer
from lambda_builder.journal.sqlite.statements import Statements
from tests.journals import make_message

SIZE = 100
"""Bytes of each message, its headers ``{}`` included."""


@pytest.fixture
def connection(tmp_path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect_writer(tmp_path / "journal.sqlite3")) as connection:
        letter: dict[str, Any] = {"destination": "dead_letter", "headers": {}, "body": b"x" * 1000}
        messages = [make_message("first", **letter)]
        messages += [make_message(n, headers={}, body=b"x" * (SIZE - 2)) for n in range(1, 21)]
        change = Change(messages=[message_row(message) for message in messages])
        for statement in Statements().of([change]):
            connection.execute(*statement)
        yield connection


def left(connection: sqlite3.Connection) -> list[str]:
    return [message_id for (message_id,) in connection.execute("SELECT id FROM outbox")]


def test_what_there_is_for_the_sink_is_measured(connection):
    bound = OutboxBound()
    bound.measure(connection)
    assert bound.bytes == 20 * SIZE


def test_nothing_is_dropped_while_there_is_room(connection):
    bound = OutboxBound()
    bound.bytes = 1 << 40  # estimated too high

    bound.enforce(connection, 20 * SIZE)

    assert len(left(connection)) == 21
    assert (bound.bytes, bound.dropped) == (20 * SIZE, 0)


def test_beyond_the_most_the_oldest_go_and_an_eighth_more(connection):
    bound = OutboxBound()
    bound.measure(connection)

    bound.enforce(connection, 16 * SIZE)

    kept = left(connection)
    assert sorted(kept) == sorted(["message-first", *(f"message-{n}" for n in range(7, 21))])
    assert (bound.bytes, bound.dropped) == (14 * SIZE, 6)
    bound.measure(connection)
    bound.enforce(connection, 8 * SIZE)
    assert (bound.bytes, bound.dropped) == (7 * SIZE, 13)
