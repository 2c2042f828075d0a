"""What is kept of a Job, and what can be told from it."""

from __future__ import annotations

import sys

import pytest

from lambda_builder.builds import BuildRequest, BuildState, job_name, netstring_digest
from lambda_builder.kube.labels import ANNOUNCED, EVENT_HASH_LABEL
from lambda_builder.kube.record import correlation_key, record_of, target_key
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


def test_a_record_with_details_tells_what_the_job_itself_tells(job):
    for state in (job, failed(job)):
        assert record_of(state, keep_details=True).result() == job_result(state)


def test_a_record_without_details_still_tells_state_and_times(job):
    record = record_of(failed(job), keep_details=False)
    assert record.details is None
    assert record.state is BuildState.FAILED
    assert record.error.code == "backoff_limit_exceeded"
    assert record.finished_at - record.started_at == 8
    assert record.result().request.event_hash == DIGEST[:32]


def test_a_suspended_job_is_active_and_says_that_it_is_held(job):
    job["spec"]["suspend"] = True
    job["status"] = {"conditions": [SUSPENDED]}
    record = record_of(job, keep_details=False)
    assert record.suspended
    assert record.active


def test_what_was_told_is_read_from_the_job(job):
    assert record_of(job, keep_details=False).announced is None
    job["metadata"]["annotations"][ANNOUNCED] = "started"
    assert record_of(job, keep_details=False).announced == "started"


def test_targets_are_told_apart_by_their_exact_ids(job):
    record = record_of(job, keep_details=False)
    assert record.target == target_key("künde-1", "parser-1")
    assert target_key("ab", "c") != target_key("a", "bc")
    assert len({target_key(*ids) for ids in [("a", "b"), ("a", "c"), ("c", "b")]}) == 3


def test_builds_of_one_correlation_id_are_told_by_its_digest(job):
    record = record_of(job, keep_details=False)
    assert record.correlation == correlation_key("corr-1") != correlation_key("corr-2")


@pytest.mark.parametrize("label", ["", "no digest", "abc"])
def test_a_job_with_a_broken_label_has_a_record_all_the_same(job, label):
    job["metadata"]["labels"][EVENT_HASH_LABEL] = label
    assert record_of(job, keep_details=False).event_hash == b""


def test_a_job_stripped_of_labels_and_annotations_has_a_record(job):
    job["metadata"] = {"name": "odd", "uid": "1", "labels": None, "annotations": None}
    record = record_of(job, keep_details=True)
    assert (record.name, record.event_hash, record.active) == ("odd", b"", True)
    assert record.result().request.job_name == "odd"


def test_a_record_takes_a_few_hundred_bytes(job):
    record = record_of(failed(job), keep_details=True)
    size = sys.getsizeof(record) + sum(
        sys.getsizeof(getattr(record, name)) for name in record.__slots__
    )
    assert size < 1100
