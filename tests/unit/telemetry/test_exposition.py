"""The metrics as text: byte for byte what the library of Prometheus writes, which is slower."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from lambda_builder.telemetry.exposition import Exposition
from lambda_builder.telemetry.metrics import Metrics

TRACE = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}


@pytest.fixture
def registry() -> CollectorRegistry:
    """One of each kind of metric, with values and texts that are written in a way of their own."""
    registry = CollectorRegistry()
    Gauge("empty", "Without series.", ["a"], registry=registry)
    gauge = Gauge("levels", 'A \\ back\nslash and "quotes".', ["b", "a"], registry=registry)
    values = (0, -0.0, 1, -2.5, 1e6, 1234567.5, 1e21, 1e-9, math.inf, -math.inf, math.nan)
    for number, value in enumerate(values):
        gauge.labels(f'x\\"\n{number}é', "y").set(value)
    Counter("things", "Counted.", registry=registry).inc(3, TRACE)
    Info("version", "Of it.", registry=registry).info({"number": "1.2"})
    durations = Histogram("took_seconds", "Took.", ["of"], buckets=(0.1, 1), registry=registry)
    durations.labels("this").observe(0.5, TRACE)
    durations.labels("that").observe(5)
    return registry


def test_the_classic_format_is_what_the_library_writes(registry: CollectorRegistry):
    exposition = Exposition(registry)
    for _ in range(2):  # put together, and put together before
        assert exposition.classic() == generate_latest(registry)


def test_openmetrics_is_what_the_library_writes(registry: CollectorRegistry):
    exposition = Exposition(registry)
    for _ in range(2):
        assert exposition.openmetrics() == openmetrics.generate_latest(registry)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "text/plain;version=1.0.0;escaping=dots",
        "application/openmetrics-text;version=1.0.0;escaping=values,text/plain;q=0.5",
        "application/openmetrics-text;version=1.0.0;escaping=dots",
        "application/openmetrics-text;version=nonsense",
    ],
)
def test_the_format_asked_for_is_written(registry: CollectorRegistry, accept: str):
    text, content_type = Exposition(registry).answer(accept)
    escaping = "dots" if "dots" in accept else "underscores"
    if content_type.startswith("application/openmetrics-text"):
        assert text == openmetrics.generate_latest(registry, escaping=escaping)
    else:
        assert text == generate_latest(registry, escaping=escaping)


def test_the_services_own_metrics_are_written_alike():
    metrics = Metrics(event_types=["a"])
    metrics.observe_api_call("create_job", "201", 0.2)
    metrics.count_received("a", "binary")

    def of_ours(text: bytes) -> list[bytes]:
        """Those of the process change all the time."""
        return [
            line for line in text.splitlines() if b"process_" not in line and b"_gc_" not in line
        ]

    assert of_ours(metrics.exposition.classic()) == of_ours(generate_latest(metrics.registry))
    theirs = openmetrics.generate_latest(metrics.registry)
    assert of_ours(metrics.exposition.openmetrics()) == of_ours(theirs)
