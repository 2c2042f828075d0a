"""Traces cross the queue: the worker's span continues the request's, where traces are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from lambda_builder.devcluster import DevCluster
from lambda_builder.telemetry import tracing
from tests.integration.service.conftest import BUILT, TYPE, Running
from tests.waiting import wait_until

Start = Callable[..., Running]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The API lets a process set its provider once; each test needs its own.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(tracing, "is_wanted", lambda: True)
    monkeypatch.setattr(tracing, "start_export", lambda: provider)
    trace.set_tracer_provider(provider)
    yield exporter
    FlaskInstrumentor().uninstrument()


def test_the_requests_span_continues_in_the_worker_and_on_the_job(
    cluster: DevCluster, start: Start, spans: InMemorySpanExporter
) -> None:
    running = start()
    running.post(1)
    running.wait_for(1, *BUILT)
    wait_until(lambda: len(spans.get_finished_spans()) >= 2, "both spans")
    found = {span.name: span for span in spans.get_finished_spans()}
    request, worker = found["POST /events"], found["create_job"]
    assert worker.parent is not None
    assert worker.parent.span_id == request.context.span_id
    assert worker.context.trace_id == request.context.trace_id
    annotations = cluster.jobs()[0]["metadata"]["annotations"]
    trace_id = format(request.context.trace_id, "032x")
    assert trace_id in annotations["build.notifi.network/traceparent"]


@pytest.mark.usefixtures("spans")
def test_a_scraper_that_asks_for_openmetrics_gets_the_trace_of_each_latency(start: Start) -> None:
    running = start()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "Ce-Type": TYPE}
    assert running.http.post("/events", json={"parser_id": "p"}, headers=headers).status_code == 200
    expected = {
        "async_job_queue_wait_seconds",
        "async_job_processing_duration_seconds",
        "async_job_creation_delay_seconds",
        "kubernetes_api_request_duration_seconds",
        "build_job_start_seconds",
    }

    def told() -> set[str]:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        text = running.http.get("/metrics", headers=accept).text
        with_trace = [line for line in text.splitlines() if f'# {{trace_id="{trace_id}"}}' in line]
        return {line.partition("_bucket{")[0] for line in with_trace}

    wait_until(lambda: told() >= expected, lambda: f"each to tell it, are {told()}")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
    ],
)
def test_nothing_is_exported_unless_the_environment_asks(
    environment: dict[str, str], wanted: bool
) -> None:
    assert tracing.is_wanted(environment) is wanted
