"""Records of Jobs are found by what they say now, and by nothing that they said before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.index import JobIndex
from lambda_builder.kube.record import JobRecord

CREATED = JobRecord(
    "name-1", b"event-1", "uid-1", b"target-1", b"corr-1", BuildState.CREATED, created_at=1.0
)


@pytest.mark.parametrize(
    "changed",
    [
        replace(CREATED, state=BuildState.RUNNING, started_at=2.0),
        replace(CREATED, state=BuildState.SUCCEEDED, announced="complete"),
        replace(CREATED, state=BuildState.FAILED, error=BuildError("job_failed", "it failed")),
        replace(CREATED, uid="uid-2"),
        replace(CREATED, target=b"target-2"),
        replace(CREATED, correlation=b"corr-2"),
        replace(CREATED, event_hash=b"event-2"),
        replace(CREATED, created_at=5.0),
        replace(CREATED, event_hash=b""),
    ],
)
def test_a_changed_job_is_found_by_what_it_says_now_only(changed: JobRecord) -> None:
    index = JobIndex()
    other = replace(CREATED, name="name-2", event_hash=b"event-3", uid="uid-3", created_at=3.0)
    index.replace(None, other)
    index.replace(None, CREATED)
    index.replace(CREATED, changed)
    fresh = JobIndex()
    fresh.replace(None, other)
    fresh.replace(None, changed)
    assert index.get("name-1") == fresh.get("name-1") == changed
    assert index.active_count == fresh.active_count
    for event in (b"event-1", b"event-2", b"event-3"):
        assert index.of_event(event) == fresh.of_event(event)
    for key in (b"target-1", b"target-2"):
        found = sorted(record.name for record in index.of_target(key))
        assert found == sorted(record.name for record in fresh.of_target(key))
    for key in (b"corr-1", b"corr-2"):
        found = sorted(record.name for record in index.of_correlation(key))
        assert found == sorted(record.name for record in fresh.of_correlation(key))
    assert index._before(None, 10, ()) == fresh._before(None, 10, ())
    index.replace(changed, None)
    assert index.get("name-1") is None
    assert index.active_count == 1
    assert len(index._before(None, 10, ())[0]) == 1
