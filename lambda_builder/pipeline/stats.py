"""Stats: what the service counts, as one frozen value: JSON, metrics and OpenAPI are made of it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=0)]


class Stats(BaseModel):
    """The service's counts, all from one instant.

    accepted_total = queue_size + busy_workers + created_total + dead_total + cancelled_total
    + skipped_total.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    worker_count: _Count = 0
    """Live worker threads."""
    busy_workers: _Count = 0
    """Worker threads that hold a build."""
    min_workers: _Count = 0
    max_workers: _Count = 0
    queue_size: _Count = 0
    """Builds that wait, the delayed ones included."""
    max_queue_size: _Count = 0
    """Builds that may wait."""
    delayed: _Count = 0
    """Builds that wait for their next attempt."""
    capacity_blocked: _Count = 0
    """Builds that wait because a quota of the build namespace is full."""
    oldest_queued_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Age of the oldest build that waits."""
    results_count: _Count = 0
    """Builds held with an outcome."""
    active_jobs: _Count = 0
    """Unfinished build Jobs in the build namespace."""
    workers_without_room: _Count = 0
    """Workers that wait because the most Jobs are unfinished."""
    accepted_total: _Count = 0
    created_total: _Count = 0
    dead_total: _Count = 0
    cancelled_total: _Count = 0
    skipped_total: _Count = 0
    succeeded_total: _Count = 0
    """Jobs that built their image."""
    failed_total: _Count = 0
    """Jobs that failed, or ran out of time."""
    retried_total: _Count = 0
    retried_by_reason: dict[str, int] = {}
    rejected_total: _Count = 0
    rejected_by_code: dict[str, int] = {}
    duplicates_total: _Count = 0
    """Deliveries of an event seen before."""
    panics_total: _Count = 0
    """Unexpected exceptions in workers."""
    queue_full_total: _Count = 0
    """Events refused because the queue was full."""
    api_available: bool = True
    """Whether the Kubernetes API was there when last heard of."""
    is_shutdown: bool = False


class Counts:
    """Labelled counters behind one lock; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("retried", "rejected", "duplicates", "panics")
        }

    def add(self, name: str, label: str = "") -> None:
        """Count one of ``name``: ``retried`` by reason, ``rejected`` by code, and so on."""
        with self._lock:
            self._counts[name][label] += 1

    def snapshot(self) -> dict[str, Counter[str]]:
        """Return a copy of all counters from one instant."""
        with self._lock:
            return {name: Counter(counts) for name, counts in self._counts.items()}
