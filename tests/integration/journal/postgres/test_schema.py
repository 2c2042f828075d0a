"""Which databases are taken for a journal, and how one becomes a journal."""

from __future__ import annotations

import contextlib
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lambda_builder.errors import BootError
from lambda_builder.journal.postgres import schema
from lambda_builder.journal.postgres.server import Connection, Server
from lambda_builder.journal.postgres.sessions import check_server
from tests.journals import make_request, shared_journal
from tests.waiting import wait_until


@pytest.fixture
def name(postgres_server):
    name = postgres_server.new_database()
    yield name
    postgres_server.drop_database(name)


def test_replicas_that_start_at_once_make_the_tables_once(postgres_server, name):
    journals = [shared_journal(postgres_server.url(name), f"{n}") for n in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda journal: journal.open(), journals))
        for number, journal in enumerate(journals):
            assert journal.record([make_request(number)]) == {}
    finally:
        for journal in journals:
            journal.close(10.0)
    version = postgres_server.execute("SELECT * FROM lambda_builder_schema", database=name)
    assert version == [(len(schema.MIGRATIONS),)]


def test_a_journal_of_a_newer_version_stops_the_start_and_is_left_as_it_is(postgres_server, name):
    with Server(postgres_server.url(name), name="replica").connect() as connection:
        schema.migrate(connection, name)
        connection.execute("UPDATE lambda_builder_schema SET version = 99")
    with pytest.raises(BootError, match=r"newer version \(schema 99"):
        shared_journal(postgres_server.url(name)).open()
    assert postgres_server.execute("SELECT count(*) FROM replicas", database=name) == [(0,)]


def test_tables_of_another_program_stop_the_start(postgres_server, name):
    postgres_server.execute("CREATE TABLE builds (id int)", database=name)
    with pytest.raises(BootError, match="a table builds that is not lambda-builder's"):
        shared_journal(postgres_server.url(name)).open()
    assert postgres_server.execute(
        "SELECT to_regclass('lambda_builder_schema')", database=name
    ) == [(None,)]


def test_whoever_waits_for_another_migration_keeps_its_patience(postgres_server, name, monkeypatch):
    monkeypatch.setattr(Connection, "patience_seconds", 0.3)
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with contextlib.closing(postgres_server.connect(name)) as other, ThreadPoolExecutor() as pool:
        other.execute("SELECT pg_advisory_lock(%s)", (schema.MIGRATING,))
        connection = Server(postgres_server.url(name), name="replica").connect()
        migrated = pool.submit(schema.migrate, connection, name)
        wait_until(lambda: other.execute(waiting).fetchall(), "the other one to wait")
        with pytest.raises(TimeoutError):
            migrated.result(1.0)
        other.execute("SELECT pg_advisory_unlock(%s)", (schema.MIGRATING,))
        migrated.result(10)
        connection.close()


def test_a_migration_is_made_whole_or_not_at_all(postgres_server, name, monkeypatch):
    shown = (*schema.MIGRATIONS, ("CREATE TABLE more (id int)", "SELECT no_such_thing()"))
    with Server(postgres_server.url(name), name="replica").connect() as connection:
        schema.migrate(connection, name)
    monkeypatch.setattr(schema, "MIGRATIONS", shown)
    with pytest.raises(BootError, match="no_such_thing"):
        shared_journal(postgres_server.url(name)).open()
    assert postgres_server.execute("SELECT to_regclass('more')", database=name) == [(None,)]


def test_a_database_that_is_not_there_or_may_not_be_used_stops_the_start(postgres_server, name):
    with pytest.raises(BootError, match="does not exist"):
        shared_journal(postgres_server.url("no_such_database")).open()
    postgres_server.execute("CREATE ROLE reader LOGIN")
    with pytest.raises(BootError, match="permission denied"):
        shared_journal(postgres_server.url(name, user="reader")).open()


@pytest.mark.parametrize("url", ["postgresql://u:secret%zz@h/db", "nonsense", "postgresql://h?x=1"])
def test_a_url_that_is_none_stops_the_start_and_is_not_shown(url):
    with pytest.raises(BootError, match="JOURNAL_URL is no PostgreSQL URL") as error:
        shared_journal(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@one:1,two:2/db", "postgresql://one:1,two:2/db"),
        ("postgresql://one,two:2/db?password=secret", "postgresql://one:5432,two:2/db"),
        ("postgresql://one,two/db", "postgresql://one:5432,two:5432/db"),
        ("postgresql:///db?host=one,two&port=7", "postgresql://one:7,two:7/db"),
    ],
)
def test_a_url_with_several_hosts_is_shown_without_its_password(url, shown):
    assert str(Server(url, name="replica")) == shown


def test_an_old_server_is_refused():
    connection: Any = types.SimpleNamespace(info=types.SimpleNamespace(server_version=140012))
    with pytest.raises(BootError, match="PostgreSQL 14; the journal needs 15 or newer"):
        check_server(connection, Server("postgresql://h/db", name="replica"))
