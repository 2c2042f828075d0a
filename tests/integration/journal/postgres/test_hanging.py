"""A database that takes what it is asked, and does not answer."""

from __future__ import annotations

import contextlib
import time

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal.postgres.server import Connection
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.waiting import wait_until

from .senders import SENDERS, Senders

PATIENCE_SECONDS = 0.5
CONNECT_SECONDS = 2.0
"""The shortest that libpq knows."""
REFUSED_SECONDS = PATIENCE_SECONDS + CONNECT_SECONDS + 2.0
"""How soon a caller is refused, on a crowded machine."""
BACK_SECONDS = 5.0
"""How soon all is well once the database is."""
STANDBY = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
NO_STANDBY = "ALTER SYSTEM RESET synchronous_standby_names"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def event_hash(number):
    return make_request(number).event_hash


@pytest.fixture
def name(own_server):
    return own_server.new_database()


@pytest.fixture
def own(own_server, name, monkeypatch):
    """A journal that soon loses patience."""
    monkeypatch.setattr(Connection, "patience_seconds", PATIENCE_SECONDS)
    url = f"{own_server.url(name)}?connect_timeout={CONNECT_SECONDS:.0f}"
    journal = shared_journal(url, lease_seconds=5.0)
    journal.open()
    yield journal
    journal.close(10.0)


@contextlib.contextmanager
def without_standby(server):
    """Have commits wait for a standby that is not there."""
    server.execute(STANDBY)
    server.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.execute(NO_STANDBY)
        server.execute("SELECT pg_reload_conf()")


def refused_in_time(action, *arguments):
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        action(*arguments)
    assert time.monotonic() - started < REFUSED_SECONDS
    assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE


def all_is_well(journal):
    with contextlib.suppress(Refused):
        return journal.available and journal.flush(1.0) and journal.left_open() >= 0
    return False


def check_rows(journal, server, name, senders):
    """Each event that was accepted is there once; those refused that are there are taken again."""
    rows = server.execute("SELECT event_hash FROM builds WHERE state = 'queued'", database=name)
    stored = {each for (each,) in rows}
    accepted = {event_hash(number) for number in senders.accepted}
    refused = {event_hash(number) for number in senders.refused}
    assert accepted <= stored <= accepted | refused
    taken = {build.request.event_hash for build in journal.take_over(10_000)}
    assert taken == stored - accepted
    assert journal.take_over(10) == []


def test_while_the_database_is_frozen_nobody_waits_for_long_and_nothing_is_lost(
    own, own_server, name
):
    own.record([make_request(1), make_request(2)])
    senders = Senders(own)
    with senders.at_work():
        wait_until(lambda: senders.accepted, "a first event")
        with own_server.frozen():
            own.finish(make_result(1), [make_message(1)])
            refused_in_time(own.attempt, event_hash(2), 1)
            refused_in_time(own.find, event_hash(1))
            wait_until(lambda: len(senders.refused) > 2 * SENDERS, "events to be refused")
            wait_until(lambda: own._health.failure_of("lease"), "the keeper to notice")
            assert not own.available
        wait_until(lambda: all_is_well(own), "all to be well", BACK_SECONDS)
        before = len(senders.accepted)
        wait_until(lambda: len(senders.accepted) > before, "events to be taken", BACK_SECONDS)
    assert senders.longest < REFUSED_SECONDS
    assert own.find(event_hash(1)).state is BuildState.CREATED
    assert own.stats()["leases_lost"] == 0
    own.forget(event_hash(2))
    wait_until(lambda: own.find(event_hash(2)) is None, "the other one to be forgotten")
    check_rows(own, own_server, name, senders)
    assert own_server.execute("SELECT count(*) FROM outbox", database=name) == [(1,)]


def test_where_a_commit_waits_for_a_standby_that_is_gone_nobody_waits_for_long(
    own, own_server, name
):
    own.record([make_request(1)])
    senders = Senders(own)
    with senders.at_work():
        wait_until(lambda: senders.accepted, "a first event")
        with without_standby(own_server):
            wait_until(lambda: len(senders.refused) > 2 * SENDERS, "events to be refused")
            # What need not outlast a failover goes on, and nothing locks what the lease hangs on.
            with contextlib.closing(own._server.connect()) as connection:
                own._lease.touch(connection)
            own.finish(make_result(1), [make_message(1)])
            wait_until(lambda: own.find(event_hash(1)).state is BuildState.CREATED, "the outcome")
            refused_in_time(own.reopen, make_request(3))
            senders.refused.add(3)
            wait_until(lambda: len(senders.refused) > 20 * SENDERS, "many to be refused")
            # One for each lane: what hangs is not asked again and again.
            assert own_server.execute(WAITING)[0][0] <= 2
        wait_until(lambda: all_is_well(own), "all to be well", BACK_SECONDS)
        before = len(senders.accepted)
        wait_until(lambda: len(senders.accepted) > before, "events to be taken", BACK_SECONDS)
    assert senders.longest < REFUSED_SECONDS
    assert own.stats()["leases_lost"] == 0
    check_rows(own, own_server, name, senders)
