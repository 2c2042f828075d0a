"""What is refused, and how it is told."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from lambda_builder.errors import (
    FailureReason,
    FieldProblem,
    Permanent,
    RefusalCode,
    Refused,
    Transient,
)
from lambda_builder.problems import KINDS
from lambda_builder.web import models

ANSWERS = {
    RefusalCode.QUEUE_FULL: "pushed_back",
    RefusalCode.SHUTTING_DOWN: "pushed_back",
    RefusalCode.TOO_MANY_WAITING: "pushed_back",
    RefusalCode.TENANT_LIMIT: "pushed_back",
    RefusalCode.INVALID_DATA: "refused",
    RefusalCode.FORBIDDEN: "refused",
    RefusalCode.JOURNAL_UNAVAILABLE: "failed",
    RefusalCode.INTERNAL_ERROR: "failed",
}
MEMBERS = {"type", "title", "status", "detail", "code", "correlation_id", "errors"}
LIMIT = 65_536


class CountingStream(io.RawIOBase):
    """An endless body that knows how much of it was taken."""

    def __init__(self):
        self.taken = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = b" " * len(buffer)
        self.taken += len(buffer)
        return len(buffer)


class BrokenStream(io.RawIOBase):
    """A body whose framing turns out to be broken, as the server's parser tells it."""

    def readable(self):
        return True

    def readinto(self, buffer):
        raise RuntimeError("bad trailer")


def post_stream(house, stream, length=None):
    """Send a body piece by piece: chunked, as gunicorn shows it, unless a length is given."""
    announced = {"HTTP_TRANSFER_ENCODING": "chunked"}
    if length is not None:
        announced = {"CONTENT_LENGTH": str(length)}
    return house.client.post(
        "/events",
        headers={"Ce-Type": "network.notifi.lambda.build.start"},
        content_type="application/json",
        environ_overrides={"wsgi.input": stream, "wsgi.input_terminated": True, **announced},
    )


def check_problem(answer, status, code):
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    problem = answer.json
    assert set(problem) == MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["correlation_id"] == answer.headers["X-Correlation-ID"]
    models.Problem.model_validate(problem)
    return problem


def test_every_refusal_code_has_its_status_and_title(house):
    assert set(KINDS) == set(RefusalCode)
    for code, kind in KINDS.items():
        house.directory.refusal = Refused(code, f"because of {code}")
        problem = check_problem(house.client.get("/async-jobs/x"), kind.status, code)
        assert problem["title"] == kind.title
        assert problem["detail"] == f"because of {code}"
        assert problem["errors"] is None


def test_every_429_and_503_says_when_to_come_back(house):
    for code, kind in KINDS.items():
        house.directory.refusal = Refused(code, "no")
        retry_after = house.client.get("/async-jobs/x").headers.get("Retry-After")
        assert (retry_after is not None) == (kind.status in (429, 503))
        assert retry_after is None or 1 <= int(retry_after) <= 60


def test_a_refusals_own_delay_goes_before_the_usual_one(house):
    house.creator.refusal = Refused(
        RefusalCode.QUEUE_FULL, "job queue full, please retry later", retry_after=17
    )
    answer = house.post()
    problem = check_problem(answer, 503, "queue_full")
    assert answer.headers["Retry-After"] == "17"
    assert problem["detail"].startswith("job queue full, please retry later")
    assert problem["correlation_id"] == "id-1"


def test_bad_data_is_refused_naming_the_field(house):
    problem = check_problem(house.post(data={"parser_id": None}), 400, "invalid_data")
    assert problem["errors"] == [{"field": "parser_id", "message": "must not be null"}]
    assert house.creator.rejected == ["invalid_data"]


def test_an_unsupported_event_type_is_refused_naming_the_supported_ones(house):
    answer = house.post(headers={"Ce-Type": "com.example.other"})
    problem = check_problem(answer, 400, "unsupported_event_type")
    assert "network.notifi.lambda.build.start" in problem["detail"]


def test_an_unknown_structured_format_is_refused_with_415(house):
    answer = house.client.post(
        "/events", data="<event/>", content_type="application/cloudevents+xml"
    )
    check_problem(answer, 415, "unsupported_format")


def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_refused(build_house):
    house = build_house(max_body_bytes=LIMIT)
    body = json.dumps({"parser_id": "p"}).encode()
    for chunked in (False, True):
        for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
            stream = io.BytesIO(body.ljust(size))
            answer = post_stream(house, stream, None if chunked else size)
            assert answer.status_code == status, (chunked, size)
    assert house.creator.rejected == ["body_too_large"] * 2


def test_an_endless_body_is_refused_after_the_limit_without_reading_on(build_house):
    house = build_house(max_body_bytes=LIMIT)
    stream = CountingStream()
    answer = post_stream(house, stream)
    check_problem(answer, 413, "body_too_large")
    assert stream.taken <= LIMIT + 1


def test_an_announced_length_over_the_limit_is_refused_without_reading_anything(build_house):
    house = build_house(max_body_bytes=LIMIT)
    stream = CountingStream()
    answer = post_stream(house, stream, LIMIT + 1)
    check_problem(answer, 413, "body_too_large")
    assert stream.taken == 0


def test_a_body_that_breaks_off_is_a_bad_request(house):
    check_problem(post_stream(house, BrokenStream()), 400, "bad_request")


def test_a_body_shorter_than_announced_is_not_taken_for_the_whole(house):
    whole = io.BytesIO(b'{"parser_id": "p"}')
    check_problem(post_stream(house, whole, 19), 400, "bad_request")
    assert house.creator.receipts == []


def test_while_shutting_down_new_events_are_refused_unread_and_reads_go_on(house, make_result):
    house.creator.is_shutdown = True
    house.directory.builds["order-7"] = make_result()
    stream = CountingStream()
    answer = post_stream(house, stream, 100)
    check_problem(answer, 503, "shutting_down")
    assert answer.headers["Connection"] == "close"
    assert int(answer.headers["Retry-After"]) >= 1
    assert stream.taken == 0
    assert house.creator.rejected == ["shutting_down"]
    assert house.client.get("/async-jobs/order-7").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nowhere", "/events/", "/async-jobs/", "/async-jobs", "/nowhere//x"]
)
def test_an_unknown_path_is_answered_as_a_problem_with_a_correlation_id(house, path):
    if path == "/async-jobs":
        path = "/async-jobs/nobody"
    problem = check_problem(house.client.get(path), 404, "not_found")
    assert problem["correlation_id"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
@pytest.mark.parametrize(
    ("path", "allowed"), [("/events", "POST, OPTIONS"), ("/", "GET, HEAD, POST, OPTIONS")]
)
def test_other_methods_than_those_of_a_path_are_refused(house, path, allowed, method):
    answer = house.client.open(path, method=method)
    if method in allowed.split(", "):
        assert answer.status_code == 200
        return
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    if method != "HEAD":
        check_problem(answer, 405, "method_not_allowed")


def test_allow_names_every_method_of_a_path_that_several_routes_share(house):
    assert house.client.put("/async-jobs/x").headers["Allow"] == "GET, HEAD, DELETE, OPTIONS"
    assert house.client.delete("/async-jobs/stats").headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_usable_correlation_id_is_echoed_on_every_answer(house):
    headers = {"X-Correlation-ID": "mine-1"}
    for path in ("/health", "/ready", "/metrics", "/nowhere", "/async-jobs/stats", "/events"):
        answer = house.client.get(path, headers=headers)
        assert answer.headers.getlist("X-Correlation-ID") == ["mine-1"], path


@pytest.mark.parametrize("value", ["", "x" * 254, "caf\u00e9", "tab\tin"])
def test_an_unusable_correlation_id_is_replaced_by_a_fresh_one(house, value):
    ids = {
        house.client.get("/health", headers={"X-Correlation-ID": value}).headers["X-Correlation-ID"]
        for _ in range(2)
    }
    assert len(ids) == 2
    assert value not in ids


def test_a_rejection_is_logged_in_one_line_without_anything_of_the_body(house):
    with structlog.testing.capture_logs() as logs:
        house.post(data={"parser_id": None, "secret": "hunter2"})
    [line] = logs
    assert line["event"] == "event_rejected"
    assert (line["code"], line["fields"]) == ("invalid_data", ["parser_id"])
    assert "hunter2" not in json.dumps(line)
    assert len(json.dumps(line)) < 1000


def test_what_kubernetes_failed_to_do_is_no_internal_error(house):
    house.directory.refusal = Transient(FailureReason.CONNECTION, "connection refused")
    check_problem(house.client.get("/async-jobs/x"), 503, "kubernetes_unavailable")


def test_what_kubernetes_refused_for_good_is_not_to_be_tried_again(house):
    house.directory.refusal = Permanent(FailureReason.FORBIDDEN, "get pods/log: HTTP 403")
    answer = house.client.get("/async-jobs/x/logs")
    check_problem(answer, 502, "kubernetes_refused")
    assert "Retry-After" not in answer.headers


def test_a_bug_is_logged_with_its_traceback_and_answered_without_it(house):
    house.directory.refusal = RuntimeError("boom")
    with structlog.testing.capture_logs() as logs:
        problem = check_problem(house.client.get("/async-jobs/x"), 500, "internal_error")
    assert "boom" not in json.dumps(problem)
    assert [line["event"] for line in logs] == ["request_crashed"]
    assert isinstance(logs[0]["exc_info"], RuntimeError)


def test_the_errors_of_a_refusal_are_told_field_by_field(house):
    house.directory.refusal = Refused(
        RefusalCode.INVALID_PARAMETER, "no", errors=[FieldProblem("a", "b"), FieldProblem("c", "d")]
    )
    problem = check_problem(house.client.get("/async-jobs/x"), 400, "invalid_parameter")
    assert problem["errors"] == [{"field": "a", "message": "b"}, {"field": "c", "message": "d"}]


def answered(house, answer):
    return house.metrics.registry.get_sample_value("cloudevents_answers_total", {"answer": answer})


@pytest.mark.parametrize("code", ANSWERS)
def test_an_answer_to_an_event_counts_as_failed_only_where_the_service_is_to_blame(house, code):
    house.creator.refusal = Refused(code, "no")
    assert house.post().status_code == KINDS[code].status
    counts = {answer: answered(house, answer) for answer in set(ANSWERS.values()) | {"accepted"}}
    assert counts.pop(ANSWERS[code]) == 1
    assert set(counts.values()) == {0}


def test_an_event_that_meets_a_bug_counts_as_failed_and_what_is_no_event_not_at_all(house):
    house.creator.refusal = RuntimeError("a bug")
    assert house.post().status_code == 500
    assert answered(house, "failed") == 1
    house.creator.refusal = None
    assert house.post().status_code == 200
    assert house.client.get("/events/rejected").status_code == 200
    assert house.client.post("/async-jobs/none/retry").status_code == 404
    assert (answered(house, "accepted"), answered(house, "refused")) == (1, 0)
