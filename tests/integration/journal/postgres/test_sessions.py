"""A connection has to keep its session: a pooler that lends sessions by transaction is refused."""

from __future__ import annotations

import contextlib
from typing import cast

import psycopg
import pytest

from lambda_builder.errors import BootError
from lambda_builder.journal.postgres.server import Connection, Server
from lambda_builder.journal.postgres.sessions import keeps_session
from tests.journals import shared_journal


class Pooled:
    """A connection through a pooler that lends a session for the time of one transaction."""

    def __init__(self, free: list[psycopg.Connection]) -> None:
        self._free = free
        self._held: psycopg.Connection | None = None
        self.info = free[0].info

    @contextlib.contextmanager
    def transaction(self):
        self._held = self._free.pop(0)
        try:
            yield
        finally:
            self._free.insert(0, self._held)
            self._held = None

    def execute(self, query, arguments=None):
        if self._held is not None:
            return self._held.execute(query, arguments)
        with self.transaction():
            return self.execute(query, arguments)

    def notifies(self, **_):
        return iter(())

    def close(self):
        pass


@pytest.fixture
def sessions(postgres_server):
    with postgres_server.connect() as one, postgres_server.connect() as two:
        yield [one, two]


def test_own_sessions_are_kept(sessions):
    assert keeps_session(*sessions)


def test_sessions_that_go_from_one_to_another_are_noticed(sessions):
    one, other = cast("list[Connection]", [Pooled(sessions), Pooled(sessions)])
    assert not keeps_session(one, other)


def test_a_session_that_hears_nothing_is_noticed(sessions, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.postgres.sessions._HEARING_SECONDS", 0.1)
    monkeypatch.setattr(sessions[0], "notifies", lambda **_: iter(()))
    assert not keeps_session(*sessions)


def test_a_pooler_in_transaction_mode_stops_the_start(postgres_url, sessions, monkeypatch):
    monkeypatch.setattr(Server, "connect", lambda _self: Pooled(sessions))
    with pytest.raises(BootError, match="pooler in transaction mode"):
        shared_journal(postgres_url).open()
