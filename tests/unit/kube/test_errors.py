"""What an answer of the Kubernetes API means for a build."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest

from lambda_builder.errors import FailureReason, Permanent, Transient, Unreachable
from lambda_builder.kube.errors import Conflict, Gone, NotFound, parse_retry_after, translate

NOW = 1_800_000_000.0


def status(message: str, reason: str = "") -> bytes:
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason}
    return json.dumps(body).encode()


def translated(code: int, body: bytes = b"", retry_after: str | None = None):
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return translate("create_job", code, headers, body, now=NOW)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (408, FailureReason.TIMEOUT),
        (429, FailureReason.RATE_LIMITED),
        (500, FailureReason.SERVER_ERROR),
        (501, FailureReason.SERVER_ERROR),
        (502, FailureReason.SERVER_ERROR),
        (503, FailureReason.SERVER_ERROR),
        (504, FailureReason.SERVER_ERROR),
    ],
)
def test_what_may_pass_is_transient(code, reason):
    error = translated(code, status("try again"))
    assert isinstance(error, Transient)
    assert error.reason is reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (400, FailureReason.BAD_REQUEST),
        (401, FailureReason.UNAUTHORIZED),
        (403, FailureReason.FORBIDDEN),
        (404, FailureReason.NAMESPACE_NOT_FOUND),
        (405, FailureReason.API_ERROR),
        (413, FailureReason.INVALID_MANIFEST),
        (422, FailureReason.INVALID_MANIFEST),
    ],
)
def test_what_stays_so_is_permanent(code, reason):
    error = translated(code, status("no"))
    assert isinstance(error, Permanent)
    assert error.reason is reason


def test_a_plain_text_429_is_read_with_its_retry_after():
    error = translated(429, b"Too many requests, please try again later.\n", "7")
    assert isinstance(error, Transient)
    assert error.retry_after == 7
    assert "Too many requests, please try again later." in str(error)


def test_exceeded_quota_passes_but_a_missing_quota_request_does_not():
    exceeded = translated(
        403,
        status(
            'jobs.batch "build-a" is forbidden: exceeded quota: jobs, requested: '
            "count/jobs.batch=1, used: count/jobs.batch=10, limited: count/jobs.batch=10"
        ),
    )
    unspecified = translated(
        403, status('jobs.batch "build-a" is forbidden: failed quota: jobs: must specify cpu')
    )
    assert isinstance(exceeded, Transient)
    assert exceeded.reason is FailureReason.QUOTA_EXCEEDED
    assert isinstance(unspecified, Permanent)
    assert unspecified.reason is FailureReason.FORBIDDEN


@pytest.mark.parametrize("code", [400, 403, 409, 422, 500, 503])
def test_a_webhook_that_denies_is_permanent_whatever_status_it_chose(code):
    error = translated(code, status('admission webhook "policy.io" denied the request: no root'))
    assert isinstance(error, Permanent)
    assert error.reason is FailureReason.WEBHOOK_DENIED
    assert "no root" in str(error)


def test_a_webhook_that_cannot_be_called_is_transient():
    error = translated(
        500,
        status('Internal error occurred: failed calling webhook "policy.io": connection refused'),
    )
    assert isinstance(error, Transient)
    assert error.reason is FailureReason.WEBHOOK_UNAVAILABLE


def test_the_api_servers_own_words_come_before_what_a_webhook_quotes():
    denied = 'admission webhook "a" denied the request: it says failed calling webhook "b"'
    failed = 'failed calling webhook "a": the answer was: b denied the request'
    assert translated(400, status(denied)).reason is FailureReason.WEBHOOK_DENIED
    assert translated(500, status(failed)).reason is FailureReason.WEBHOOK_UNAVAILABLE


@pytest.mark.parametrize("code", [502, 503, 504])
def test_what_a_balancer_without_an_api_behind_it_says_needs_a_probe(code):
    error = translated(code, b"<html><body>no healthy upstream</body></html>", "3")
    assert isinstance(error, Unreachable)
    assert error.retry_after == 3


def test_callers_can_tell_missing_conflicting_and_outdated_apart():
    assert isinstance(translated(404, status('jobs.batch "a" not found')), NotFound)
    assert isinstance(translated(409, status('jobs.batch "a" already exists')), Conflict)
    assert isinstance(translated(410, status("too old resource version")), Gone)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b'{"message": 5}', b"{" * 5000, b"null", b"x" * 100_000]
)
def test_no_body_breaks_the_translation(body):
    error = translated(500, body)
    assert isinstance(error, Transient)
    assert len(str(error)) < 600


def test_a_message_is_one_short_line_that_begins_with_the_operation_and_the_status():
    error = translated(422, status("spec.template:\n  Required value " + "x" * 2000))
    assert str(error).startswith("create_job: HTTP 422: spec.template: Required value xx")
    assert len(str(error)) < 540


def test_retry_after_is_read_as_seconds_and_as_a_date():
    assert parse_retry_after("30", now=NOW) == 30
    assert parse_retry_after("1.5", now=NOW) == 1.5
    date = formatdate(NOW + 45, usegmt=True)
    assert parse_retry_after(date, now=NOW) == 45
    assert parse_retry_after(formatdate(NOW - 45, usegmt=True), now=NOW) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "nan", "inf", "-inf", "Mon, 99 Foo"])
def test_a_retry_after_that_says_nothing_is_none(value):
    assert parse_retry_after(value, now=NOW) is None


def test_a_retry_after_without_end_is_bounded():
    assert parse_retry_after("1e300", now=NOW) == 3600
    assert parse_retry_after("-5", now=NOW) == 0
