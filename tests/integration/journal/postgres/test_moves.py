"""Builds that change owners, and what the one who had them may still do."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.builds import BuildState, Priority, digest_bytes
from lambda_builder.journal import Claim, JobOf
from lambda_builder.journal.postgres import moves
from tests.journals import make_message, make_request, make_result
from tests.waiting import wait_until


def event_hash(number):
    return make_request(number).event_hash


def event_ids(builds):
    return [build.request.event_id for build in builds]


def job(number, uid):
    return JobOf(make_request(number).job_name, digest_bytes(event_hash(number)), uid)


def test_no_replica_may_begin_with_a_build_of_another(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    assert two.attempt(event_hash(1), 1) is Claim.MOVED
    assert two.attempt(event_hash(2), 1) is Claim.MOVED
    assert one.find(event_hash(1)).attempts == 0


def test_a_build_of_a_live_replica_moves_only_to_whoever_says_so(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    assert two.take(event_hash(1), from_others=False) is None
    assert one.moved() == []

    assert two.take(event_hash(1), from_others=True).request == make_request(1)
    assert one.moved() == [event_hash(1)]
    assert two.moved() == []
    assert one.attempt(event_hash(1), 1) is Claim.MOVED
    assert two.attempt(event_hash(1), 1) is Claim.GRANTED
    one.forget(event_hash(1))
    one.take_back_attempt(event_hash(1), 0, has_job=False)
    assert one.flush(10.0)
    assert one.find(event_hash(1)).attempts == 1


def test_whoever_had_a_build_hears_at_once_that_it_is_gone(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    one.wait_for_change(0.0)
    heard = []

    def wait():
        while not one.moved():
            one.wait_for_change(10.0)
        heard.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    two.take(event_hash(1), from_others=True)
    taken = time.monotonic()
    waiting.join(10.0)
    assert heard[0] - taken < 2.0


def test_an_outcome_of_a_build_that_moved_is_not_stored_nor_told_of(replica):
    one, two = replica(), replica()
    one.record([make_request(1), make_request(2)])
    one.attempt(event_hash(1), 1)
    two.take(event_hash(1), from_others=True)

    stale = make_result(1, job_uid="uid-of-one")
    one.finish(stale, [make_message(1)])
    one.finish(make_result(2), [make_message(2)])
    assert one.flush(10.0)
    assert one.find(event_hash(1)).state is BuildState.QUEUED
    assert one.find(event_hash(2)).state is BuildState.CREATED
    assert [m.id for m in one.outbox.due(one.outbox.now(), 9, "sink")] == ["message-2"]
    assert one.overtaken() == [stale]
    assert one.overtaken() == []


def test_what_was_cancelled_elsewhere_stays_cancelled_and_its_job_is_unwanted(replica):
    one, two = replica(), replica()
    one.record([make_request(1), make_request(2)])
    one.attempt(event_hash(1), 1)
    two.take(event_hash(1), from_others=True)
    two.finish(make_result(1, BuildState.CANCELLED))
    assert two.flush(10.0)

    made = make_result(1, job_uid="uid-in-vain")
    one.finish(made)
    assert one.flush(10.0)
    assert two.find(event_hash(1)).state is BuildState.CANCELLED
    assert one.overtaken() == [made]
    jobs = [job(2, "uid-2"), job(1, "uid-in-vain"), job(7, "uid-7")]
    assert two.unwanted(jobs) == [job(1, "uid-in-vain")]


def test_a_job_beside_that_of_a_build_that_went_again_is_unwanted(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    one.finish(make_result(1, BuildState.FAILED, job_uid="first"))
    assert one.flush(10.0)
    assert two.reopen(make_request(1)) is True
    assert one.reopen(make_request(1)) is False
    assert one.moved() == [event_hash(1)]

    one.finish(make_result(1, BuildState.SUCCEEDED, job_uid="first"))
    assert one.flush(10.0)
    assert two.find(event_hash(1)).state is BuildState.QUEUED
    assert two.unwanted([job(1, "first")]) == []
    two.finish(make_result(1, job_uid="second"))
    assert two.flush(10.0)
    assert two.unwanted([job(1, "first"), job(1, "second")]) == [job(1, "first")]


@pytest.mark.parametrize("state", [BuildState.CREATED, BuildState.SUCCEEDED, BuildState.CANCELLED])
def test_a_build_that_has_gone_on_since_it_went_again_does_not_go_once_more(replica, state):
    one, two = replica(), replica()
    one.record([make_request(1)])
    one.finish(make_result(1, BuildState.FAILED, job_uid="first"))
    assert one.flush(10.0)
    assert two.reopen(make_request(1)) is True
    two.finish(make_result(1, state, job_uid="second"))
    assert two.flush(10.0)
    assert one.reopen(make_request(1)) is False
    assert one.find(event_hash(1)).state is state


@pytest.mark.parametrize(
    "stale",
    [
        make_result(1, BuildState.DEAD),
        make_result(1, BuildState.CANCELLED),
        make_result(1, BuildState.CREATED, job_uid="other"),
        make_result(1, BuildState.RUNNING, job_uid="uid"),
        make_result(1, BuildState.CANCELLED, job_uid="uid"),
    ],
    ids=lambda stale: f"{stale.state}-{stale.job_uid}",
)
def test_a_replica_that_wakes_up_undoes_nothing_of_what_its_heir_did(replica, stale):
    one, two = replica(), replica()
    one.record([make_request(1)])
    two.take(event_hash(1), from_others=True)
    two.finish(make_result(1, job_uid="uid"))
    two.finish(make_result(1, BuildState.SUCCEEDED, job_uid="uid"))
    assert two.flush(10.0)

    one.finish(stale)
    assert one.flush(10.0)
    assert two.find(event_hash(1)).state is BuildState.SUCCEEDED
    # A replica that only saw the same Job later has nothing to set right.
    assert one.overtaken() == ([] if stale.job_uid == "uid" else [stale])


def test_any_replica_tells_what_became_of_a_job(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    one.finish(make_result(1, job_uid="uid"))
    assert one.flush(10.0)
    two.finish(make_result(1, BuildState.FAILED, job_uid="uid"), [make_message(1)])
    assert two.flush(10.0)
    assert one.find(event_hash(1)).state is BuildState.FAILED
    assert two.outbox.pending() == 1


def test_an_idle_replica_takes_half_at_most_and_leaves_the_first_and_what_was_begun(replica):
    one, two, idle = replica(), replica(), replica()
    one.record([make_request(number) for number in range(7)])
    one.attempt(event_hash(0), 1)
    two.record([make_request(number) for number in range(10, 13)])

    assert event_ids(idle.relieve(2)) == ["id-3", "id-4"]
    assert event_ids(idle.relieve(100)) == ["id-5", "id-6"]
    assert {*one.moved()} == {event_hash(number) for number in (3, 4, 5, 6)}
    assert event_ids(idle.relieve(100)) == ["id-11"]
    assert idle.attempt(event_hash(11), 1) is Claim.GRANTED


def test_of_one_build_an_idle_replica_takes_none(replica):
    one, idle = replica(), replica()
    one.record([make_request(1)])
    assert idle.relieve(10) == []
    assert idle.relieve(0) == []


def test_what_a_replica_leaves_at_its_end_goes_in_order_priorities_first(replica):
    one, two = replica(), replica()
    one.record([make_request(1), make_request(2, priority=Priority.LOW)])
    one.record([make_request(3, priority=Priority.HIGH), make_request(4)])
    assert two.left_open() == 0
    assert one.close(10.0)

    assert two.left_open() == 4
    assert event_ids(two.take_over(3)) == ["id-3", "id-1", "id-4"]
    assert event_ids(two.take_over(3)) == ["id-2"]


def test_what_was_left_is_counted_without_a_look_at_each_build_that_waits(replica, database):
    one, two, gone = replica(), replica(), replica()
    one.record([make_request(number) for number in range(2000)])
    gone.record([make_request(number) for number in range(2000, 2003)])
    gone.close(10.0)
    database("VACUUM ANALYZE builds")
    assert two.left_open() == one.left_open() == 3
    assert len(two.take_over(9)) == 3
    arguments = (two._lease.id, two._lease.doubtful)
    with two._server.connect() as connection:
        query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {moves._COUNT_LEFT}"
        (((explained,),),) = connection.execute(query, arguments).fetchall()
    assert most_rows(explained["Plan"]) < 100


def most_rows(plan):
    """Return how many rows the busiest step of a plan brought."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return max(own, *map(most_rows, plan.get("Plans", ())), 0)


def test_heirs_share_what_was_left_and_none_gets_what_another_has(replica):
    gone, *heirs = replica(), replica(), replica(), replica()
    gone.record([make_request(number) for number in range(100)])
    assert gone.close(10.0)

    def inherit(heir):
        taken = []
        while heir.left_open():
            taken += event_ids(heir.take_over(7))
        return taken

    with ThreadPoolExecutor(3) as pool:
        taken = [each for some in pool.map(inherit, heirs) for each in some]
    assert sorted(taken) == sorted(f"id-{number}" for number in range(100))


def test_a_replica_knows_what_waits_at_the_others(replica):
    one = replica(capacity=30, lease_seconds=0.5)
    two = replica(capacity=70, lease_seconds=0.5)
    one.record([make_request(1), make_request(2, third_party_id="other")])
    wait_until(lambda: two.others().waiting == {"customer-1": 1, "other": 1}, "the others' news")
    assert (two.others().replicas, two.others().capacity) == (1, 30)
    assert (one.others().capacity, one.others().waiting) == (70, {})
