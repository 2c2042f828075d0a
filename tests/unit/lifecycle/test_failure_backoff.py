"""A target whose last build its tenant's own files made fail is not built again at once."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildError, BuildRequest, BuildState, FailureCategory
from lambda_builder.errors import Refused
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.failure_backoff import FailureBackoff
from lambda_builder.telemetry.metrics import Metrics

NOW = 5000.0
REQUEST = BuildRequest(
    event_id="1", event_source="s", event_type="t", parser_id="p", third_party_id="a",
    correlation_id="c", event_hash="h", job_name="j",
)  # fmt: skip


def job(number, state=BuildState.FAILED, category=FailureCategory.DOCKERFILE, finished_at=NOW - 10):
    error = BuildError("failed", "it failed", category)
    return JobRecord(
        f"job-{number}", b"", f"uid-{number}", b"", b"", state, error,
        created_at=1000.0 + number, finished_at=finished_at,
    )  # fmt: skip


def judged(*jobs):
    asked = []
    backoff = FailureBackoff(
        lambda *target: asked.append(target) or jobs,
        lambda record: record,
        Metrics(),
        seconds=60,
        clock=lambda: NOW,
    )
    refusals = []
    try:
        backoff.admit([REQUEST])
    except Refused as refused:
        refusals.append(refused)
    assert asked == [("a", "p")]
    assert [refused.code for refused in refusals] == ["failure_backoff"] * len(refusals)
    return refusals[0].retry_after if refusals else None


@pytest.mark.parametrize("category", FailureCategory)
def test_only_what_the_same_files_meet_again_has_to_wait(category):
    own = category in ("dockerfile", "context", "dependency")
    assert judged(job(1, category=category)) == (50 if own else None)


def test_the_last_build_of_the_target_counts():
    assert judged() is None
    assert judged(job(2), job(1, BuildState.SUCCEEDED)) == 50
    assert judged(job(1), job(2, BuildState.SUCCEEDED)) is None
    assert judged(job(1), job(2, BuildState.RUNNING)) is None
    assert judged(job(1, category=None)) is None


@pytest.mark.parametrize(
    ("ended", "wait"), [(NOW, 60), (NOW - 59.5, 1), (NOW - 60, None), (None, None)]
)
def test_it_waits_from_the_end_of_that_build(ended, wait):
    assert judged(job(1, finished_at=ended)) == wait
