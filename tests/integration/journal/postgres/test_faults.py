"""What the database does to whoever is connected, and how the journal takes it."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.journal import Claim
from lambda_builder.journal.changes import unavailable
from lambda_builder.journal.postgres import keeper, moves, store
from lambda_builder.journal.postgres.moves import tell
from lambda_builder.journal.values import AUDIT_KEPT, OpenReport
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.waiting import wait_until

BACK_SECONDS = 5.0
"""How soon all is well once the database is."""
KILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name LIKE 'lambda-builder%'"
)
CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE 'lambda-builder%'"
)
RAISE = """
    CREATE SEQUENCE IF NOT EXISTS tries;
    CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER fail AFTER {acts} ON builds EXECUTE FUNCTION fail();
"""


def event_hash(number):
    return make_request(number).event_hash


def try_to_record(journal, *numbers):
    """Record builds; whether that was accepted."""
    try:
        known = journal.record([make_request(number) for number in numbers])
    except Refused:
        return False
    assert known == {}
    return True


@pytest.fixture
def fault(postgres_server, journal_database):
    """Has the database fail on changes to builds: ``times`` times, then no more."""

    def fail(state, *, times, acts="INSERT OR UPDATE"):
        postgres_server.execute(
            RAISE.format(state=state, times=times, acts=acts), database=journal_database
        )

    yield fail
    postgres_server.execute(
        "DROP TRIGGER IF EXISTS fail ON builds; DROP SEQUENCE IF EXISTS tries",
        database=journal_database,
    )


@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_a_deadlock_and_a_serialization_failure_are_tried_again(replica, fault, state):
    journal = replica()
    fault(state, times=2)
    assert journal.record([make_request(1)]) == {}
    assert journal.attempt(event_hash(1), 1) is Claim.GRANTED
    journal.finish(make_result(1))
    assert journal.flush(10.0)
    assert journal.find(event_hash(1)).state is BuildState.CREATED
    assert journal.available


@pytest.mark.parametrize(
    ("state", "reason"),
    [("53100", "disk is full"), ("57014", "takes too long"), ("25006", "is read-only")],
)
def test_while_the_database_takes_nothing_events_are_refused_and_outcomes_are_kept(
    replica, fault, state, reason, capsys
):
    journal = replica()
    journal.record([make_request(1)])
    fault(state, times=10_000)
    with pytest.raises(Refused, match=reason) as refused:
        journal.record([make_request(2)])
    assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE
    assert not journal.available
    with pytest.raises(Refused, match=reason):
        journal.attempt(event_hash(1), 1)
    journal.finish(make_result(1), [make_message(1)])
    assert journal.find(event_hash(1)).state is BuildState.QUEUED

    fault_over(journal)
    assert journal.find(event_hash(1)).state is BuildState.CREATED
    assert journal.outbox.pending() == 1
    assert journal.record([make_request(2)]) == {}
    assert journal.available
    said = capsys.readouterr().out
    assert said.count("journal_unavailable") >= 1
    assert said.count("journal_available") >= 1


def fault_over(journal):
    """Have the fault end, and wait until all is written."""
    with journal._server.connect() as connection:
        connection.execute("DROP TRIGGER fail ON builds")
    assert journal.flush(BACK_SECONDS)


def test_a_row_that_cannot_be_stored_costs_only_itself(replica, fault):
    journal = replica()
    fault("23514", times=10_000, acts="INSERT")
    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(lambda number: try_to_record(journal, number), range(4)))
    assert journal.available


def test_a_lock_that_is_held_too_long_refuses_and_does_not_hang(
    replica, postgres_server, journal_database
):
    journal = replica()
    with postgres_server.connect(journal_database) as other, other.transaction():
        other.execute("LOCK TABLE builds")
        started = time.monotonic()
        with pytest.raises(Refused, match="locked"):
            journal.record([make_request(1)])
        assert 1.0 < time.monotonic() - started < 5.0
    wait_until(lambda: try_to_record(journal, 1), "the lock to be noticed gone", BACK_SECONDS)


def test_connections_that_are_cut_at_any_moment_lose_and_double_nothing(replica, database):
    journal = replica()
    accepted, cutting = set(), threading.Event()

    def cut():
        rng = random.Random(15)
        while not cutting.wait(rng.uniform(0.0, 0.1)):
            database(KILL)

    def build(number):
        # Some senders come again, others do not.
        for _ in range(200 if number % 4 else 1):
            if try_to_record(journal, number):
                accepted.add(number)
                outcome = make_result(number, job_uid=f"uid-{number}")
                journal.finish(outcome, [make_message(number)])
                return
            cutting.wait(0.02)

    killer = threading.Thread(target=cut)
    killer.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(400)))
    cutting.set()
    killer.join()
    wait_until(lambda: flushed(journal), "all to be written")

    stored = dict(database("SELECT event_hash, state FROM builds"))
    names = {number: event_hash(number) for number in range(400)}
    assert all(stored[names[number]] == "created" for number in accepted)
    assert len(accepted) >= 300
    # What was refused, and is there all the same, is made too: somebody may have been told.
    refused = {names[n] for n in range(400) if n not in accepted and names[n] in stored}
    assert {each.request.event_hash for each in journal.take_over(400)} == refused
    ((messages,),) = database("SELECT count(*) FROM outbox")
    assert messages == len(accepted)


def flushed(journal):
    with contextlib.suppress(Refused):
        return journal.flush(1.0) and journal.available and journal.left_open() >= 0
    return False


def test_an_answer_that_got_lost_is_not_asked_for_again(replica, monkeypatch):
    journal = replica()
    journal.record([make_request(0)])
    lane = journal._lanes[0]
    write, lost = lane._write, []

    def lose(connection, changes):
        write(connection, changes)
        if len(lost) < 5:  # as many tries as there are
            lost.append(connection)
            connection.close()
            connection.execute("SELECT 1")

    monkeypatch.setattr(lane, "_write", lose)
    with pytest.raises(Refused):
        journal.record([make_request(1)])
    assert journal.left_open() == 1

    # The sender comes again, and it counts as new here.
    assert journal.record([make_request(1)]) == {}
    assert journal.left_open() == 0
    assert [*journal.record([make_request(1)])] == [event_hash(1)]


@pytest.mark.parametrize("state", ["57014", "53100", "40P01", "23514"])
def test_a_new_event_that_was_refused_since_another_one_could_not_be_told_of_is_taken_again(
    replica, fault, state
):
    other, journal = replica(), replica()
    other.record([make_request(1)])
    fault(state, times=10_000, acts="UPDATE")
    with pytest.raises(Refused):
        journal.record([make_request(1), make_request(2)])
    fault_over(journal)
    # The sender's next try meets another replica, for which it is a duplicate.
    assert [*other.record([make_request(2)])] == [event_hash(2)]
    assert [build.request.event_id for build in journal.take_over(9)] == ["id-2"]


def test_builds_that_were_taken_when_the_answer_got_lost_are_taken_again(replica, monkeypatch):
    gone, heir = replica(), replica()
    gone.record([make_request(number) for number in range(4)])
    gone.close(10.0)
    lost = []

    def lose(connection, lease):
        if not lost:
            connection.execute("COMMIT")
            lost.append(connection)
            connection.close()
        tell(connection, lease)

    monkeypatch.setattr(moves, "tell", lose)
    first = heir.take_over(2)
    rest = heir.take_over(10)
    assert {build.request.event_id for build in [*first, *rest]} == {f"id-{n}" for n in range(4)}
    assert heir.left_open() == 0


def test_a_start_that_fails_half_way_leaves_nothing_and_may_be_tried_again(
    postgres_url, database, monkeypatch
):
    journal = shared_journal(postgres_url)
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "CHANNEL", "no name")
        with pytest.raises(BootError, match="syntax error"):
            journal.open()
    assert database("SELECT count(*) FROM replicas") == [(0,)]
    wait_until(lambda: database(CONNECTED) == [(0,)], "the connection to be gone")
    journal.open()
    assert database("SELECT count(*) FROM replicas") == [(1,)]
    assert try_to_record(journal, 1)
    assert journal.close(10.0)


def test_a_start_succeeds_though_nobody_knows_how_much_was_left(postgres_url, monkeypatch):
    journal = shared_journal(postgres_url)

    def left_open():
        raise unavailable("made up")

    monkeypatch.setattr(journal, "left_open", left_open)
    assert journal.open() == OpenReport(0)
    assert try_to_record(journal, 1)
    assert journal.close(10.0)


def test_what_was_done_is_kept_while_the_database_is_away_but_no_more_than_the_audit_holds(
    replica, database, monkeypatch
):
    journal = replica()
    lane = journal._lanes[1]
    write = lane._write

    def away(connection, changes):
        raise psycopg.errors.DiskFull("made up")

    monkeypatch.setattr(lane, "_write", away)
    monkeypatch.setattr(store, "_AUDIT_SECONDS", 0.01)
    monkeypatch.setitem(AUDIT_KEPT, False, 3)
    with pytest.raises(Refused):
        journal.attempt(event_hash(1), 1)
    for number in range(50):
        journal.note([b"%d" % number], refused=False)
    monkeypatch.setattr(lane, "_write", write)
    assert journal.flush(BACK_SECONDS)
    kept = {bytes(entry) for (entry,) in database("SELECT entry FROM audit")}
    assert {b"0", b"1", b"2"} <= kept
    # Some more may be under way while the next is judged, one for each attempt to write.
    assert len(kept) < 25


def test_the_lease_is_kept_quietly_with_any_number_of_open_files(replica):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        while not files or files[-1] < 1024:
            files.append(os.dup(0))
        journal = replica()
        assert journal._keeper._wake_out.fileno() > 1024
        journal._keeper._wait(time.monotonic() + 0.01)
        assert journal.close(10.0)
    finally:
        for each in files:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- a server that is stopped ----------------------------------------------------------------------


@pytest.fixture
def own(own_server):
    """A journal on a server that may be stopped."""
    journal = shared_journal(own_server.url(own_server.new_database()), lease_seconds=5.0)
    journal.open()
    yield journal
    journal.close(10.0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_after_a_restart_of_the_database_all_goes_on(own, own_server, how):
    own.record([make_request(1)])
    own_server.stop(how)
    started = time.monotonic()
    assert not try_to_record(own, 2)
    own.finish(make_result(1), [make_message(1)])
    wait_until(lambda: not own.available, "the outage to be noticed")
    with pytest.raises(Refused):
        own.find(event_hash(1))
    assert time.monotonic() - started < 4.0

    own_server.start()
    started = time.monotonic()
    wait_until(lambda: flushed(own), "all to be well", BACK_SECONDS)
    assert try_to_record(own, 2)
    assert own.find(event_hash(1)).state is BuildState.CREATED
    assert time.monotonic() - started < BACK_SECONDS
    assert own.stats()["leases_lost"] == 0


def test_connections_that_were_cut_while_nobody_used_them_are_not_noticed(own, own_server):
    own.record([make_request(1)])
    own.find(event_hash(1))
    own_server.execute(KILL)
    assert try_to_record(own, 2)
    assert own.find(event_hash(2)) is not None
    assert own.attempt(event_hash(2), 1) is Claim.GRANTED


def test_a_database_that_is_away_at_the_start_may_be_tried_again(own_server):
    journal = shared_journal(own_server.url(own_server.new_database()))
    own_server.stop()
    try:
        with pytest.raises(Refused) as refused:
            journal.open()
        assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE
        assert not journal.available
    finally:
        own_server.start()
    journal.open()
    assert journal.available
    assert try_to_record(journal, 1)
    assert journal.close(10.0)


def test_a_connection_limit_that_is_reached_refuses_until_there_is_room(own_server):
    name = own_server.new_database()
    own_server.execute(f"CREATE ROLE few LOGIN; ALTER DATABASE {name} OWNER TO few")
    journal = shared_journal(own_server.url(name, user="few"))
    journal.open()
    try:
        assert try_to_record(journal, 1)
        own_server.execute("ALTER ROLE few CONNECTION LIMIT 0")
        own_server.execute(KILL)
        with pytest.raises(Refused, match="too many connections"):
            journal.record([make_request(2)])
        own_server.execute("ALTER ROLE few CONNECTION LIMIT -1")
        wait_until(lambda: try_to_record(journal, 2), "room", BACK_SECONDS)
    finally:
        assert journal.close(10.0)


def test_a_password_is_read_anew_for_each_connection_and_shown_nowhere(
    own_server, tmp_path, capsys, caplog
):
    own_server.execute("CREATE ROLE locked LOGIN PASSWORD 'first-secret'")
    name = own_server.new_database()
    own_server.execute(f"ALTER DATABASE {name} OWNER TO locked")
    own_server.demand_password("locked")
    file = tmp_path / "password"
    file.write_text("wrong-secret\n")
    url = own_server.url(name, user="locked:url-secret")
    with pytest.raises(BootError, match="password authentication failed") as refused:
        shared_journal(url, password_file=file).open()

    file.write_text("first-secret\n")
    journal = shared_journal(url, password_file=file)
    journal.open()
    try:
        own_server.execute("ALTER ROLE locked PASSWORD 'second-secret'")
        file.write_text("second-secret")
        own_server.execute(KILL)
        wait_until(lambda: try_to_record(journal, 1), "the new password", BACK_SECONDS)
        file.unlink()
        own_server.execute(KILL)
        with pytest.raises(Refused, match="password cannot be read") as unread:
            journal.record([make_request(2)])
        file.write_text("second-secret")
        wait_until(lambda: try_to_record(journal, 2), "the password to be there", BACK_SECONDS)
        shown = [str(refused.value), str(unread.value), repr(journal._server), repr(vars(journal))]
    finally:
        assert journal.close(10.0)
    said = capsys.readouterr()
    assert "secret" not in "".join((*shown, said.out, said.err, caplog.text))
