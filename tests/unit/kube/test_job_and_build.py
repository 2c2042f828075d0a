"""What a Job's record makes of what was known of its build."""

from __future__ import annotations

import pytest

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
)
from lambda_builder.kube.labels import REQUEST as REQUEST_NOTE
from lambda_builder.kube.record import JobRecord, with_job
from lambda_builder.kube.status import with_what_was_asked

REQUEST = BuildRequest(
    event_id="id-1",
    event_source="source-1",
    event_type="network.notifi.lambda.build.start",
    parser_id="parser-1",
    third_party_id="customer-1",
    correlation_id="corr-1",
    event_hash="ab" * 32,
    job_name="build-customer-1-parser-1-ababababab",
)


def known(state, **fields):
    return BuildResult(request=REQUEST, state=state, **fields)


def job(state, uid="uid-1", created_at=100.0, **fields):
    return JobRecord(
        name=REQUEST.job_name,
        uid=uid,
        event_hash=bytes.fromhex("ab" * 16),
        target=b"",
        correlation=b"",
        state=state,
        created_at=created_at,
        **fields,
    )


@pytest.mark.parametrize("state", ["queued", "creating", "retrying", "cancelled"])
@pytest.mark.parametrize("shown", ["created", "running", "succeeded", "failed", "cancelled"])
def test_a_build_that_waits_or_was_cancelled_has_no_job_that_counts(state, shown):
    result = known(BuildState(state))
    assert with_job(result, job(BuildState(shown)), "ns") is result


@pytest.mark.parametrize("shown", ["created", "running", "succeeded", "failed"])
def test_a_build_that_was_declared_dead_is_healed_by_its_job(shown):
    dead = known(BuildState.DEAD, error=BuildError("timeout", "no answer"), finished_at=1.0)
    healed = with_job(dead, job(BuildState(shown)), "ns")
    assert healed.state.value == shown
    assert (healed.error, healed.job_uid, healed.namespace) == (None, "uid-1", "ns")


def test_a_dead_build_stays_dead_when_its_job_was_deleted():
    dead = known(BuildState.DEAD)
    assert with_job(dead, job(BuildState.CANCELLED), "ns") is dead


def test_states_and_times_are_taken_over():
    created = known(BuildState.CREATED, job_uid="uid-1", created_at=100.0, attempts=2)
    running = with_job(created, job(BuildState.RUNNING, started_at=101.0), "ns")
    assert (running.state, running.started_at) == (BuildState.RUNNING, 101.0)
    assert running.created_at == 100.0
    done = job(BuildState.SUCCEEDED, started_at=101.0, finished_at=109.0)
    succeeded = with_job(running, done, "ns")
    assert (succeeded.state, succeeded.finished_at) == (BuildState.SUCCEEDED, 109.0)
    assert succeeded.attempts == 2


def test_a_trouble_is_taken_over_and_cleared_when_the_job_runs():
    created = known(BuildState.CREATED, job_uid="uid-1")
    refused = BuildError("failed_create", "refused")
    stuck = with_job(created, job(BuildState.CREATED, error=refused), "ns")
    assert (stuck.state, stuck.error) == (BuildState.CREATED, refused)
    assert with_job(stuck, job(BuildState.RUNNING), "ns").error is None


def test_what_was_found_out_about_a_job_is_not_unlearned_from_what_the_job_says():
    told = BuildError("backoff_limit_exceeded", "the limit")
    found = BuildError(told.code, "the limit; its log", FailureCategory.DISK)
    failed = known(BuildState.FAILED, job_uid="uid-1", created_at=100.0, error=found)
    assert with_job(failed, job(BuildState.FAILED, error=told), "ns").error == found
    other = BuildError(told.code, told.message, FailureCategory.TIMEOUT)
    shown = with_job(failed, job(BuildState.FAILED, error=other), "ns")
    assert shown.error == BuildError(told.code, found.message, FailureCategory.TIMEOUT)
    pushed = known(BuildState.SUCCEEDED, job_uid="uid-1", created_at=100.0, image_digest="d")
    assert with_job(pushed, job(BuildState.SUCCEEDED), "ns").image_digest == "d"


def test_what_was_found_out_about_an_older_job_is_not_said_of_the_next():
    found = BuildError("backoff_limit_exceeded", "the limit; its log", FailureCategory.DISK)
    failed = known(BuildState.FAILED, job_uid="uid-0", created_at=99.0, error=found)
    told = BuildError(found.code, "the limit")
    assert with_job(failed, job(BuildState.FAILED, error=told), "ns").error == told


@pytest.mark.parametrize("end", ["succeeded", "failed"])
@pytest.mark.parametrize("shown", ["created", "running", "cancelled"])
def test_a_finished_build_stays_finished_whatever_is_shown_of_that_job(end, shown):
    finished = known(BuildState(end), job_uid="uid-1", created_at=100.0)
    assert with_job(finished, job(BuildState(shown)), "ns") is finished


def test_a_running_job_may_be_suspended_again():
    running = known(BuildState.RUNNING, job_uid="uid-1", created_at=100.0)
    assert with_job(running, job(BuildState.CREATED), "ns").state is BuildState.CREATED


def test_a_job_deleted_before_its_end_cancels_its_build():
    running = known(BuildState.RUNNING, job_uid="uid-1", created_at=100.0)
    cancelled = with_job(running, job(BuildState.CANCELLED, finished_at=105.0), "ns")
    assert (cancelled.state, cancelled.error.code) == (BuildState.CANCELLED, "cancelled")
    assert cancelled.finished_at == 105.0


def test_a_newer_job_of_the_same_event_counts_and_an_older_one_does_not():
    failed = known(BuildState.FAILED, job_uid="uid-1", created_at=100.0)
    newer, older = job(BuildState.RUNNING, "uid-2", 200.0), job(BuildState.RUNNING, "uid-0", 50.0)
    assert with_job(failed, newer, "ns").job_uid == "uid-2"
    assert with_job(failed, older, "ns") is failed
    assert with_job(failed, job(BuildState.RUNNING, "uid-2", 100.0), "ns").job_uid == "uid-2"
    assert with_job(failed, job(BuildState.RUNNING, "uid-0", None), "ns") is failed


def test_what_changes_nothing_is_the_very_same_result():
    running = with_job(known(BuildState.CREATED), job(BuildState.RUNNING), "ns")
    assert with_job(running, job(BuildState.RUNNING), "ns") is running


@pytest.mark.parametrize("note", ["[" * 200_000, "{", "[]", "5", '{"event": 5}'])
def test_a_job_whose_note_of_its_request_was_tampered_with_is_shown_without_it(note):
    result = known(BuildState.RUNNING)
    tampered = {"metadata": {"name": REQUEST.job_name, "annotations": {REQUEST_NOTE: note}}}
    assert with_what_was_asked(result, tampered) is result


@pytest.mark.parametrize("shown", ["failed", "cancelled", "running"])
def test_of_two_jobs_of_one_second_the_later_is_the_one_that_has_not_ended(shown):
    again = known(BuildState.CREATED, job_uid="uid-2", created_at=100.0)
    assert with_job(again, job(BuildState(shown)), "ns") is again
    failed = known(BuildState.FAILED, job_uid="uid-0", created_at=100.0)
    assert with_job(failed, job(BuildState(shown)), "ns").job_uid == "uid-1"
