"""A database that takes what it is asked, and does not answer."""

from __future__ import annotations

import contextlib
import math
import threading
import time

import psycopg
import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal.postgres.server import Backend, Connection
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.pgbouncer import pgbouncer
from tests.programs import needs
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
def impatient(monkeypatch):
    """Opens a journal that soon loses patience."""
    monkeypatch.setattr(Connection, "patience_seconds", PATIENCE_SECONDS)
    with contextlib.ExitStack() as stack:

        def open_one(url):
            url = f"{url}?connect_timeout={CONNECT_SECONDS:.0f}"
            journal = shared_journal(url, lease_seconds=5.0)
            journal.open()
            stack.callback(journal.close, 10.0)
            return journal

        yield open_one


@pytest.fixture
def own(own_server, name, impatient):
    return impatient(own_server.url(name))


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


@needs("pgbouncer")
def test_what_hangs_behind_a_pooler_is_not_asked_again_and_again(own_server, name, impatient):
    with pgbouncer(own_server, name, "session") as url:
        journal = impatient(url)
        senders = Senders(journal)
        with senders.at_work():
            wait_until(lambda: senders.accepted, "a first event")
            with without_standby(own_server):
                # With the outcomes' lane two, of which one has nothing to do.
                wait_until(lambda: len(senders.refused) > 20 * SENDERS, "many to be refused")
                assert own_server.execute(WAITING) == [(1,)]
            wait_until(lambda: all_is_well(journal), "all to be well", BACK_SECONDS)
            before = len(senders.accepted)
            wait_until(lambda: len(senders.accepted) > before, "events", BACK_SECONDS)
        assert senders.longest < REFUSED_SECONDS
        check_rows(journal, own_server, name, senders)
        journal.close(10.0)


@pytest.fixture
def busy(own_server):
    """A session that is asked something which takes long; ``Backend`` of it."""
    with own_server.connect() as session:
        query = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ((started,),) = session.execute(f"SELECT extract(epoch FROM ({query}))").fetchall()
        backend = Backend(session.info.backend_pid, started)

        def ask():
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                session.execute("SELECT pg_sleep(60)")

        asking = threading.Thread(target=ask)
        asking.start()
        active = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
        wait_until(lambda: own_server.execute(active, backend.pid), "it to be asked")
        yield backend
        own_server.execute("SELECT pg_cancel_backend(%s)", backend.pid)
        asking.join(10)


def test_what_hangs_holds_up_others_until_it_ends(own, own_server, busy):
    lane = own._lanes[0]
    lane._hung, lane._hung_until = busy, math.inf
    refused_in_time(own.record, [make_request(1)])
    own_server.execute("SELECT pg_cancel_backend(%s)", busy.pid)
    wait_until(lambda: taken(own, 1), "the event to be taken", BACK_SECONDS)


def test_another_session_with_the_process_id_of_what_hung_holds_up_nobody(own, busy):
    # As after a failover to another server, or where ids are given anew.
    lane = own._lanes[0]
    lane._hung, lane._hung_until = busy._replace(started_at=busy.started_at - 1), math.inf
    assert taken(own, 1)


def test_a_session_that_hung_and_is_lent_again_by_a_pooler_holds_up_nobody(own):
    assert taken(own, 1)
    lane = own._lanes[0]
    lane._hung, lane._hung_until = lane._connection.backend, math.inf
    assert taken(own, 2)


def taken(journal, number):
    with contextlib.suppress(Refused):
        return journal.record([make_request(number)]) == {}
    return False
