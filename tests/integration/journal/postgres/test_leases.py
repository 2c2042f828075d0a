"""A replica that is not heard of loses what it has to the others, and finds out."""

from __future__ import annotations

import pytest

from lambda_builder.builds import CommandRequest
from lambda_builder.errors import Refused
from lambda_builder.journal import Claim
from tests.journals import make_message, make_request, make_result
from tests.waiting import wait_until

LEASE_SECONDS = 0.5


def event_hash(number):
    return make_request(number).event_hash


def event_ids(builds):
    return [build.request.event_id for build in builds]


def make_command():
    return CommandRequest(
        event_id="cancel-1",
        event_source="source",
        event_type="network.notifi.lambda.build.cancel",
        correlation_id="correlation-1",
        job_name="build-x",
    )


def pause(journal):
    """Have nothing heard of a replica, as of one whose process was stopped."""
    journal._keeper.beat = lambda: None


def wake(journal):
    """Have a replica that was paused go on."""
    del journal._keeper.beat
    journal._keeper.wake()


@pytest.fixture
def two(replica):
    return replica(lease_seconds=LEASE_SECONDS), replica(lease_seconds=LEASE_SECONDS)


def test_builds_of_a_replica_that_is_not_heard_of_are_taken_over(two, capsys):
    paused, heir = two
    paused.record([make_request(1), make_request(2), make_request(3)])
    paused.attempt(event_hash(1), 2)
    assert heir.left_open() == 0
    pause(paused)

    wait_until(lambda: heir.left_open() == 3, "the lease to lapse")
    taken = heir.take_over(10)
    assert [(build.request.event_id, build.attempts) for build in taken] == [
        ("id-1", 2),
        ("id-2", 0),
        ("id-3", 0),
    ]
    wait_until(lambda: heir.others().replicas == 0, "the next look at the others")
    assert "replica_lapsed" in capsys.readouterr().out


def test_a_replica_that_wakes_up_has_nothing_and_can_go_on(two):
    paused, heir = two
    paused.record([make_request(1), make_request(2)])
    pause(paused)
    wait_until(lambda: heir.left_open() == 2, "the lease to lapse")
    assert event_ids(heir.take_over(1)) == ["id-1"]

    # Before it has noticed:
    assert paused.attempt(event_hash(1), 1) is Claim.MOVED
    assert paused.attempt(event_hash(2), 1) is Claim.MOVED
    paused.finish(make_result(1, job_uid="in vain"))
    with pytest.raises(Refused):
        paused.record([make_request(3)])
    wake(paused)
    wait_until(lambda: paused.stats()["leases_lost"] == 1, "a new lease")
    assert {*paused.moved()} == {event_hash(1), event_hash(2)}
    assert paused.flush(10.0)
    assert [result.job_uid for result in paused.overtaken()] == ["in vain"]

    # From then on it is as good as any other.
    wait_until(lambda: paused.available, "all to be well")
    assert paused.record([make_request(3)]) == {}
    assert paused.attempt(event_hash(3), 1) is Claim.GRANTED
    assert event_ids(paused.take_over(10)) == ["id-2"]
    assert paused.attempt(event_hash(2), 1) is Claim.GRANTED
    assert heir.attempt(event_hash(1), 1) is Claim.GRANTED
    wait_until(lambda: paused.available, "all to be well")


def test_a_replica_whose_lease_was_ended_asks_for_a_new_one_at_once(replica, database):
    journal = replica(lease_seconds=300.0)
    journal.record([make_request(1)])
    database("DELETE FROM replicas")

    with pytest.raises(Refused, match="lease"):
        journal.record([make_request(2)])
    wait_until(lambda: journal.available, "a new lease")
    assert journal.record([make_request(2)]) == {}
    assert {*journal.moved()} == {event_hash(1)}
    assert event_ids(journal.take_over(10)) == ["id-1"]


def test_where_all_were_silent_nobody_loses_anything(replica, database):
    one, other = replica(lease_seconds=3.0), replica(lease_seconds=3.0)
    for number, journal in enumerate((one, other)):
        journal.record([make_request(number)])
        pause(journal)
    database("UPDATE replicas SET alive_until = clock_timestamp() - interval '1 hour'")
    database(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'lambda-builder' || chr(37)"
    )
    wake(one)
    wait_until(lambda: alive(database) == 1, "one to say that it lives")
    wake(other)
    wait_until(lambda: alive(database) == 2, "the other to say so, too")

    assert one.attempt(event_hash(0), 1) is Claim.GRANTED
    assert other.attempt(event_hash(1), 1) is Claim.GRANTED
    assert one.left_open() == 0
    assert one.stats()["leases_lost"] == other.stats()["leases_lost"] == 0


def alive(database):
    ((count,),) = database("SELECT count(*) FROM replicas WHERE alive_until > clock_timestamp()")
    return count


def test_messages_and_commands_of_a_replica_that_is_gone_are_inherited(two):
    gone, heir = two
    gone.outbox.put([make_message(1), make_message(2, destination="dead_letter")], durable=True)
    command = make_command()
    gone.keep_commands([command])
    assert (heir.outbox.pending(), heir.commands(), gone.commands()) == (0, [], [])
    pause(gone)

    wait_until(lambda: heir.outbox.pending() == 2, "the messages to be inherited")
    assert [m.id for m in heir.outbox.due(heir.outbox.now(), 9, "sink")] == ["message-1"]
    assert heir.commands() == [command]
    assert heir.commands() == []


def test_messages_that_a_restart_of_the_database_gave_back_are_inherited_again(replica, database):
    heir = replica(lease_seconds=1.0)
    heir.outbox.put([make_message(1)], durable=True)
    wait_until(lambda: heir._neighbours._seen, "a first look")
    database("UPDATE outbox SET owner = -1")
    seen = heir._neighbours._seen
    database(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: heir._neighbours._seen != seen, "the next look")
    assert heir.outbox.pending() == 1


def test_a_command_is_forgotten_only_by_its_owner(replica, database):
    one, other = replica(), replica()
    one.keep_commands([make_command()])
    other.drop_command(make_command().event_hash)
    assert other.flush(10.0)
    assert database("SELECT count(*) FROM commands") == [(1,)]
    one.drop_command(make_command().event_hash)
    assert one.flush(10.0)
    assert database("SELECT count(*) FROM commands") == [(0,)]


def test_a_replica_that_stops_leaves_its_builds_at_once(replica):
    one, two = replica(lease_seconds=300.0), replica(lease_seconds=300.0)
    one.record([make_request(1)])
    two.wait_for_change(0.0)
    assert one.close(10.0)
    assert event_ids(two.take_over(10)) == ["id-1"]
    two.wait_for_change(10.0)
    wait_until(lambda: two.others().replicas == 0, "the other to be gone")
