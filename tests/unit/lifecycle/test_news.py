"""What has to be told of a Job, given what was told already."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.news import due_news, later, news_result, when

DEADLINE = BuildError("deadline_exceeded", "Job was active longer than specified deadline")


def job(state, **fields):
    return JobRecord(
        name="build-a-b-0123456789",
        uid="uid-1",
        event_hash=b"",
        target=b"",
        correlation=b"",
        state=BuildState(state),
        created_at=100.0,
        **fields,
    )


STARTED = {"started_at": 101.0}


@pytest.mark.parametrize(
    ("record", "told", "due"),
    [
        (job("created"), None, []),
        (job("running", **STARTED), None, ["started"]),
        (job("running", **STARTED), "started", []),
        (job("succeeded", **STARTED), None, ["started", "complete"]),
        (job("succeeded", **STARTED), "started", ["complete"]),
        (job("succeeded", **STARTED), "complete", []),
        (job("failed", **STARTED), "started", ["failed"]),
        (job("failed", error=DEADLINE), "started", ["timeout"]),
        (job("cancelled", **STARTED), None, ["started", "cancelled"]),
        (job("cancelled", **STARTED), "started", ["cancelled"]),
        (job("cancelled"), None, ["cancelled"]),
        (job("cancelled", **STARTED), "failed", []),
        (job("running", **STARTED), "a word of another version", ["started"]),
    ],
)
def test_what_is_due_follows_from_the_state_and_from_what_was_told(record, told, due):
    assert due_news(record, told) == due


@pytest.mark.parametrize("end", ["complete", "failed", "timeout", "cancelled"])
def test_an_end_is_later_than_a_start_and_a_start_than_nothing(end):
    assert later("started", end) == later(end, "started") == later(end, None) == end
    assert later(None, "started") == later("started", None) == "started"
    assert later(None, None) is None


def test_news_of_the_start_shows_the_build_as_it_was_then():
    result = job("failed", started_at=101.0, finished_at=109.0, error=DEADLINE).result()
    started = news_result("started", result)
    assert (started.state, started.error, started.finished_at) == (BuildState.RUNNING, None, None)
    assert news_result("timeout", result) is result


def test_news_came_about_when_the_job_says():
    result = job("succeeded", started_at=101.0, finished_at=109.0).result()
    assert (when("started", result), when("complete", result)) == (101.0, 109.0)
    assert when("started", job("cancelled").result()) == 100.0
