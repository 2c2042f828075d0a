"""PipelineCollector: the pipeline's counts for a Prometheus scrape; docs/operations.rst has each.

Each scrape takes one ``Stats``, so that /metrics and /async-jobs/stats cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lambda_builder.errors import FailureReason, RefusalCode, Refused
from lambda_builder.journal import Destination, Journal
from lambda_builder.pipeline.stats import Stats

_DESTINATIONS: tuple[Destination, ...] = ("sink", "dead_letter")
_GAUGES = {
    "async_job_queue_depth": "queue_size",
    "async_job_queue_capacity": "max_queue_size",
    "async_job_oldest_queued_seconds": "oldest_queued_seconds",
    "async_worker_count": "worker_count",
    "async_worker_busy": "busy_workers",
    "async_workers_without_room": "workers_without_room",
    "kubernetes_api_available": "api_available",
    "async_job_capacity_blocked": "capacity_blocked",
    "build_jobs_active": "active_jobs",
}
_COUNTERS = {
    "async_job_queue_full": "queue_full_total",
    "async_job_duplicates": "duplicates_total",
    "async_worker_panics": "panics_total",
}
"""Fields of ``Stats``, which say what they are."""

_JOURNAL_GAUGES = {
    "journal_open_builds": ("open", "Builds in the journal that have no outcome yet."),
    "journal_pool_waiting": (
        "readers_waiting",
        "Reads that wait for a connection to the shared journal.",
    ),
    "journal_replicas": ("replicas", "Replicas that hold a lease in the shared journal."),
}
_JOURNAL_COUNTERS = {
    "journal_moved_aside": (
        "moved_aside",
        "Damaged journals that were replaced by what could be read of them.",
    ),
    "journal_commits": ("commits", "Batches that were written to the journal."),
    "journal_connections_made": (
        "connections_made",
        "Connections made to write to the shared journal: at the start, and where one was lost.",
    ),
    "journal_leases_lost": (
        "leases_lost",
        "Times that this replica was taken for gone, so that others got its builds.",
    ),
    "journal_builds_taken_over": (
        "taken_over",
        "Builds taken over from replicas that stopped or were not heard of.",
    ),
    "journal_builds_relieved": (
        "relieved",
        "Waiting builds taken from a replica with a longer queue.",
    ),
    "outbox_dropped": ("outbox_dropped", "Outgoing events dropped for want of room."),
}
"""Numbers of the journal, and what they say; zero where a journal has no such thing."""


class PipelineCollector(Collector):
    """Reads ``Stats``, and how much the journal holds, at every scrape; thread-safe."""

    def __init__(self, read: Callable[[], Stats], journal: Journal) -> None:
        self._read = read
        self._journal = journal

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand, so that nothing is read before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every series, those at zero included."""
        stats = self._read()
        for name, field in _GAUGES.items():
            yield GaugeMetricFamily(name, _meaning(field), value=float(getattr(stats, field)))
        for name, field in _COUNTERS.items():
            yield CounterMetricFamily(name, _meaning(field), value=getattr(stats, field))
        outcomes = {
            "created": stats.created_total,
            "dead": stats.dead_total,
            "cancelled": stats.cancelled_total,
            "skipped": stats.skipped_total,
        }
        yield _labelled(
            "async_jobs",
            "Accepted builds that need no more attempts.",
            "outcome",
            outcomes,
            outcomes,
        )
        yield _labelled(
            "async_job_retries",
            "Attempts put off.",
            "reason",
            FailureReason,
            stats.retried_by_reason,
        )
        yield _labelled(
            "cloudevents_rejected",
            "Events refused.",
            "code",
            RefusalCode,
            stats.rejected_by_code,
        )
        yield from self._of_journal()

    def _of_journal(self) -> Iterator[Metric]:
        journal, numbers = self._journal, self._journal.stats()
        yield GaugeMetricFamily(
            "journal_available",
            "1 while the journal can be written (or none is used), else 0.",
            value=float(journal.available),
        )
        for name, (key, text) in _JOURNAL_GAUGES.items():
            yield GaugeMetricFamily(name, text, value=numbers.get(key, 0))
        for name, (key, text) in _JOURNAL_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=numbers.get(key, 0))
        yield CounterMetricFamily(
            "journal_commit_seconds",
            "Seconds that were spent on writing batches to the shared journal.",
            value=numbers.get("commit_milliseconds", 0) / 1000,
        )
        pending = GaugeMetricFamily(
            "outbox_pending", "Outgoing events not delivered yet.", labels=["destination"]
        )
        for name in _DESTINATIONS:
            pending.add_metric([name], self._pending(name))
        yield pending

    def _pending(self, destination: Destination) -> int:
        try:
            return self._journal.outbox.pending(destination)
        except Refused:  # a scrape must not fail because the journal does
            return 0


def _meaning(field: str) -> str:
    return Stats.model_fields[field].description or ""


def _labelled(
    name: str, text: str, label: str, known: Iterable[str], counts: Mapping[str, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value in known:
        family.add_metric([str(value)], counts.get(str(value), 0))
    return family
