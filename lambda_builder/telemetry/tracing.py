"""Traces: the request's span goes on in the worker, across the queue, as W3C trace context.

Without an SDK every span is a no-op of the OpenTelemetry API and nothing is exported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lambda_builder.errors import BootError

_PROPAGATOR = TraceContextTextMapPropagator()
_ASKS_FOR_EXPORT = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)


class Exporter(Protocol):
    """What ``start_export`` returns."""

    def shutdown(self) -> None:
        """Send what is buffered and end."""


def current_traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the current span, if there is one."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    """Return the current trace's id in hex, if there is one."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


@contextmanager
def span(name: str, traceparent: str | None, attributes: Mapping[str, Any]) -> Iterator[Span]:
    """Run a block in a span that continues ``traceparent``."""
    parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
    tracer = trace.get_tracer("lambda_builder")
    with tracer.start_as_current_span(
        name, context=parent, kind=SpanKind.CONSUMER, attributes=dict(attributes)
    ) as current:
        yield current


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``OTEL_*`` asks for traces to be exported."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none":
        return False
    return any(environ.get(name) for name in _ASKS_FOR_EXPORT)


def start_export() -> Exporter:
    """Export spans over OTLP as ``OTEL_*`` says; raises ``BootError`` without the extra."""
    try:
        # Only here: the SDK is an optional extra, and importing it costs memory and time.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise BootError(
            "OTEL_* asks for traces, but the exporter is missing: "
            "pip install 'lambda-builder[otlp]', or set OTEL_TRACES_EXPORTER=none"
        ) from error
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
