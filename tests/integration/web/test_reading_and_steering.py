"""``/async-jobs``: builds read, cancelled and retried over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import FailureReason, RefusalCode, Refused, Unreachable
from lambda_builder.selection import BuildFilter
from lambda_builder.web import models


def test_a_build_is_shown_with_every_field_absent_ones_null(house, make_result):
    house.directory.builds["order-7"] = make_result()
    answer = house.client.get("/async-jobs/order-7")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["state"] == "created"
    assert answer.json["finished_at"] is None
    models.Build.model_validate(answer.json)


def test_the_answer_carries_the_builds_correlation_id_unless_the_reader_has_one(house, make_result):
    house.directory.builds["order-7"] = make_result()
    get = house.client.get
    assert get("/async-jobs/order-7").headers["X-Correlation-ID"] == "order-7"
    own = get("/async-jobs/order-7", headers={"X-Correlation-ID": "mine"})
    assert own.headers["X-Correlation-ID"] == "mine"


def test_head_answers_as_get_without_the_body(house, make_result):
    house.directory.builds["order-7"] = make_result()
    for path in ("/async-jobs/order-7", "/async-jobs", "/async-jobs/stats"):
        got, head = house.client.get(path), house.client.head(path)
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_stats_show_what_the_service_counted_and_win_over_an_id(house, make_result):
    house.directory.builds["stats"] = make_result()
    answer = house.client.get("/async-jobs/stats")
    assert models.Stats.model_validate(answer.json) == house.creator.get_stats()
    assert house.directory.asked == []


ODD_IDS = [
    "a b",
    "a/b",
    "a//b",
    "/a",
    "//",
    "https://example.org/x?y=1#z",
    "100%",
    "100%25",
    "ü🚀",
    "..",
    "a/../b",
    "stats/x",
    "x/retry",
    "x;y=1&z",
    "retry",
    "logs",
]


@pytest.mark.parametrize("build_id", ODD_IDS)
def test_any_correlation_id_can_be_read_cancelled_retried_and_its_log_followed(
    house, make_result, build_id
):
    house.directory.builds[build_id] = make_result(correlation_id=build_id)
    path = "/async-jobs/" + quote(build_id, safe="")
    client = house.client
    assert client.get(path).status_code == 200
    assert client.delete(path).status_code == 200
    assert client.post(f"{path}/retry").status_code == 200
    with client.get(f"{path}/logs") as answer:
        assert answer.status_code == 200
    asked = [("get", build_id), ("cancel", build_id), ("retry", build_id), ("log", build_id)]
    assert house.directory.asked == asked


def test_a_cancelled_build_is_answered_with_the_result(house, make_result):
    house.directory.builds["order-7"] = make_result()
    answer = house.client.delete("/async-jobs/order-7")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    models.Build.model_validate(answer.json)


def test_a_retried_build_is_answered_with_the_result(house, make_result):
    house.directory.builds["order-7"] = make_result(state=BuildState.DEAD)
    answer = house.client.post("/async-jobs/order-7/retry")
    assert (answer.status_code, answer.json["state"]) == (200, "queued")
    models.Build.model_validate(answer.json)


@pytest.mark.parametrize("code", ["already_finished", "ambiguous", "not_retryable"])
def test_what_cannot_be_steered_is_a_conflict(house, code):
    house.directory.refusal = Refused(RefusalCode(code), "no")
    for answer in (
        house.client.delete("/async-jobs/x"),
        house.client.post("/async-jobs/x/retry"),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, code)


def test_steering_gives_its_thread_back_however_it_ends(build_house):
    house = build_house(http_threads=2)
    for _ in range(10):
        assert house.client.delete("/async-jobs/nobody").status_code == 404


def test_a_list_is_a_page_with_the_cursor_of_the_next(house, make_result):
    house.directory.builds["order-7"] = make_result()
    house.directory.next_cursor = "more"
    answer = house.client.get("/async-jobs")
    assert answer.json["next_cursor"] == "more"
    assert [item["correlation_id"] for item in answer.json["items"]] == ["order-7"]
    models.BuildPage.model_validate(answer.json)


def test_a_list_without_parameters_asks_for_fifty_of_all(house):
    assert house.client.get("/async-jobs").json == {"items": [], "next_cursor": None}
    assert house.directory.asked == [("list", (BuildFilter(), 50, None))]


def test_parameters_reach_the_list_and_unknown_or_empty_ones_do_not(house):
    house.client.get(
        "/async-jobs?state=dead&third_party_id=a%2Fb&correlation_id=&limit=500&cursor=c&colour=red"
        "&state=failed&state=&parser_id=p&category=disk&q=%C3%9C&since=2026-11-24T06:00:00.5Z"
        "&until=2026-11-24T08:00:00+01:00"
    )
    [(_, asked)] = house.directory.asked
    wanted = BuildFilter(
        states=frozenset({BuildState.DEAD, BuildState.FAILED}),
        third_party_id="a/b",
        parser_id="p",
        category="disk",
        q="Ü",
        since=1795500000.5,
        until=1795503600.0,
    )
    assert asked == (wanted, 500, "c")


def test_a_build_that_waits_shows_its_place_in_the_queue_and_no_other_does(house, make_result):
    house.directory.builds["waits"] = make_result(state=BuildState.RETRYING)
    house.directory.builds["built"] = make_result()
    assert house.client.get("/async-jobs/waits").json["position"] == 1
    assert house.client.get("/async-jobs/built").json["position"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=finished", "state"),
        ("state=DEAD", "state"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e2", "limit"),
        ("limit=٣", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=%00", "limit"),
        ("state=dead&state=finished", "state"),
        ("category=bad_luck", "category"),
        ("q=a%1Fb", "q"),
        (f"q={'a' * 254}", "q"),
        ("since=yesterday", "since"),
        ("since=2026-11-24", "since"),
        ("since=2026-11-24T06:00:00", "since"),
        ("until=2026-13-24T06:00:00Z", "until"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(house, query, field):
    answer = house.client.get(f"/async-jobs?{query}")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_parameter")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert house.directory.asked == []


def test_all_bad_parameters_are_told_at_once(house):
    answer = house.client.get("/async-jobs?state=x&limit=0&until=now&q=%00")
    assert [e["field"] for e in answer.json["errors"]] == ["state", "q", "until", "limit"]


def test_a_bad_cursor_is_refused(house):
    answer = house.client.get("/async-jobs?cursor=bad")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_parameter")


def test_builds_are_read_and_cancelled_under_upstreams_names_as_well(house, make_result):
    house.directory.builds["a/b"] = make_result(correlation_id="a/b")
    get = house.client.get
    for path in ("", "/a%2Fb", "?state=created&limit=1&cursor=bad", "/nobody"):
        ours, theirs = get(f"/async-jobs{path}"), get(f"/builds{path}")
        assert theirs.status_code == ours.status_code
        if ours.status_code == 200:
            assert theirs.json == ours.json
    answer = house.client.post("/builds/a%2Fb/cancel")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert house.directory.asked[-1] == ("cancel", "a/b")
    assert house.client.post("/builds/nobody/cancel").json["code"] == "not_found"
    assert house.client.get("/builds/stats").status_code == 404


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_many_builds_are_steered_by_the_filters_of_the_list(house, make_result, action):
    house.directory.builds = {"one": make_result(), "two": make_result()}
    answer = house.client.post(f"/async-jobs/{action}?third_party_id=a&state=failed&dry_run=true")
    assert answer.json == {
        "matched": 2,
        "done": 1,
        "refused": [
            {
                "job_name": make_result().request.job_name,
                "code": "already_finished",
                "detail": "it has ended",
            }
        ],
    }
    models.BulkAnswer.model_validate(answer.json)
    wanted = BuildFilter(third_party_id="a", states=frozenset({BuildState.FAILED}))
    assert house.directory.asked == [(action, (wanted, True))]


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("query", "field"),
    [("", "all"), ("?all=false", "all"), ("?state=", "all"), ("?q=a&dry_run=perhaps", "dry_run")],
)
def test_all_builds_are_steered_only_where_that_is_said(house, action, query, field):
    answer = house.client.post(f"/async-jobs/{action}{query}")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_parameter")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert house.directory.asked == []
    assert house.client.post(f"/async-jobs/{action}?all=true").status_code == 200
    assert house.directory.asked == [(action, (BuildFilter(), False))]


def test_provenance_is_shown_or_there_is_none(house, make_result):
    house.directory.builds["order-7"] = make_result()
    answer = house.client.get("/async-jobs/order-7/provenance")
    assert (answer.status_code, answer.json["code"]) == (404, "no_provenance")
    house.directory.statement = {"_type": "https://in-toto.io/Statement/v1"}
    answer = house.client.get("/async-jobs/order-7/provenance")
    assert (answer.status_code, answer.json) == (200, house.directory.statement)
    unknown = house.client.get("/async-jobs/order-8/provenance")
    assert (unknown.status_code, unknown.json["code"]) == (404, "not_found")
    house.directory.api_error = Unreachable(FailureReason.CONNECTION, "away")
    away = house.client.get("/async-jobs/order-7/provenance")
    assert (away.status_code, away.json["code"]) == (503, "kubernetes_unavailable")
