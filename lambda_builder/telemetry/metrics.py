"""Prometheus metrics in a registry of their own; docs/operations.rst explains each.

Counts that the service keeps anyway are read from it at scrape time, so that /metrics and
/async-jobs/stats cannot disagree. No label takes a value from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from lambda_builder.errors import FailureReason, RefusalCode

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_BUILD_SECONDS = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
BUILD_RESULTS = ("succeeded", "failed", "timeout", "cancelled")
EVENT_MODES = ("binary", "structured", "batch")
DESTINATIONS = ("sink", "dead_letter")
OUTCOMES = ("created", "dead", "cancelled", "skipped")
API_OPERATIONS = (
    "create_job",
    "dry_run_job",
    "get_job",
    "list_jobs",
    "watch_jobs",
    "patch_job",
    "delete_job",
    "probe",
)


@dataclass(frozen=True, slots=True)
class Readings:
    """What the service counts itself, read at one instant for a scrape."""

    gauges: Mapping[str, float] = field(default_factory=dict)
    queue_full: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    retried: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    panics: int = 0
    journals_moved_aside: int = 0
    outbox: Mapping[str, int] = field(default_factory=dict)


_GAUGES = {
    "async_job_queue_depth": "Builds that wait, the delayed ones included.",
    "async_job_queue_capacity": "Builds that may wait.",
    "async_job_oldest_queued_seconds": "Age of the oldest build that waits.",
    "async_worker_count": "Live worker threads.",
    "async_worker_busy": "Worker threads that hold a build.",
    "async_workers_without_room": "Workers that wait because the most Jobs are unfinished.",
    "kubernetes_api_available": "1 while the Kubernetes API answers, 0 while it is away.",
    "build_jobs_active": "Unfinished build Jobs in the namespace.",
    "journal_available": "1 while the journal can be written (or none is used), else 0.",
    "journal_open_builds": "Builds in the journal that have no outcome yet.",
}


class _ServiceCollector(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is read before the first scrape

    def collect(self) -> Iterator[Metric]:
        now = self._read()
        for name, help_text in _GAUGES.items():
            yield GaugeMetricFamily(name, help_text, value=now.gauges.get(name, 0.0))
        pending = GaugeMetricFamily(
            "outbox_pending", "Outgoing events not delivered yet.", labels=["destination"]
        )
        for destination in DESTINATIONS:
            pending.add_metric([destination], now.outbox.get(destination, 0))
        yield pending
        yield CounterMetricFamily(
            "async_job_queue_full", "Events refused because the queue was full.", now.queue_full
        )
        yield _labelled(
            "async_jobs", "Accepted builds by outcome.", "outcome", OUTCOMES, now.outcomes
        )
        yield _labelled(
            "async_job_retries", "Attempts put off.", "reason", FailureReason, now.retried
        )
        yield CounterMetricFamily(
            "async_job_duplicates", "Deliveries of an event seen before.", now.duplicates
        )
        yield CounterMetricFamily("async_worker_panics", "Unexpected exceptions.", now.panics)
        yield CounterMetricFamily(
            "journal_moved_aside",
            "Damaged journals that were replaced by what could be read of them.",
            now.journals_moved_aside,
        )
        yield _labelled(
            "cloudevents_rejected", "Events refused, by code.", "code", RefusalCode, now.rejected
        )


def _labelled(
    name: str, text: str, label: str, known: Iterable[str], counts: Mapping[str, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value in known:
        family.add_metric([str(value)], counts.get(str(value), 0))
    return family


class Metrics:
    """Every metric of one service; thread-safe. Durations are in seconds."""

    def __init__(self, *, event_types: Iterable[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
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
        self.worker_errors = Counter(
            "async_worker_errors", "Failed attempts.", ["reason"], registry=registry
        )
        self.received = Counter(
            "cloudevents_received", "Events that could be read.", ["type", "mode"],
            registry=registry,
        )  # fmt: skip
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
            "From start to end of a build Job.",
            ["result"],
            buckets=_BUILD_SECONDS,
            registry=registry,
        )
        self.event_types = frozenset(event_types)
        self._create_zero_series()

    def _create_zero_series(self) -> None:
        for reason in FailureReason:
            self.worker_errors.labels(reason.value)
        for mode in EVENT_MODES:
            for event_type in (*sorted(self.event_types), "other"):
                self.received.labels(event_type, mode)
        for result in BUILD_RESULTS:
            self.build_jobs_finished.labels(result)
            self.build_job_duration.labels(result)
        for operation in API_OPERATIONS:
            self.api_request_duration.labels(operation, "200")

    def count_received(self, event_type: str, mode: str) -> None:
        """Count an event that could be read; an unknown type becomes ``other``."""
        known = event_type if event_type in self.event_types else "other"
        self.received.labels(known, mode).inc()

    def observe_api_call(self, operation: str, code: str, seconds: float) -> None:
        """Record one call of the Kubernetes API."""
        self.api_request_duration.labels(operation, code).observe(seconds)

    def watch_service(self, read: Callable[[], Readings]) -> None:
        """Read the service's own counters at every scrape."""
        self.registry.register(_ServiceCollector(read))
