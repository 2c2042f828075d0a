"""What a real server refuses: deadlocks, what cannot be serialized, a disk without space, and more
connections than it has.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import Claim
from lambda_builder.journal.postgres.schema import CLAIMING
from tests.disks import mounted
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.waiting import wait_until

from .senders import SENDERS, Senders

BACK_SECONDS = 5.0
"""How soon all is well once the database is."""
ACTIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lambda-builder%%'"
    " AND wait_event_type = 'Lock' AND datname = %s"
)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
COPY = (
    "INSERT INTO builds SELECT (jsonb_populate_record(builds, jsonb_build_object("
    "'event_hash', %s::text))).* FROM builds WHERE event_hash = %s"
)
ROW = (
    "INSERT INTO outbox (id, owner, destination, key, headers, body, due_at)"
    " VALUES (%s, 0, '', '', '', '', 0)"
)


def event_hash(number):
    return make_request(number).event_hash


def by_hash(*numbers):
    return sorted(numbers, key=event_hash)


@pytest.fixture
def other(postgres_server, journal_database):
    """Another session in the database, whose transactions survive deadlocks."""
    with postgres_server.connect(journal_database) as session:
        session.execute("SET deadlock_timeout = '1min'")
        yield session


@pytest.fixture
def blocked(postgres_server, journal_database):
    """Waits until so many sessions of journals wait for a lock."""

    def wait(count=1):
        wait_until(
            lambda: postgres_server.execute(ACTIVE, journal_database) == [(count,)],
            "a session to wait for a lock",
        )

    return wait


@pytest.fixture
def deadlocks(postgres_server, journal_database):
    """Waits until there was one more deadlock."""

    def count():
        return postgres_server.execute(DEADLOCKS, journal_database)[0][0]

    before = count()
    return lambda: wait_until(lambda: count() > before, "the deadlock to be counted")


@contextlib.contextmanager
def meanwhile(action, *arguments):
    """Do ``action`` in a thread; gives its future, which is done at the end."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(action, *arguments)


def test_a_deadlock_between_new_events_is_none_to_their_sender(
    replica, database, other, blocked, deadlocks, capsys
):
    journal = replica()
    journal.record([make_request(0)])
    low, high = by_hash(1, 2)
    with contextlib.ExitStack() as stack:
        with other.transaction(force_rollback=True):
            other.execute(COPY, (event_hash(high), event_hash(0)))
            requests = [make_request(low), make_request(high)]
            recorded = stack.enter_context(meanwhile(journal.record, requests))
            blocked()
            other.execute(COPY, (event_hash(low), event_hash(0)))
            deadlocks()
            assert not recorded.done()
        assert recorded.result(BACK_SECONDS) == {}
    assert "journal_unavailable" not in capsys.readouterr().out
    stored = database("SELECT event_hash, owner FROM builds")
    assert sorted(stored) == sorted((event_hash(n), journal._lease.id) for n in range(3))
    assert journal.take_over(9) == []


def test_a_deadlock_of_an_outcome_with_others_costs_and_doubles_nothing(
    replica, database, other, blocked, deadlocks, capsys
):
    journal = replica()
    journal.record([make_request(1)])
    assert journal.attempt(event_hash(1), 1) is Claim.GRANTED
    with other.transaction(force_rollback=True):
        other.execute(ROW, ("message-1",))
        journal.finish(make_result(1), [make_message(1)])
        blocked()
        other.execute("UPDATE builds SET attempts = 9 WHERE event_hash = %s", (event_hash(1),))
        deadlocks()
    assert journal.flush(BACK_SECONDS)
    assert "journal_unavailable" not in capsys.readouterr().out
    assert journal.find(event_hash(1)).state is BuildState.CREATED
    assert database("SELECT id FROM outbox") == [("message-1",)]
    assert database("SELECT attempts FROM builds") == [(1,)]


def test_what_cannot_be_serialized_is_tried_again(replica, database, other, blocked):
    journal = replica()
    journal.record([make_request(1), make_request(2)])
    lanes = [journal._lanes[0], journal._lanes[1]]
    journal.note([b"connects"], refused=False)
    for lane in lanes:
        lane._connection.execute("SET default_transaction_isolation = 'serializable'")
    seen = _errors_of(lanes)
    # A row that comes after the statement has begun, and one that is changed then.
    with contextlib.ExitStack() as stack:
        with other.transaction():
            other.execute(COPY, (event_hash(3), event_hash(1)))
            recorded = stack.enter_context(meanwhile(journal.record, [make_request(3)]))
            blocked()
        assert [*recorded.result(BACK_SECONDS)] == [event_hash(3)]
        with other.transaction():
            change = "UPDATE builds SET searched = searched || ' ' WHERE event_hash = %s"
            other.execute(change, (event_hash(2),))
            claimed = stack.enter_context(meanwhile(journal.attempt, event_hash(2), 1))
            blocked()
        assert claimed.result(BACK_SECONDS) is Claim.GRANTED
    assert seen == ["40001", "40001"]
    assert journal.available
    assert database("SELECT count(*) FROM builds") == [(3,)]
    assert journal.take_over(9) == []


def _errors_of(lanes):
    """Note the states of errors that lanes meet."""
    seen = []

    def noting(write):
        def note(connection, changes):
            try:
                write(connection, changes)
            except psycopg.Error as error:
                seen.append(error.sqlstate)
                raise

        return note

    for lane in lanes:
        lane._write = noting(lane._write)
    return seen


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_the_cap_of_jobs_holds_whatever_isolation_the_database_begins_with(
    own_server, other_database, level
):
    own_server.execute(
        f"ALTER DATABASE {other_database} SET default_transaction_isolation = '{level}'"
    )
    url = own_server.url(other_database)
    with contextlib.ExitStack() as stack:
        journals = [shared_journal(url, name, max_active=1) for name in ("first", "second")]
        for number, journal in enumerate(journals):
            journal.open()
            stack.callback(journal.close, 10.0)
            journal.record([make_request(number)])
        with own_server.connect(other_database) as session, ThreadPoolExecutor(2) as pool:
            session.execute("SELECT pg_advisory_lock(%s)", (CLAIMING,))
            claims = [
                pool.submit(journal.attempt, event_hash(number), 1)
                for number, journal in enumerate(journals)
            ]
            wait_until(lambda: own_server.execute(ACTIVE, other_database) == [(2,)], "both to wait")
            session.execute("SELECT pg_advisory_unlock(%s)", (CLAIMING,))
            granted = [claim.result() for claim in claims]
    assert sorted(granted, key=str) == sorted([Claim.GRANTED, Claim.NO_ROOM], key=str)


@pytest.fixture
def other_database(own_server):
    return own_server.new_database()


# -- a server without room ------------------------------------------------------------------------


@pytest.fixture
def small_disk(own_server):
    """A small disk, and a database on it."""
    with own_server.folder() as folder, mounted(folder / "disk", "24m") as place:
        own_server.own(place)
        own_server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        name = own_server.new_database(tablespace="small")
        yield place, name
        own_server.drop_database(name)
        own_server.execute("DROP TABLESPACE small")


def fill(place):
    """Leave no space; returns what takes it."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


def test_a_disk_without_space_refuses_and_loses_nothing_and_is_well_once_it_has_some(
    own_server, small_disk
):
    place, name = small_disk
    journal = shared_journal(own_server.url(name), lease_seconds=5.0)
    journal.open()
    try:
        journal.record([make_request(number) for number in range(3)])
        senders = Senders(journal)
        with senders.at_work():
            wait_until(lambda: senders.accepted, "a first event")
            ballast = fill(place)
            wait_until(lambda: len(senders.refused) > 5 * SENDERS, "events to be refused", 30)
            with pytest.raises(Refused, match="disk is full"):
                refused_at_last(journal)
            for number in range(3):
                # In memory where they need space.
                journal.finish(make_result(number), [make_message(number, body=b"x" * 9000)])
            assert journal.find(event_hash(0)) is not None
            ballast.unlink()
            _is_soon_well(journal, senders)
        assert journal.stats()["leases_lost"] == 0
        _check(journal, own_server, name, senders)
    finally:
        assert journal.close(10.0)


def test_while_there_are_no_connections_events_are_refused_and_nothing_is_lost(
    own_server, other_database
):
    own_server.execute("CREATE ROLE crowded LOGIN")
    own_server.execute(f"ALTER DATABASE {other_database} OWNER TO crowded")
    journal = shared_journal(own_server.url(other_database, user="crowded"), lease_seconds=5.0)
    journal.open()
    try:
        journal.record([make_request(number) for number in range(3)])
        senders = Senders(journal)
        with senders.at_work():
            wait_until(lambda: senders.accepted, "a first event")
            own_server.execute("ALTER ROLE crowded CONNECTION LIMIT 0")
            own_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'crowded'"
            )
            wait_until(lambda: len(senders.refused) > 5 * SENDERS, "events to be refused", 30)
            for number in range(3):
                journal.finish(make_result(number), [make_message(number)])
            with pytest.raises(Refused, match="too many connections"):
                journal.record([make_request(9)])
            with pytest.raises(Refused):
                journal.find(event_hash(0))
            own_server.execute("ALTER ROLE crowded CONNECTION LIMIT -1")
            _is_soon_well(journal, senders)
        assert journal.stats()["leases_lost"] == 0
        _check(journal, own_server, other_database, senders)
    finally:
        assert journal.close(10.0)


def _is_soon_well(journal, senders):
    deadline, before = time.monotonic() + BACK_SECONDS, len(senders.accepted)
    wait_until(lambda: len(senders.accepted) > before + SENDERS, "events", BACK_SECONDS)
    assert journal.flush(deadline - time.monotonic())
    wait_until(lambda: journal.available, "all to be well", deadline - time.monotonic())


def refused_at_last(journal):
    """Record builds until one is refused; what fits is left to others."""
    for number in range(500):
        journal.record([make_request(2_000_000 + number)])


def _check(journal, server, name, senders):
    rows = server.execute("SELECT event_hash, state FROM builds", database=name)
    stored = dict(rows)
    assert len(stored) == len(rows)
    assert all(stored[event_hash(number)] == "created" for number in range(3))
    assert {event_hash(number) for number in senders.accepted} <= {*stored}
    refused = {event_hash(number) for number in senders.refused}
    taken = {build.request.event_hash for build in journal.take_over(10_000)}
    assert taken == {*stored} & refused
    assert server.execute("SELECT count(*) FROM outbox", database=name) == [(3,)]
