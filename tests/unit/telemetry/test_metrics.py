"""What is exposed before anything has happened, and which trace an observation belongs to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from lambda_builder import kube
from lambda_builder.telemetry.metrics import API_OPERATIONS, Metrics, exemplar_of

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SENDS = {"request", "pages", "read", "stream", "_items", "_write", "_request", "_Request"}
"""The methods of ``kube`` that take a call's name first."""


def names_of_calls() -> Iterator[str]:
    """Yield the name of every call of the API in ``kube``'s code."""
    for path in Path(str(kube.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else None
            name = function.id if isinstance(function, ast.Name) else name
            first = node.args[0]
            if name not in SENDS:
                continue
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
            elif isinstance(first, ast.JoinedStr):  # a reflector's, of which only Jobs have one
                [verb, _] = first.values
                assert isinstance(verb, ast.Constant)
                assert isinstance(verb.value, str)
                yield f"{verb.value}jobs"


def test_every_call_of_the_api_has_its_series_at_zero_from_the_start() -> None:
    calls = set(names_of_calls())
    assert {"create_job", "probe", "read_log", "update_lease", "watch_jobs"} <= calls
    assert calls == set(API_OPERATIONS), "add it to API_OPERATIONS"
    text = generate_latest(Metrics().registry).decode()
    for operation, code in API_OPERATIONS.items():
        labels = f'code="{code}",operation="{operation}"'
        assert f"kubernetes_api_request_duration_seconds_count{{{labels}}} 0.0" in text


@pytest.fixture
def in_a_trace() -> Iterator[None]:
    span = NonRecordingSpan(SpanContext(int(TRACE_ID, 16), 0xB7AD6B7169203331, is_remote=False))
    token = context.attach(trace.set_span_in_context(span))
    yield
    context.detach(token)


def exemplars(registry: CollectorRegistry) -> dict[str, dict[str, str]]:
    """Return the exemplars that a scraper gets which asks for OpenMetrics, by series."""
    text = generate_openmetrics(registry).decode()
    return {
        sample.name: dict(sample.exemplar.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    }


@pytest.mark.usefixtures("in_a_trace")
def test_a_call_of_the_api_tells_the_trace_that_it_was_made_in() -> None:
    metrics = Metrics()
    metrics.observe_api_call("create_job", "201", 0.2)
    told = exemplars(metrics.registry)
    assert told == {"kubernetes_api_request_duration_seconds_bucket": {"trace_id": TRACE_ID}}


def test_an_observation_without_a_trace_has_no_exemplar() -> None:
    metrics = Metrics()
    metrics.observe_api_call("create_job", "201", 0.2)
    metrics.queue_wait.observe(1.0, exemplar_of(None))
    assert exemplars(metrics.registry) == {}


def test_plain_text_stays_without_exemplars() -> None:
    metrics = Metrics()
    metrics.queue_wait.observe(1.0, exemplar_of(TRACEPARENT))
    assert exemplars(metrics.registry) == {
        "async_job_queue_wait_seconds_bucket": {"trace_id": TRACE_ID}
    }
    assert TRACE_ID not in generate_latest(metrics.registry).decode()
