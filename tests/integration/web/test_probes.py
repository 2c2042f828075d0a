"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text


def test_health_is_ok_whatever_else_is_wrong(house):
    house.creator.is_ready, house.creator.is_shutdown = False, True
    answer = house.client.get("/health")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Correlation-ID"]


def test_ready_says_so(house):
    answer = house.client.get("/ready")
    assert (answer.status_code, answer.text) == (200, "ready")


def test_not_ready_is_a_problem_that_may_pass(house):
    house.creator.is_ready = False
    answer = house.client.get("/ready")
    assert (answer.status_code, answer.json["code"]) == (503, "not_ready")
    assert int(answer.headers["Retry-After"]) >= 1


def test_draining_is_not_ready(house):
    house.creator.is_shutdown = True
    answer = house.client.get("/ready")
    assert (answer.status_code, answer.json["code"]) == (503, "shutting_down")


def test_probes_answer_head(house):
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        assert house.client.head(path).status_code == 200


def test_metrics_are_prometheus_text_by_default(house):
    answer = house.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in read_text(answer.text)}
    assert "cloudevents_received" in names


def test_metrics_are_openmetrics_for_who_asks(house):
    accept = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = house.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "cloudevents_received" in {family.name for family in read_openmetrics(answer.text)}


@pytest.mark.parametrize(
    "accept",
    ["text/plain; version=abc", "application/openmetrics-text; version=x.y", ";;,=", "*/*", ""],
)
def test_an_accept_header_of_any_kind_gets_metrics(house, accept):
    answer = house.client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert "cloudevents_received_total" in answer.text
