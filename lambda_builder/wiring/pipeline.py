"""The way from an event to its Job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lambda_builder.journal import Others
from lambda_builder.lifecycle.failure_backoff import FailureBackoff
from lambda_builder.pipeline.acceptance import Acceptance, Admission
from lambda_builder.pipeline.attempts import Attempts
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.creator import AsyncJobCreator
from lambda_builder.pipeline.hold import Hold
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.stats import Counts, Stats
from lambda_builder.pipeline.takeover import TakeOver
from lambda_builder.telemetry.minutes import MinuteCounts, Totals
from lambda_builder.wiring.base import Base
from lambda_builder.wiring.watched import Watched


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The way from an event to its Job."""

    queue: BuildQueue[Build]
    counts: Counts
    acceptance: Acceptance
    take_over: TakeOver
    creator: AsyncJobCreator
    minutes: MinuteCounts


def build_pipeline(base: Base, watched: Watched) -> Pipeline:
    """Make what takes events in and makes their Jobs."""
    settings, counts = base.settings, Counts()
    build_queue: BuildQueue[Build] = BuildQueue(
        settings.queue_size,
        max_bytes=settings.queue_max_bytes,
        tenant_share=settings.tenant_queue_share,
        others=lambda: _of_others(base.journal.others()),
        fair=settings.queue_discipline == "fair",
        stalled=base.is_stalled,
    )
    awaited = Awaited()
    acceptance = Acceptance(
        build_queue,
        base.ledger,
        base.live,
        base.results,
        base.journal,
        counts,
        active_job=watched.lifecycle.active_job if base.one_per_target else None,
        job_of=watched.lifecycle.of_event,
        admissions=_admissions(base, watched),
        over_share=base.metrics.rate_limited.labels("queue_share").inc,
        judge=base.template.judge,
        awaited=awaited,
    )
    take_over = TakeOver(
        build_queue,
        base.ledger,
        base.live,
        base.journal,
        awaited,
        delete_job=lambda name, uid: base.jobs.delete_job(name, uid=uid),
        may_work=lambda: not base.is_stalled(),
    )
    creator = AsyncJobCreator(
        build_queue=build_queue,
        pool=_pool(base, watched, build_queue, counts, awaited),
        take_over=take_over,
        journal=base.journal,
        results=base.results,
        health=base.health,
        capacity=base.capacity,
        counts=counts,
        job_counts=watched.job_counts,
    )
    minutes = MinuteCounts(lambda: _totals(creator.get_stats()))
    return Pipeline(build_queue, counts, acceptance, take_over, creator, minutes)


def _of_others(others: Others) -> tuple[int, Mapping[str, int]]:
    return others.capacity, others.waiting


def _totals(stats: Stats) -> Totals:
    failed = stats.failed_total + stats.dead_total
    return Totals(stats.accepted_total, stats.created_total, stats.succeeded_total, failed)


def _admissions(base: Base, watched: Watched) -> list[Admission]:
    admissions: list[Admission] = []
    if base.settings.failure_backoff_seconds:
        backoff = FailureBackoff(
            watched.watcher.of_target,
            watched.diagnosis.known,
            base.metrics,
            seconds=base.settings.failure_backoff_seconds,
        )
        admissions.append(backoff.admit)
    if base.limits.are_set:
        admissions.append(base.limits.admit)
    return admissions


def _pool(
    base: Base,
    watched: Watched,
    build_queue: BuildQueue[Build],
    counts: Counts,
    awaited: Awaited,
) -> WorkerPool[Build]:
    settings, hold = base.settings, Hold()
    attempts = Attempts(
        build_queue,
        base.ledger,
        base.live,
        base.journal,
        base.runner,
        base.health,
        base.capacity,
        base.metrics,
        counts,
        max_attempts=1 + settings.max_retries,
        retry_base_seconds=settings.retry_base_seconds,
        retry_max_seconds=settings.retry_max_seconds,
        on_created=watched.job_created,
        hold=hold,
        awaited=awaited,
        precedence=base.precedence,
    )
    return WorkerPool(
        build_queue,
        attempts.run,
        attempts.panicked,
        minimum=settings.worker_count,
        maximum=settings.worker_count_max,
        may_take=lambda stopping: (
            hold.may_take(stopping)
            and watched.cap.may_take(stopping)
            and base.capacity.may_take(stopping)
            and base.health.wait_turn(stopping)
        ),
    )
