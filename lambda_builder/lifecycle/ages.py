"""JobAges: how long Jobs take to start, and since when the unfinished ones have waited or run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lambda_builder.builds import BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.watcher import JobChange
from lambda_builder.telemetry.metrics import Metrics, exemplar_of


class JobAges:
    """Follows the watch and fills the metrics; thread-safe.

    Times are seconds since the epoch. What was seen to happen has this clock's time, what had
    happened before this replica was there the Job's own, which are whole seconds.
    """

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[str, float] = {}
        """Since when Jobs, by uid, may run and do not."""
        self._running: dict[str, float] = {}
        self._started: set[str] = set()
        """Unfinished Jobs, by uid, that have run, be it in a pod that was evicted since."""
        metrics.oldest_pending.set_function(lambda: self._oldest(self._pending))
        metrics.oldest_running.set_function(lambda: self._oldest(self._running))

    def job_changed(self, change: JobChange) -> None:
        """Listen to the watcher."""
        record, previous, now = change.record, change.previous, self._clock()
        pending = record.state is BuildState.CREATED and not record.suspended
        running = record.state is BuildState.RUNNING
        with self._lock:
            waited_since = self._pending.get(record.uid)
            if not pending:
                self._pending.pop(record.uid, None)
            elif waited_since is None:
                self._pending[record.uid] = self._may_run_since(change, now)
            if not running:
                self._running.pop(record.uid, None)
            elif record.uid not in self._running:
                seen = previous is not None
                self._running[record.uid] = now if seen else _first(record.started_at, now)
            is_start = running and record.uid not in self._started
            if running:
                self._started.add(record.uid)
            elif not record.active:
                self._started.discard(record.uid)
        if is_start and previous is not None and previous.state is BuildState.CREATED:
            self._observe_start(record, now)

    def _may_run_since(self, change: JobChange, now: float) -> float:
        record, previous = change.record, change.previous
        if record.uid in self._started or (previous is not None and previous.suspended):
            return now
        return _first(record.created_at, now)

    def _observe_start(self, record: JobRecord, now: float) -> None:
        if record.created_at is not None:
            exemplar = exemplar_of(record.traceparent)
            self._metrics.job_start.observe(max(0.0, now - record.created_at), exemplar)

    def _oldest(self, since: dict[str, float]) -> float:
        with self._lock:
            return max(0.0, self._clock() - min(since.values())) if since else 0.0


def _first(known: float | None, now: float) -> float:
    return now if known is None else min(known, now)
