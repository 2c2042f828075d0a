"""Builds in any journal: from their record to their outcome, from one process to the next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.builds import SKIPPED, BuildError, BuildState, Priority, digest_bytes
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import Claim, JobOf
from lambda_builder.selection import BuildFilter
from tests.journals import make_request, make_result


def event_hash(number):
    return make_request(number).event_hash


def event_ids(builds):
    return [build.request.event_id for build in builds]


def test_a_recorded_build_is_found_by_the_next_process_as_it_was(store):
    request = make_request(
        1,
        priority=Priority.HIGH,
        event=b'{"x":"\xc5\xbc"}',
        build_args={"a": "b"},
        context_url="s3://x",
        traceparent="00-1-2-01",
    )
    store().record([request])

    journal = store()
    (build,) = journal.take_over(10)
    assert (build.request, build.attempts) == (request, 0)
    found = journal.find(request.event_hash)
    assert (found.request, found.state) == (request, BuildState.QUEUED)


def test_builds_that_were_left_open_are_taken_over_in_their_order_as_many_as_are_wanted(store):
    journal = store()
    journal.record([make_request(number) for number in (5, 1, 4)])
    for number in (2, 9, 3):
        journal.record([make_request(number)])
    journal.finish(make_result(9))

    journal = store()
    assert journal.left_open() == 5
    first = journal.take_over(2)
    assert event_ids(first) == ["id-5", "id-1"]
    assert journal.left_open() == 3
    assert event_ids(journal.take_over(10)) == ["id-4", "id-2", "id-3"]
    assert (journal.left_open(), journal.take_over(10)) == (0, [])


def test_own_builds_are_left_open_for_nobody(journal):
    journal.record([make_request(1)])
    assert journal.left_open() == 0
    assert journal.take_over(10) == []
    assert journal.relieve(10) == []


def test_the_report_counts_what_was_left_open(store):
    journal = store()
    journal.record([make_request(number) for number in range(3)])
    journal.finish(make_result(1))
    assert journal.close(10.0)
    assert store().left_open() == 2


def test_an_attempt_is_granted_and_known_to_the_next_process(store):
    journal = store()
    journal.record([make_request(1)])
    assert journal.attempt(event_hash(1), 1) is Claim.GRANTED
    assert journal.attempt(event_hash(1), 2) is Claim.GRANTED

    (build,) = store().take_over(10)
    assert build.attempts == 2


def test_an_attempt_that_is_taken_back_does_not_count(store):
    journal = store()
    journal.record([make_request(1)])
    journal.attempt(event_hash(1), 1)
    journal.take_back_attempt(event_hash(1), 0, has_job=False)

    (build,) = store().take_over(10)
    assert build.attempts == 0


def test_an_outcome_replaces_the_open_build_and_a_later_one_replaces_it(store):
    journal = store()
    journal.record([make_request(1)])
    created = make_result(1, job_uid="uid-1", namespace="ns", image="image:1", created_at=2.5)
    ended = created.but(
        state=BuildState.FAILED, error=BuildError("build_failed", "boom"), finished_at=4.5
    )
    journal.finish(created)
    assert journal.flush(10.0)
    assert journal.find(event_hash(1)) == created
    journal.finish(ended)

    journal = store()
    assert journal.find(event_hash(1)) == ended
    assert journal.left_open() == 0


def test_several_outcomes_at_once_leave_the_last(journal):
    journal.record([make_request(1)])
    created = make_result(1, job_uid="uid-1")
    for state in (BuildState.CREATED, BuildState.RUNNING, BuildState.SUCCEEDED):
        journal.finish(created.but(state=state))
    assert journal.flush(10.0)
    assert journal.find(event_hash(1)).state is BuildState.SUCCEEDED


def test_an_outcome_that_still_waits_is_a_mistake(journal):
    with pytest.raises(ValueError, match="no outcome"):
        journal.finish(make_result(1, BuildState.RETRYING))


def test_an_outcome_of_a_build_that_has_no_row_is_kept_all_the_same(journal):
    journal.finish(make_result(1))
    assert journal.flush(10.0)
    assert journal.find(event_hash(1)) == make_result(1)


def test_a_dead_build_that_goes_again_is_open_and_has_all_its_attempts(store):
    journal = store()
    journal.record([make_request(1)])
    journal.attempt(event_hash(1), 4)
    journal.finish(make_result(1, BuildState.DEAD, attempts=4))
    again = make_request(1, accepted_at=9.0)
    assert journal.reopen(again) is True

    journal = store()
    (build,) = journal.take_over(10)
    assert (build.request, build.attempts) == (again, 0)


def test_a_build_that_goes_already_is_not_let_go_again(journal):
    journal.record([make_request(1)])
    journal.attempt(event_hash(1), 1)
    if journal.shared:  # alone it is known beforehand
        assert journal.reopen(make_request(1)) is False
    assert journal.find(event_hash(1)).attempts == 1


def test_an_event_recorded_twice_keeps_its_place_and_its_attempts(store):
    journal = store()
    for number in (1, 2):
        journal.record([make_request(number)])
    journal.attempt(event_hash(1), 1)
    journal.record([make_request(1)])

    builds = store().take_over(10)
    assert [(build.request.event_id, build.attempts) for build in builds] == [
        ("id-1", 1),
        ("id-2", 0),
    ]


def test_a_refused_build_is_forgotten_but_never_one_with_an_outcome(journal):
    journal.record([make_request(1), make_request(2)])
    journal.finish(make_result(2))
    assert journal.flush(10.0)
    journal.forget(event_hash(1))
    journal.forget(event_hash(2))
    assert journal.flush(10.0)

    assert journal.find(event_hash(1)) is None
    assert journal.find(event_hash(2)) == make_result(2)


def test_what_was_forgotten_can_be_recorded_again_at_once(store):
    journal = store()
    for _ in range(20):
        assert journal.record([make_request(1)]) == {}
        journal.forget(event_hash(1))
    assert journal.record([make_request(1)]) == {}
    assert event_ids(store().take_over(10)) == ["id-1"]


def test_builds_are_found_by_job_name_and_by_correlation_id_newest_first(journal):
    requests = [make_request(number, correlation_id="shared") for number in range(3)]
    for request in requests:
        journal.record([request])

    assert event_ids(journal.find_by_id("shared")) == ["id-2", "id-1", "id-0"]
    assert event_ids(journal.find_by_id(requests[1].job_name)) == ["id-1"]
    assert journal.find_by_id("unknown") == []


def test_a_job_name_finds_no_event_that_was_skipped_for_that_job(journal):
    request = make_request(1)
    skipped = make_result(
        2,
        BuildState.CREATED,
        request=make_request(2, job_name=request.job_name),
        error=BuildError(SKIPPED, "there is one"),
    )
    assert journal.record([request], [skipped]) == {}
    assert journal.flush(10.0)

    assert event_ids(journal.find_by_id(request.job_name)) == ["id-1"]
    assert event_ids(journal.find_by_id("correlation-2")) == ["id-2"]
    assert journal.find(event_hash(2)) == skipped


def test_outcomes_are_listed_by_state_newest_first_and_without_their_events(journal):
    for number in range(4):
        journal.record([make_request(number, event=b"{}")])
    for number in (2, 0, 3):
        journal.finish(make_result(number, BuildState.DEAD, request=make_request(number)))
        assert journal.flush(10.0)
    journal.finish(make_result(1))
    assert journal.flush(10.0)

    dead = journal.finished(states=("dead",), limit=2)
    assert event_ids(dead) == ["id-3", "id-0"]
    assert all(result.request.event == b"" for result in dead)
    assert event_ids(journal.finished(states=("created", "dead"), limit=9))[0] == "id-1"


def test_texts_that_a_database_cannot_hold_are_recorded_and_found(journal):
    request = make_request(
        1,
        correlation_id="half \udcff nul \0",
        job_name="build-\udcff",
        third_party_id="żółw \udcff",
        event=b"\xed\xb3\xbf\0",
    )
    journal.record([request])
    journal.finish(make_result(1, request=request, error=BuildError("odd", "\udcff\0"), image="\0"))
    assert journal.flush(10.0)

    for found in journal.find_by_id("half \udcff nul \0"):
        assert found.request == request
    assert journal.find(request.event_hash).error == BuildError("odd", "\udcff\0")
    assert journal.find_by_id("build-\udcff") != []


def test_concurrent_callers_each_find_their_own(journal):
    def record(number):
        journal.record([make_request(number)])
        assert journal.attempt(event_hash(number), 1) is Claim.GRANTED
        journal.finish(make_result(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(record, range(100)))
    assert journal.flush(10.0)
    for number in range(100):
        assert journal.find(event_hash(number)) == make_result(number)


def test_one_build_is_taken_where_it_waits_and_no_other(store):
    journal = store()
    journal.record([make_request(1), make_request(2)])
    journal.finish(make_result(2))

    journal = store()
    taken = journal.take(event_hash(1), from_others=False)
    assert taken.request == make_request(1)
    assert journal.take(event_hash(1), from_others=False).seq == taken.seq
    assert journal.take(event_hash(2), from_others=True) is None
    assert journal.take(event_hash(3), from_others=True) is None
    assert journal.left_open() == (0 if journal.shared else 1)


def test_a_journal_that_is_alone_hears_of_no_others(journal):
    journal.record([make_request(1)])
    journal.finish(make_result(1, job_uid="uid-1"))
    assert journal.flush(10.0)
    job = JobOf(make_request(1).job_name, digest_bytes(event_hash(1)), "uid-1")

    assert journal.moved() == []
    assert journal.overtaken() == []
    assert journal.unwanted([job]) == []
    assert journal.elsewhere(BuildFilter(), before=None, limit=10) == []
    assert (journal.others().replicas, journal.others().waiting) == (0, {})
    journal.wait_for_change(0.01)


def test_what_is_known_is_remembered_or_told_by_record(journal):
    journal.record([make_request(1)])
    assert journal.remembers(event_hash(1)) or journal.record([make_request(1)])
    assert not journal.remembers(event_hash(2))


def test_what_is_begun_is_recorded_together_with_all_that_is_begun_meanwhile(journal):
    recordings = [journal.recording([make_request(number)]) for number in range(50)]
    over = threading.Semaphore(0)
    for recording in recordings:
        recording.begin(over.release)
    for _recording in recordings:
        assert over.acquire(timeout=10)
    assert [recording.known() for recording in recordings] == [{}] * 50
    assert all(journal.find(event_hash(number)) for number in range(50))
    assert journal.stats()["commits"] < 50


def test_what_is_begun_after_the_end_is_refused_at_once(store):
    journal = store()
    journal.close(10.0)
    recording, over = journal.recording([make_request(1)]), threading.Event()
    recording.begin(over.set)
    assert over.is_set()
    with pytest.raises(Refused, match="closed"):
        recording.known()


def test_closing_twice_is_harmless_and_after_it_nothing_is_taken(store, capsys):
    journal = store()
    journal.record([make_request(1)])
    assert journal.close(10.0)
    assert journal.close(10.0)
    for act in (
        lambda: journal.record([make_request(2)]),
        lambda: journal.attempt(event_hash(1), 1),
        lambda: journal.reopen(make_request(1)),
        lambda: journal.keep_commands([]),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE
    journal.finish(make_result(1))
    journal.forget(event_hash(1))
    journal.drop_command(event_hash(1))
    journal.keep_rejection(b"{}")
    journal.note([b"{}"], refused=False)
    assert journal.flush(1.0)
    assert "journal_closed_before_outcome" in capsys.readouterr().out
    assert event_ids(store().take_over(10)) == ["id-1"]


def test_what_was_handed_in_before_the_end_is_written(store):
    journal = store()
    journal.record([make_request(number) for number in range(50)])
    for number in range(50):
        journal.finish(make_result(number))
    assert store().left_open() == 0


def test_counts_say_what_there_is(journal):
    journal.record([make_request(1), make_request(2)])
    journal.finish(make_result(2))
    assert journal.flush(10.0)
    numbers = journal.stats()
    assert (numbers["open"], numbers["backlog"]) == (1, 0)
    assert journal.available
    assert journal.durable
