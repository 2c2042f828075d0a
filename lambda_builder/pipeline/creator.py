"""AsyncJobCreator: has a pool of workers create the Jobs of the builds that were accepted.

Ties queue, pool, journal and results together, from start through take-over to the drain.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from lambda_builder.errors import Refused
from lambda_builder.journal import Journal, OpenReport
from lambda_builder.kube.health import ApiHealth
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.stats import Counts, Stats
from lambda_builder.pipeline.takeover import TakeOver
from lambda_builder.threads import repeating

_SWEEP_SECONDS = 5.0
_LOOK_SECONDS = 0.1
"""How often a drain looks whether the API is still there."""
_LET_GO_SECONDS = 1.0
"""What workers get, once nothing more is given out, to put away what they hold."""
_REMEMBERED = ("dead", "cancelled")
"""Outcomes that nothing but the journal knows after a restart: these builds have no Job."""
_REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class JobCounts:
    """What is counted of Jobs, once they exist."""

    active: int = 0
    failed: int = 0
    workers_without_room: int = 0
    """Workers that wait because ``MAX_ACTIVE_JOBS`` are unfinished."""
    succeeded: int = 0


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What keeps builds waiting though workers are free. Times are seconds since the epoch."""

    api_away_since: float | None = None
    full_quota: tuple[str, float] | None = None
    """Its name, and since when."""
    calls_per_second: float | None = None
    """How fast the API may be called for now; None where nothing is held back."""


class AsyncJobCreator:
    """Creates Jobs in the background; every method is thread-safe."""

    def __init__(
        self,
        *,
        build_queue: BuildQueue[Build],
        pool: WorkerPool[Build],
        take_over: TakeOver,
        journal: Journal,
        results: ResultStore,
        health: ApiHealth,
        capacity: Capacity,
        counts: Counts,
        job_counts: Callable[[], JobCounts],
    ) -> None:
        self._queue = build_queue
        self._pool = pool
        self._take_over = take_over
        self._journal = journal
        self._results = results
        self._health = health
        self._capacity = capacity
        self._counts = counts
        self._job_counts = job_counts
        self._closing = threading.Event()
        self._started = threading.Event()
        self._sweeper = repeating("sweeper", _SWEEP_SECONDS, results.sweep)

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Open the journal, begin to take over, start the workers. Harmless twice.

        Raises ``BootError`` when the journal cannot be used.
        """
        if self._started.is_set() or self._closing.is_set():
            return
        if not self._journal.durable:
            structlog.get_logger().warning(
                "no_journal", consequence="builds that wait are lost if this process is killed"
            )
        self._take_over.start(self._open_journal)
        self._sweeper.start()
        self._pool.start()
        self._started.set()

    def _open_journal(self) -> OpenReport:
        report = self._journal.open()
        now = time.time()
        try:
            found = self._journal.finished(states=_REMEMBERED, limit=_REMEMBERED_MAX)
        except Refused as refused:  # it is open, and cannot be opened again for this
            structlog.get_logger().error("ended_builds_not_read", reason=refused.detail)
            found = []
        aged = [
            (max(0.0, now - (result.finished_at or result.request.accepted_at)), result)
            for result in found
        ]
        self._results.remember(sorted(aged, key=lambda entry: entry[0], reverse=True))
        return report

    def close_intake(self) -> None:
        """Refuse new events from now on; what was accepted is still worked off."""
        self._closing.set()
        self._take_over.ask_to_stop()
        self._queue.close()

    def drain(self, deadline: float) -> list[Build]:
        """Work off the queue until ``deadline`` (monotonic), then stop the workers.

        An API that is known to be away, or may not be called before then, ends it at once: the time
        is worth more to whoever has to be told.
        Returns the builds that are left, in their order, those included that a worker holds in
        a call that does not end: their Jobs' names make it harmless to build them again.
        """
        self.close_intake()
        while (left := deadline - time.monotonic()) > self._health.held_seconds:
            if self._queue.wait_finished(min(left, _LOOK_SECONDS)):
                break
        self._queue.halt()
        alive = self._pool.stop(_LET_GO_SECONDS)
        alive += self._sweeper.stop(1.0)
        alive += self._take_over.stop(1.0)
        if alive:
            structlog.get_logger().warning("threads_still_alive", threads=alive)
        return [entry.item for entry in self._queue.unfinished()]

    @property
    def is_ready(self) -> bool:
        """Whether events are taken and at least one worker lives."""
        return self._started.is_set() and not self._closing.is_set() and self._pool.size > 0

    @property
    def is_shutdown(self) -> bool:
        """Whether the intake is closed."""
        return self._closing.is_set()

    # -- numbers -------------------------------------------------------------------------------

    def get_obstacles(self) -> Obstacles:
        """Return what keeps builds waiting now."""
        health = self._health
        return Obstacles(health.away_since, self._capacity.full_quota, health.rate)

    def get_stats(self) -> Stats:
        """Return all counts from one instant."""
        minimum, maximum = self._pool.bounds
        jobs = self._job_counts()
        size, ended = self._pool.size, self._results.ended_count
        with self._queue.frozen() as queue:
            counts = self._counts.snapshot()
        outcomes = queue.outcomes
        return Stats(
            worker_count=size,
            busy_workers=queue.held,
            min_workers=minimum,
            max_workers=maximum,
            queue_size=queue.depth,
            max_queue_size=queue.capacity,
            delayed=queue.delayed,
            capacity_blocked=queue.depth if self._capacity.blocked else 0,
            oldest_queued_seconds=round(queue.oldest_queued_seconds, 3),
            results_count=ended,
            active_jobs=jobs.active,
            workers_without_room=jobs.workers_without_room,
            accepted_total=queue.accepted,
            created_total=outcomes["created"],
            dead_total=outcomes["dead"],
            cancelled_total=outcomes["cancelled"],
            skipped_total=outcomes["skipped"],
            succeeded_total=jobs.succeeded,
            failed_total=jobs.failed,
            retried_total=counts["retried"].total(),
            retried_by_reason=counts["retried"],
            rejected_total=counts["rejected"].total(),
            rejected_by_code=counts["rejected"],
            duplicates_total=counts["duplicates"].total(),
            panics_total=counts["panics"].total(),
            queue_full_total=queue.full,
            api_available=self._health.available,
            is_shutdown=self.is_shutdown,
        )
