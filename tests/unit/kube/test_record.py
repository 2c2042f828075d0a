"""What is kept of a Job, and what can be told from it."""

from __future__ import annotations

import copy
import sys

import pytest

from lambda_builder.builds import (
    BuildRequest,
    BuildState,
    FailureCategory,
    Priority,
    job_name,
    netstring_digest,
)
from lambda_builder.kube.labels import (
    ANNOTATIONS,
    ANNOUNCED,
    EVENT_HASH_LABEL,
    FAILURE_CATEGORY,
    IMAGE_DIGEST,
)
from lambda_builder.kube.packing import pack, unpack
from lambda_builder.kube.record import JobRecord, correlation_key, record_of, target_key
from lambda_builder.kube.status import job_result
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

DIGEST = netstring_digest("source-1", "id-1")
SUSPENDED = {"type": "Suspended", "status": "True", "message": "Job suspended"}


@pytest.fixture
def job():
    request = BuildRequest(
        event_id="id-1",
        event_source="source-1",
        event_type="network.notifi.lambda.build.start",
        parser_id="parser-1",
        third_party_id="künde-1",
        correlation_id="corr-1",
        event_hash=DIGEST,
        job_name=job_name("customer-1", "parser-1", DIGEST),
        accepted_at=1_800_000_000.5,
        priority=Priority.HIGH,
    )
    manifest = JobTemplate.from_settings(Settings()).render(request)
    manifest["metadata"] |= {
        "uid": "6f1c8a2e-6a9b-4c8a-9d0b-1c2d3e4f5a6b",
        "namespace": "knative-lambda",
        "creationTimestamp": "2026-10-02T08:00:00Z",
    }
    return manifest


def failed(job):
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
        "lastTransitionTime": "2026-10-02T08:00:09Z",
    }
    job["status"] = {"startTime": "2026-10-02T08:00:01Z", "conditions": [condition], "failed": 1}
    return job


def test_a_record_keeps_the_category_of_a_failure_and_the_digest_of_an_image(job):
    digest = f"sha256:{'a' * 64}"
    failed(job)["metadata"]["annotations"] |= {
        FAILURE_CATEGORY: "out_of_memory",
        IMAGE_DIGEST: digest,
    }

    record = record_of(job)

    assert record.error.category is FailureCategory.OUT_OF_MEMORY
    assert record.image_digest == digest
    assert record.result() == job_result(job)


def test_a_record_tells_what_the_job_itself_tells(job):
    for state in (job, failed(job)):
        assert record_of(state).result() == job_result(state)
        assert unpack(pack(record_of(state))) == record_of(state)


def test_a_record_does_not_depend_on_what_was_known_of_the_job(job):
    other = copy.deepcopy(failed(job))
    other["metadata"]["annotations"]["build.notifi.network/third-party-id"] = "somebody else"
    other["metadata"]["annotations"]["build.notifi.network/correlation-id"] = "another"
    for before in (job, failed(job), other):
        for now in (job, failed(job), other):
            assert record_of(now, record_of(before)) == record_of(now)


@pytest.mark.parametrize("value", ["", "\x1f", "a\x1fb\x1fc", "ü\u2028"])
def test_whatever_an_annotation_was_changed_to_the_others_are_read(job, value):
    job["metadata"]["annotations"][ANNOTATIONS["parser_id"]] = value
    told = record_of(job).result()
    assert (told.request.third_party_id, told.request.correlation_id) == ("künde-1", "corr-1")
    assert told.request.parser_id == value.replace("\x1f", " ")


def test_a_priority_that_is_none_counts_as_normal(job):
    job["metadata"]["annotations"][ANNOTATIONS["priority"]] = "highest"
    assert record_of(job).result().request.priority is Priority.NORMAL


def test_a_record_tells_state_and_times(job):
    record = record_of(failed(job))
    assert record.state is BuildState.FAILED
    assert record.error.code == "backoff_limit_exceeded"
    assert record.finished_at - record.started_at == 8
    assert record.result().request.event_hash == DIGEST


def test_a_suspended_job_is_active_and_says_that_it_is_held(job):
    job["spec"]["suspend"] = True
    job["status"] = {"conditions": [SUSPENDED]}
    record = record_of(job)
    assert record.suspended
    assert record.active


def test_what_was_told_is_read_from_the_job(job):
    assert record_of(job).announced is None
    job["metadata"]["annotations"][ANNOUNCED] = "started"
    assert record_of(job).announced == "started"


def test_targets_are_told_apart_by_their_exact_ids(job):
    record = record_of(job)
    assert record.target == target_key("künde-1", "parser-1")
    assert target_key("ab", "c") != target_key("a", "bc")
    assert len({target_key(*ids) for ids in [("a", "b"), ("a", "c"), ("c", "b")]}) == 3


def test_builds_of_one_correlation_id_are_told_by_its_digest(job):
    record = record_of(job)
    assert record.correlation == correlation_key("corr-1") != correlation_key("corr-2")


@pytest.mark.parametrize("label", ["", "no digest", "abc"])
def test_a_job_with_a_broken_label_has_a_record_all_the_same(job, label):
    job["metadata"]["labels"][EVENT_HASH_LABEL] = label
    assert record_of(job).event_hash == b""


def test_a_job_stripped_of_labels_and_annotations_has_a_record(job):
    job["metadata"] = {"name": "odd", "uid": "1", "labels": None, "annotations": None}
    record = record_of(job)
    assert (record.name, record.event_hash, record.active) == ("odd", b"", True)
    assert record.result().request.job_name == "odd"


def test_a_record_takes_a_few_hundred_bytes(job):
    shared = {"announced", "namespace", "event_type", "priority", "state", "error"}
    record, own = record_of(failed(job)), set(JobRecord.__slots__) - shared
    size = sys.getsizeof(pack(record)) + sum(sys.getsizeof(getattr(record, name)) for name in own)
    assert size < 1000


@pytest.mark.parametrize("noted", [{}, {"traceparent": "00-1234-56-01"}])
def test_the_trace_is_read_from_a_record_as_from_its_build(noted):
    annotations = {ANNOTATIONS[name]: text for name, text in noted.items()}
    record = record_of({"metadata": {"name": "a", "uid": "1", "annotations": annotations}})
    assert record.traceparent == record.result().request.traceparent == noted.get("traceparent")
    bare = JobRecord("a", b"", "1", b"", b"", BuildState.CREATED)
    assert bare.traceparent is None
