"""Prometheus metrics in a registry of their own; docs/operations.rst explains each.

Counts that a part of the service keeps anyway are read from it at scrape time, by a collector of
its own. No label takes a value from outside.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from lambda_builder.builds import FailureCategory
from lambda_builder.errors import FailureReason
from lambda_builder.telemetry.exposition import Exposition
from lambda_builder.telemetry.tracing import current_traceparent

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_BUILD_SECONDS = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
BUILD_RESULTS = ("succeeded", "failed", "timeout", "cancelled")
EVENT_ANSWERS = ("accepted", "refused", "pushed_back", "failed")
DESTINATIONS = ("sink", "dead_letter")
OTHER = "other"
"""Stands for every event type that is not known."""
EVENT_MODES = ("binary", "structured", "batch")
DENIALS = (
    "missing",
    "unknown",
    "signature",
    "window",
    "replayed",
    "claims",
    "session",
    "issuer",
    "unsigned",
    "forbidden",
    "origin",
    "read_only",
    "failures",
)
LIMITS = ("tenant", "service", "queue_share", "failure_backoff")
API_OPERATIONS = {
    "create_job": "201",
    "dry_run_job": "201",
    "get_job": "200",
    "list_jobs": "200",
    "watch_jobs": "200",
    "patch_job": "200",
    "delete_job": "200",
    "list_pods": "200",
    "list_events": "200",
    "read_log": "200",
    "stream_log": "200",
    "get_lease": "200",
    "create_lease": "201",
    "update_lease": "200",
    "probe": "200",
}
"""Every call of the Kubernetes API, with the code of its success."""


class Metrics:
    """Every metric of one service; thread-safe. Durations are in seconds."""

    def __init__(self, *, event_types: Iterable[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        self.exposition = Exposition(registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.queue_wait = Histogram(
            "async_job_queue_wait_seconds",
            "From acceptance to the first attempt.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.processing_duration = Histogram(
            "async_job_processing_duration_seconds",
            "One attempt in a worker.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.creation_delay = Histogram(
            "async_job_creation_delay_seconds",
            "From acceptance to the Job.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.worker_errors = Counter(
            "async_worker_errors", "Failed attempts.", ["reason"], registry=registry
        )
        self.received = Counter(
            "cloudevents_received",
            "Events that could be read; a type that is not known is `other`.",
            ["type", "mode"],
            registry=registry,
        )
        self.answers = Counter(
            "cloudevents_answers",
            "Requests with events: accepted, refused (4xx), pushed back (429, full, stop), failed.",
            ["answer"],
            registry=registry,
        )
        self.api_request_duration = Histogram(
            "kubernetes_api_request_duration_seconds",
            "One call of the Kubernetes API; code is an HTTP status or `error`.",
            ["operation", "code"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.build_jobs_finished = Counter(
            "build_jobs_finished", "Build Jobs that ended.", ["result"], registry=registry
        )
        self.build_job_duration = Histogram(
            "build_job_duration_seconds",
            "From a build Job's start to its end.",
            ["result"],
            buckets=_BUILD_SECONDS,
            registry=registry,
        )
        self.build_failures = Counter(
            "build_failures",
            "Build Jobs that failed (docs/failures.rst).",
            ["category"],
            registry=registry,
        )
        self.job_start = Histogram(
            "build_job_start_seconds",
            "From a build Job's creation to its first pod's running.",
            buckets=(*_SECONDS, 120, 300, 600),
            registry=registry,
        )
        self.oldest_pending = Gauge(
            "build_jobs_oldest_pending_seconds",
            "How long the unsuspended build Job that waits for longest has been kept from running.",
            registry=registry,
        )
        self.oldest_running = Gauge(
            "build_jobs_oldest_running_seconds",
            "How long the build Job that runs for longest has run.",
            registry=registry,
        )
        self.delivered = Counter(
            "outbox_delivered", "Outgoing events delivered.", ["destination"], registry=registry
        )
        self.auth_denied = Counter(
            "auth_denied", "Requests that were not allowed.", ["reason"], registry=registry
        )
        self.rate_limited = Counter(
            "rate_limited", "Events over a limit.", ["scope"], registry=registry
        )
        self.event_types = frozenset(event_types)
        self._create_zero_series()

    def _create_zero_series(self) -> None:
        for reason in FailureReason:
            self.worker_errors.labels(reason.value)
        self._received_by = {
            (event_type, mode): self.received.labels(event_type, mode)
            for mode in EVENT_MODES
            for event_type in (*sorted(self.event_types), OTHER)
        }
        self._answered = {answer: self.answers.labels(answer) for answer in EVENT_ANSWERS}
        for destination in DESTINATIONS:
            self.delivered.labels(destination)
        for result in BUILD_RESULTS:
            self.build_jobs_finished.labels(result)
            self.build_job_duration.labels(result)
        for category in FailureCategory:
            self.build_failures.labels(category)
        for operation, success in API_OPERATIONS.items():
            self.api_request_duration.labels(operation, success)
        for denial in DENIALS:
            self.auth_denied.labels(denial)
        for scope in LIMITS:
            self.rate_limited.labels(scope)

    def count_received(self, event_type: str, mode: str) -> None:
        """Count an event that could be read; an unknown type becomes ``other``."""
        known = event_type if event_type in self.event_types else OTHER
        self._received_by[known, mode].inc()

    def count_answer(self, kind: str) -> None:
        """Count a request with events by how it was answered, one of ``EVENT_ANSWERS``."""
        self._answered[kind].inc()

    def count_delivered(self, destination: str) -> None:
        """Count an outgoing event that its destination took."""
        self.delivered.labels(destination).inc()

    def observe_api_call(self, operation: str, code: str, seconds: float) -> None:
        """Record one call of the Kubernetes API."""
        durations = self.api_request_duration.labels(operation, code)
        durations.observe(seconds, exemplar_of(current_traceparent()))


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Return what an observation is told with where the scraper asks for OpenMetrics.

    The trace that it belongs to, by its W3C ``traceparent``.
    """
    return {"trace_id": traceparent.split("-")[1]} if traceparent else None
