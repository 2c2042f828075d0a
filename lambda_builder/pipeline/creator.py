"""AsyncJobCreator: takes builds, answers at once, and has a pool of workers create their Jobs.

Ties queue, pool, journal and results together, from start through replay to the drain.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from lambda_builder.builds import BuildRequest
from lambda_builder.errors import Refused
from lambda_builder.journal import Destination, NoJournal, OpenBuild
from lambda_builder.kube.health import ApiHealth
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.ledger import BuildRecords
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.pipeline.stats import Counts
from lambda_builder.telemetry.metrics import Readings
from lambda_builder.threads import Periodic

_REPLAY_PAGE = 500
_REPLAY_RETRY_SECONDS = 1.0
_FLUSH_SECONDS = 0.5
_SWEEP_SECONDS = 5.0
_REMEMBERED = ("dead", "cancelled")
"""Outcomes that nothing but the journal knows after a restart: these builds have no Job."""
_REMEMBERED_MAX = 10_000

_DESTINATIONS: tuple[Destination, ...] = ("sink", "dead_letter")

Stats = dict[str, int | float | bool | None]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What is counted of Jobs, once they exist."""

    active: int = 0
    failed: int = 0
    workers_without_room: int = 0
    """Workers that wait because ``MAX_ACTIVE_JOBS`` are unfinished."""


class AsyncJobCreator:
    """Creates Jobs in the background; every method is thread-safe."""

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        pool: WorkerPool[Build],
        records: BuildRecords,
        health: ApiHealth,
        counts: Counts,
        job_counts: Callable[[], JobCounts] = JobCounts,
    ) -> None:
        self.queue = build_queue
        self.records = records
        self.counts = counts
        self._pool = pool
        self._health = health
        self._job_counts = job_counts
        self._closing = threading.Event()
        self._started = threading.Event()
        self._replay_thread = threading.Thread(target=self._replay, name="replay", daemon=True)
        self._last_row = self._expected = 0
        self._sweeper = Periodic("sweeper", _SWEEP_SECONDS, records.results.sweep)

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Open the journal, begin the replay, start the workers. Harmless twice.

        Raises ``BootError`` when the journal cannot be used.
        """
        if self._started.is_set() or self._closing.is_set():
            return
        journal = self.records.journal
        report = journal.open()
        if isinstance(journal, NoJournal):
            structlog.get_logger().warning(
                "no_journal", consequence="builds that wait are lost if this process is killed"
            )
        if report.open_rows:
            self._last_row, self._expected = report.last_seq, report.open_rows
            self.queue.expect(report.open_rows)
            structlog.get_logger().info("replay_started", builds=report.open_rows)
            self._replay_thread.start()
        for result in reversed(journal.finished(states=_REMEMBERED, limit=_REMEMBERED_MAX)):
            self.records.results.put(result)
        self._sweeper.start()
        self._pool.start()
        self._started.set()

    def close_intake(self) -> None:
        """Refuse new events from now on; what was accepted is still worked off."""
        self._closing.set()
        self.queue.close()

    def drain(self, deadline: float) -> list[Build]:
        """Work off the queue until ``deadline`` (monotonic), then stop the workers.

        Returns the builds that are left, in their order, those included that a worker holds in
        a call that does not end: their Jobs' names make it harmless to build them again.
        """
        self.close_intake()
        self.queue.wait_finished(max(0.0, deadline - time.monotonic()))
        self.queue.halt()
        alive = self._pool.stop(max(1.0, deadline - time.monotonic()))
        alive += self._sweeper.stop(1.0)
        if self._replay_thread.ident is not None:
            self._replay_thread.join(1.0)
        if alive:
            structlog.get_logger().warning("threads_still_alive", threads=alive)
        return [entry.item for entry in self.queue.unfinished()]

    @property
    def is_ready(self) -> bool:
        """Whether events are taken and at least one worker lives."""
        return self._started.is_set() and not self._closing.is_set() and self._pool.size > 0

    @property
    def is_shutdown(self) -> bool:
        """Whether the intake is closed."""
        return self._closing.is_set()

    # -- replay --------------------------------------------------------------------------------

    def _replay(self) -> None:
        """Queue what the journal holds, oldest first, as room allows."""
        log = structlog.get_logger()
        expected, replayed = self._expected, 0
        for row in self._rows():
            build = self.records.adopt(row.request, row.attempts)
            expected -= 1
            if build is None or not self.records.builds.enter(build):
                self.queue.unexpect()
                continue
            try:
                self.queue.put_expected(entry_for(build))
            except QueueClosed:
                log.info("replay_cut_short", builds=replayed)
                return
            replayed += 1
        self.queue.unexpect(expected)  # rows that nobody can read hold no room for ever
        log.info("replay_finished", builds=replayed)

    def _rows(self) -> Iterator[OpenBuild]:
        """Read the rows that an earlier process left open, however often a read fails."""
        after = 0
        while not self._closing.is_set():
            try:
                rows = self.records.journal.open_builds(
                    after_seq=after, up_to_seq=self._last_row, limit=_REPLAY_PAGE
                )
            except Exception:  # noqa: BLE001 - these builds were accepted: they must be read
                structlog.get_logger().exception("replay_read_failed", after=after)
                self._closing.wait(_REPLAY_RETRY_SECONDS)
                continue
            if not rows:
                return
            yield from rows
            after = rows[-1].seq

    def not_replayed(self, left: Sequence[Build]) -> list[BuildRequest]:
        """Return builds that an earlier process left and that are not among ``left``; a page full.

        To be called after ``drain``.
        """
        known = {build.request.event_hash for build in left}
        journal = self.records.journal
        journal.flush(_FLUSH_SECONDS)  # an outcome on its way would look like none
        try:
            rows = journal.open_builds(after_seq=0, up_to_seq=self._last_row, limit=_REPLAY_PAGE)
        except Refused:
            return []
        return [row.request for row in rows if row.request.event_hash not in known]

    # -- numbers -------------------------------------------------------------------------------

    def get_stats(self) -> Stats:
        """Return the counts of contract section 2, all from one instant."""
        minimum, maximum = self._pool.bounds
        jobs = self._job_counts()
        size, ended = self._pool.size, self.records.results.ended_count
        with self.queue.frozen() as queue:
            counts = self.counts.snapshot()
        outcomes = queue.outcomes
        return {
            "worker_count": size,
            "busy_workers": queue.held,
            "min_workers": minimum,
            "max_workers": maximum,
            "queue_size": queue.depth,
            "max_queue_size": queue.capacity,
            "delayed": queue.delayed,
            "oldest_queued_seconds": round(queue.oldest_queued_seconds, 3),
            "results_count": ended,
            "accepted_total": queue.accepted,
            "created_total": outcomes["created"],
            "dead_total": outcomes["dead"],
            "cancelled_total": outcomes["cancelled"],
            "skipped_total": outcomes["skipped"],
            "failed_total": jobs.failed,
            "retried_total": counts["retried"].total(),
            "rejected_total": counts["rejected"].total(),
            "duplicates_total": counts["duplicates"].total(),
            "panics_total": counts["panics"].total(),
            "active_jobs": jobs.active,
            "workers_without_room": jobs.workers_without_room,
            "api_available": self._health.available,
            "is_shutdown": self.is_shutdown,
        }

    def readings(self) -> Readings:
        """Return the same counts for a Prometheus scrape."""
        stats, journal = self.get_stats(), self.records.journal.stats()
        with self.queue.frozen() as queue:
            counts = self.counts.snapshot()
        return Readings(
            gauges={
                "async_job_queue_depth": queue.depth,
                "async_job_queue_capacity": queue.capacity,
                "async_job_oldest_queued_seconds": queue.oldest_queued_seconds,
                "async_worker_count": float(stats["worker_count"] or 0),
                "async_worker_busy": queue.held,
                "kubernetes_api_available": float(self._health.available),
                "async_workers_without_room": float(stats["workers_without_room"] or 0),
                "build_jobs_active": float(stats["active_jobs"] or 0),
                "journal_available": float(self.records.journal.available),
                "journal_open_builds": journal.get("open", 0),
            },
            queue_full=queue.full,
            outcomes=queue.outcomes,
            retried=counts["retried"],
            rejected=counts["rejected"],
            duplicates=counts["duplicates"].total(),
            panics=counts["panics"].total(),
            journals_moved_aside=journal.get("moved_aside", 0),
            outbox=self._outbox_pending(),
        )

    def _outbox_pending(self) -> dict[str, int]:
        outbox = self.records.journal.outbox
        try:
            return {name: outbox.pending(name) for name in _DESTINATIONS}
        except Refused:
            return {}
