"""``MAX_ACTIVE_JOBS`` holds for all replicas together, exactly."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.builds import BuildState, digest_bytes
from lambda_builder.journal import Claim, JobOf
from lambda_builder.journal.postgres.schema import CLAIMING
from tests.journals import make_request, make_result
from tests.waiting import wait_until

GRANTED, NO_ROOM = Claim.GRANTED, Claim.NO_ROOM


def event_hash(number):
    return make_request(number).event_hash


@pytest.fixture
def two(replica):
    """Two replicas with ten builds each and room for three Jobs."""
    journals = replica(max_active=3), replica(max_active=3)
    for number, journal in enumerate(journals):
        journal.record([make_request(10 * number + each) for each in range(10)])
    return journals


def test_no_more_are_granted_however_many_ask_at_once(two):
    def claim(number):
        return two[number // 10].attempt(event_hash(number), 1)

    with ThreadPoolExecutor(20) as pool:
        answers = Counter(pool.map(claim, range(20)))
    assert answers == {GRANTED: 3, NO_ROOM: 17}


def test_whoever_asks_waits_for_what_another_is_being_granted(
    two, database, postgres_server, journal_database
):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
    with ThreadPoolExecutor(1) as pool:
        with postgres_server.connect(journal_database) as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", (CLAIMING,))
            other.execute(
                "UPDATE builds SET active = true WHERE event_hash = ANY(%s)",
                ([event_hash(number) for number in range(3)],),
            )
            answer = pool.submit(two[0].attempt, event_hash(9), 1)
            wait_until(lambda: answer.done() or database(waiting), "the question")
        assert answer.result(10.0) is NO_ROOM


def test_whoever_has_room_keeps_it(two):
    for number in range(3):
        assert two[0].attempt(event_hash(number), 1) is GRANTED
    assert two[1].attempt(event_hash(10), 1) is NO_ROOM
    assert two[0].attempt(event_hash(0), 2) is GRANTED
    assert two[1].attempt(event_hash(1), 1) is Claim.MOVED
    assert two[1].find(event_hash(10)).attempts == 0


@pytest.mark.parametrize(
    ("state", "free"),
    [
        (BuildState.CREATED, False),
        (BuildState.RUNNING, False),
        (BuildState.SUCCEEDED, True),
        (BuildState.FAILED, True),
        (BuildState.CANCELLED, True),
        (BuildState.DEAD, True),
    ],
)
def test_room_is_free_again_once_the_job_has_ended(two, state, free):
    for number in range(3):
        two[0].attempt(event_hash(number), 1)
    two[0].finish(make_result(1, state, job_uid="uid-1"))
    assert two[0].flush(10.0)
    assert two[1].attempt(event_hash(10), 1) is (GRANTED if free else NO_ROOM)


@pytest.mark.parametrize("has_job", [True, False])
def test_an_attempt_without_outcome_keeps_its_room_only_where_it_may_have_a_job(two, has_job):
    for number in range(3):
        two[0].attempt(event_hash(number), 1)
    two[0].take_back_attempt(event_hash(1), 0, has_job=has_job)
    assert two[0].flush(10.0)
    assert two[1].attempt(event_hash(10), 1) is (NO_ROOM if has_job else GRANTED)


def test_a_build_takes_its_room_along(two):
    for number in range(3):
        two[0].attempt(event_hash(number), 1)
    assert two[1].take(event_hash(1), from_others=True)
    assert two[1].attempt(event_hash(1), 2) is GRANTED
    assert two[1].attempt(event_hash(10), 1) is NO_ROOM


def test_room_of_a_job_that_is_in_no_list_is_found_free(two, database):
    for number in range(3):
        two[0].attempt(event_hash(number), 1)
    for number in range(2):
        two[0].finish(make_result(number, job_uid=f"uid-{number}"))
    assert two[0].flush(10.0)
    listed = make_request(0)
    jobs = [JobOf(listed.job_name, digest_bytes(listed.event_hash), "uid-0")]

    assert two[1].unwanted(jobs) == []
    assert two[1].attempt(event_hash(10), 1) is NO_ROOM  # it may only just have been made
    database("UPDATE builds SET settled_at = settled_at - interval '40 seconds'")
    assert two[1].unwanted(jobs) == []
    assert two[1].attempt(event_hash(10), 1) is GRANTED
    assert two[1].attempt(event_hash(11), 1) is NO_ROOM


def test_without_a_limit_all_are_granted(replica):
    journal = replica()
    journal.record([make_request(number) for number in range(20)])
    with ThreadPoolExecutor(8) as pool:
        answers = {*pool.map(lambda n: journal.attempt(event_hash(n), 1), range(20))}
    assert answers == {GRANTED}
