"""A Job's labels, annotations and status, read as the state of its build."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lambda_builder.builds import (
    BuildRequest,
    BuildState,
    FailureCategory,
    netstring_digest,
    parse_time,
)
from lambda_builder.kube.labels import (
    EVENT_HASH_LABEL,
    FAILURE_CATEGORY,
    IMAGE_DIGEST,
    MANAGED_BY_LABEL,
    REQUEST,
)
from lambda_builder.kube.status import (
    event_hash_of,
    is_finished,
    is_ours,
    job_result,
    with_what_was_asked,
)

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


@pytest.mark.parametrize(
    ("noted", "category"), [("out_of_memory", FailureCategory.OUT_OF_MEMORY), ("unheard of", None)]
)
def test_a_failure_has_the_category_that_the_job_notes(noted, category):
    failed = job({"conditions": [condition("Failed")]})
    failed["metadata"]["annotations"][FAILURE_CATEGORY] = noted

    assert job_result(failed).error.category is category


@pytest.mark.parametrize("noted", [DIGEST, f"sha256:{DIGEST}"])
def test_the_digest_of_an_image_is_what_the_job_notes_if_it_is_one(noted):
    built = job({"conditions": [condition("Complete")]})
    built["metadata"]["annotations"][IMAGE_DIGEST] = noted

    assert job_result(built).image_digest == (noted if noted.startswith("sha256:") else None)


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


@pytest.mark.parametrize(
    ("labels", "ours"),
    [
        ({MANAGED_BY_LABEL: "lambda-builder", EVENT_HASH_LABEL: DIGEST[:32]}, True),
        ({MANAGED_BY_LABEL: "lambda-builder"}, False),
        ({MANAGED_BY_LABEL: "helm", EVENT_HASH_LABEL: DIGEST[:32]}, False),
        ({EVENT_HASH_LABEL: DIGEST[:32]}, False),
        (None, False),
    ],
)
def test_a_job_is_ours_when_it_says_so_and_names_its_event(labels, ours):
    assert is_ours(job(labels=labels)) is ours


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_job_is_finished_once_it_has_either_end(kind):
    assert is_finished(job({"conditions": [condition(kind)]}))
    assert not is_finished(job({"conditions": [condition("Suspended")]}))


def test_an_end_without_a_completion_time_is_when_its_condition_came():
    assert job_result(job({"conditions": [condition("Complete")]})).finished_at == 1767323100.0


def test_a_cancel_ends_a_build_when_its_job_was_deleted():
    assert job_result(job(deletionTimestamp="2026-01-02T03:06:00Z")).finished_at == 1767323160.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reason": "Evicted", "message": "the node is full"}, "the node is full"),
        ({"reason": "Evicted"}, "Evicted"),
        ({}, "the Job failed"),
    ],
)
def test_a_failure_is_told_in_the_best_words_there_are(fields, message):
    error = job_result(job({"conditions": [condition("Failed", **fields)]})).error
    assert error is not None
    assert error.message == message


@pytest.mark.parametrize("status", [{"succeeded": 1}, {"terminating": 1}, {"failed": 1}])
def test_a_build_whose_pod_has_ended_does_not_wait_again(status):
    assert job_result(job(status)).state is BuildState.RUNNING


@pytest.mark.parametrize(
    ("spec", "conditions", "message"),
    [
        ({"suspend": True}, [], "the Job is suspended"),
        ({}, [condition("Suspended", message="Job suspended")], "Job suspended"),
    ],
)
def test_a_job_that_somebody_suspended_says_so(spec, conditions, message):
    error = job_result(job({"conditions": conditions}, spec)).error
    assert error is not None
    assert (error.code, error.message) == ("suspended", message)


@pytest.mark.parametrize(
    "annotations", [{}, {"build.notifi.network/event-id": "id-1"}], ids=["none", "half of them"]
)
def test_without_the_events_ids_its_identity_is_what_the_label_holds_of_it(annotations):
    request = job_result(job(annotations=annotations)).request
    assert request.event_hash == DIGEST[:32]
    assert request.accepted_at == 0.0


def test_a_time_without_a_zone_is_none():
    assert parse_time("2026-01-02T03:04:05") is None


# -- all that was asked for ------------------------------------------------------------------------

ASKED = BuildRequest(
    event_id="id-1",
    event_source="source-1",
    event_type="type-1",
    parser_id="Ü",
    third_party_id="A/b",
    correlation_id="corr",
    event_hash=DIGEST,
    job_name="another-name",
    build_args={"KEY": "ä\ud800"},
    event=b"too long for a Job",
)


def noted(note: str, **metadata) -> dict:
    return job(annotations={REQUEST: note}, **metadata)


def test_a_build_can_go_again_from_what_its_job_notes():
    made = noted(ASKED.to_json())
    request = with_what_was_asked(job_result(made), made).request
    assert request.build_args == ASKED.build_args
    assert request.job_name == "build-a-b-0123456789"
    event = json.loads(request.event.decode("utf-8", "surrogatepass"))
    assert (event["id"], event["source"], event["type"]) == ("id-1", "source-1", "type-1")
    assert event["data"]["build_args"] == {"KEY": "ä\ud800"}
    assert "ä".encode() in request.event


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"event_id": "id-2"}, {EVENT_HASH_LABEL: DIGEST[:32]}),
        ({"event_hash": "ab" * 32}, {EVENT_HASH_LABEL: DIGEST[:32]}),
        ({}, {EVENT_HASH_LABEL: "ab" * 16}),
        ({}, None),
    ],
)
def test_a_note_of_another_event_is_not_believed(changes, labels):
    made = noted(replace(ASKED, **changes).to_json(), labels=labels)
    result = job_result(made)
    assert with_what_was_asked(result, made) is result


def test_a_job_without_a_note_is_shown_as_it_is():
    result = job_result(job())
    assert with_what_was_asked(result, job()) is result
    assert with_what_was_asked(result, job(annotations=None)) is result
