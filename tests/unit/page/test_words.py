"""What builds are called on the page, what is stuck, and what to do about failures."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.errors import FailureReason
from lambda_builder.page.advice import BY_CATEGORY, BY_CODE, advice
from lambda_builder.page.words import KINDS, gist, span, stuck
from tests.journals import make_request, make_result

NOW = 1_000_000.0


def test_every_state_has_a_look_and_every_failure_says_what_to_do():
    assert set(KINDS) == set(BuildState)
    assert set(BY_CATEGORY) == set(FailureCategory)
    assert set(FailureReason) <= set(BY_CODE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.44, "0.4 s"),
        (1, "1 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_has_one_number(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("state", "changes", "why"),
    [
        (BuildState.QUEUED, {}, "waits for 400 s"),
        (BuildState.RETRYING, {}, "waits for 400 s"),
        (BuildState.CREATED, {"created_at": NOW - 390}, "has not started for 390 s"),
        (BuildState.CREATED, {"created_at": NOW - 3}, None),
        (
            BuildState.CREATED,
            {
                "created_at": NOW - 3,
                "error": BuildError("image_pull_failed", "x", FailureCategory.IMAGE_PULL),
            },
            "cannot start: image pull",
        ),
        (BuildState.RUNNING, {"started_at": NOW - 300}, None),
        (BuildState.RUNNING, {"started_at": NOW - 1801}, "runs for 30 min"),
        (BuildState.SUCCEEDED, {}, None),
        (BuildState.DEAD, {}, None),
    ],
)
def test_what_lasts_too_long_or_cannot_start_is_stuck(state, changes, why):
    request = make_request(1, accepted_at=NOW - 400)
    found = stuck(make_result(1, state, request=request, **changes), NOW)
    assert found == (why.replace("400 s", "6 min").replace("390 s", "6 min") if why else None)


def test_the_category_of_a_failure_goes_before_its_code():
    def said(state, *error):
        return advice(make_result(1, state, error=BuildError(*error)))

    failed, dead = BuildState.FAILED, BuildState.DEAD
    # A Job's timeout is another than a request's.
    assert "activeDeadlineSeconds" in said(failed, "deadline", "", FailureCategory.TIMEOUT)
    assert "Kubernetes API" in said(dead, "timeout", "")
    assert said(failed, "odd", "") == BY_CATEGORY[FailureCategory.UNKNOWN]
    assert said(BuildState.CANCELLED, "cancelled", "") is None
    assert advice(make_result(1, failed)) is None


def test_an_errors_last_line_tells_most():
    assert gist("Job failed; last lines of its log:\nINFO x\nerror: no  such\tstep\n\n") == (
        "error: no such step"
    )
    assert gist("") == ""
