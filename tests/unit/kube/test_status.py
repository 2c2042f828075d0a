"""A Job's labels, annotations and status, read as the state of its build."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildState, netstring_digest
from lambda_builder.kube.status import event_hash_of, is_finished, job_result

DIGEST = netstring_digest("source-1", "id-1")


def job(status: dict | None = None, spec: dict | None = None, **metadata) -> dict:
    return {
        "metadata": {
            "name": "build-a-b-0123456789",
            "namespace": "builds",
            "uid": "uid-1",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"build.notifi.network/event-hash": DIGEST[:32]},
            "annotations": {
                "build.notifi.network/event-id": "id-1",
                "build.notifi.network/event-source": "source-1",
                "build.notifi.network/event-type": "type-1",
                "build.notifi.network/third-party-id": "A/b",
                "build.notifi.network/parser-id": "Ü",
                "build.notifi.network/correlation-id": "corr",
                "build.notifi.network/image": "registry/x:1",
                "build.notifi.network/accepted-at": "2026-01-02T03:04:04.500Z",
            },
            **metadata,
        },
        "spec": spec or {},
        "status": status or {},
    }


def condition(kind: str, **fields) -> dict:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-01-02T03:05:00Z", **fields}


def test_the_request_comes_back_from_labels_and_annotations():
    result = job_result(job())
    request = result.request
    assert (request.event_id, request.event_source) == ("id-1", "source-1")
    assert (request.third_party_id, request.parser_id) == ("A/b", "Ü")
    assert request.correlation_id == "corr"
    assert request.event_hash == DIGEST
    assert request.accepted_at == 1767323044.5
    assert result.created_at == 1767323045.0
    assert (result.job_uid, result.namespace, result.image) == ("uid-1", "builds", "registry/x:1")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, BuildState.CREATED),
        ({"active": 1, "ready": 0, "startTime": "2026-01-02T03:04:06Z"}, BuildState.CREATED),
        ({"active": 1, "ready": 1, "startTime": "2026-01-02T03:04:06Z"}, BuildState.RUNNING),
        ({"active": 1, "startTime": "2026-01-02T03:04:06Z"}, BuildState.RUNNING),
        ({"failed": 1, "startTime": "2026-01-02T03:04:06Z"}, BuildState.RUNNING),
        ({"conditions": [condition("FailureTarget")]}, BuildState.CREATED),
        ({"conditions": [condition("Complete")], "succeeded": 1}, BuildState.SUCCEEDED),
        ({"conditions": [condition("Failed")], "failed": 1}, BuildState.FAILED),
        ({"conditions": [{"type": "Failed", "status": "False"}]}, BuildState.CREATED),
    ],
)
def test_the_state_follows_the_status(status, state):
    assert job_result(job(status)).state is state


def test_a_build_that_has_not_started_shows_no_start():
    pending = {"active": 1, "ready": 0, "startTime": "2026-01-02T03:04:06Z"}
    running = {"active": 1, "ready": 1, "startTime": "2026-01-02T03:04:06Z"}
    assert job_result(job(pending)).started_at is None
    assert job_result(job(running)).started_at == 1767323046.0


def test_success_ends_when_the_job_completed():
    status = {
        "startTime": "2026-01-02T03:04:06Z",
        "completionTime": "2026-01-02T03:04:59Z",
        "conditions": [condition("Complete")],
    }
    result = job_result(job(status))
    assert result.finished_at == 1767323099.0
    assert result.error is None


def test_a_job_out_of_time_is_told_as_such():
    failed = condition("Failed", reason="DeadlineExceeded", message="Job was active too long")
    result = job_result(job({"conditions": [failed]}))
    assert result.error is not None
    assert (result.error.code, result.error.message) == (
        "deadline_exceeded",
        "Job was active too long",
    )
    assert result.finished_at == 1767323100.0


def test_a_failure_without_a_reason_still_has_a_code():
    result = job_result(job({"conditions": [condition("Failed")]}))
    assert result.error is not None
    assert result.error.code == "job_failed"


def test_a_job_that_kueue_holds_is_created_and_says_so():
    held = job(spec={"suspend": True})
    held["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    result = job_result(held)
    assert result.state is BuildState.CREATED
    assert result.error is not None
    assert result.error.code == "suspended"
    assert "team-a" in result.error.message


def test_a_job_that_is_deleted_before_its_end_was_cancelled():
    going = job({"active": 1, "ready": 1}, deletionTimestamp="2026-01-02T03:06:00Z")
    done = job({"conditions": [condition("Complete")]}, deletionTimestamp="2026-01-02T03:06:00Z")
    assert job_result(going).state is BuildState.CANCELLED
    assert job_result(done).state is BuildState.SUCCEEDED


def test_a_job_of_someone_else_can_be_read_too():
    foreign = {"metadata": {"name": "nightly"}, "status": None}
    result = job_result(foreign)
    assert result.request.job_name == "nightly"
    assert result.state is BuildState.CREATED
    assert event_hash_of(foreign) == ""
    assert not is_finished(foreign)
