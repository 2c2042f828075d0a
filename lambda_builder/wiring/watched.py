"""What follows Jobs once they exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lambda_builder.journal import Destination
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.kube.lease import Leadership, identity
from lambda_builder.kube.pod_diagnosis import PodDiagnosis
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.ages import JobAges
from lambda_builder.lifecycle.cap import ActiveJobsCap
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.marks import JobMarks
from lambda_builder.lifecycle.notifier import BuildNotifier
from lambda_builder.lifecycle.sweeper import SWEEP_SECONDS, Sweeper
from lambda_builder.lifecycle.tracker import BuildLifecycle
from lambda_builder.outgoing.sink import Sink
from lambda_builder.pipeline.creator import JobCounts
from lambda_builder.service import Part
from lambda_builder.threads import repeating
from lambda_builder.wiring.base import Base


@dataclass(frozen=True, slots=True)
class Watched:
    """What follows Jobs once they exist."""

    watcher: JobWatcher
    diagnosis: JobDiagnosis
    lifecycle: BuildLifecycle
    cap: ActiveJobsCap
    sink: Sink
    parts: list[Part]
    at_once: list[Callable[[], None]]
    """What a shutdown does before all else."""

    def job_created(self, job: CreatedJob) -> None:
        self.cap.created(job.name, job.uid)
        self.lifecycle.refresh(job.name)

    def job_counts(self) -> JobCounts:
        return JobCounts(
            self.watcher.active_count,
            self.lifecycle.failed_total,
            self.cap.waiting,
            self.lifecycle.succeeded_total,
        )


def watch(base: Base) -> Watched:
    """Make what follows Jobs; without a sink nobody is told of them."""
    settings, available = base.settings, base.api_is_available
    tells = bool(settings.effective_sink_url)
    watcher = JobWatcher(base.client, settings.namespace, available=available)
    diagnosis = JobDiagnosis(
        watcher,
        PodDiagnosis(base.pods),
        base.jobs,
        available=available,
        precedence=base.precedence,
    )
    lifecycle = BuildLifecycle(
        watcher,
        base.ledger,
        base.metrics,
        diagnosis,
        base.changes,
        gone_seconds=settings.result_ttl_seconds,
    )
    cap = ActiveJobsCap(watcher, settings.max_active_jobs)
    urls: dict[Destination, str] = {
        "sink": settings.effective_sink_url,
        "dead_letter": settings.dead_letter_url,
    }
    watcher.listen(lifecycle.job_changed)
    watcher.listen_to_lists(lifecycle.list_begins, lifecycle.list_ends)
    watcher.listen(cap.job_changed)
    watcher.listen(JobAges(base.metrics).job_changed)
    watcher.listen(lambda change: base.capacity.room_made() if change.made_room else None)
    outbox, count = base.journal.outbox, base.metrics.count_delivered
    parts: list[Part] = [*_sweeping(base, watcher), diagnosis, watcher]
    if not tells:
        sink = Sink(outbox, urls, count=count, precedence=base.precedence)
        return Watched(watcher, diagnosis, lifecycle, cap, sink, parts, [])
    leadership = Leadership(base.client, settings.namespace, identity())
    diagnosis.marks_follow = lambda: leadership.is_leader
    marks = JobMarks(watcher, base.jobs, available=available, also=diagnosis.notes_of)
    diagnosis.mark_waits = marks.waits
    notifier = BuildNotifier(
        watcher,
        leadership,
        marks,
        outbox,
        base.announcer,
        diagnosis,
        provenance=base.provenance.or_none,
        precedence=base.precedence,
    )
    watcher.listen(notifier.job_changed)
    sink = Sink(
        outbox,
        urls,
        may_send=notifier.may_send,
        on_delivered=notifier.delivered,
        count=count,
        precedence=base.precedence,
    )
    return Watched(
        watcher,
        diagnosis,
        lifecycle,
        cap,
        sink,
        [notifier, leadership, *parts],
        # While the API may still be called: the next leader need not wait for the lease to pass.
        [leadership.resign],
    )


def _sweeping(base: Base, watcher: JobWatcher) -> list[Part]:
    if not base.journal.shared:
        return []
    sweeper = Sweeper(watcher, base.journal, base.jobs, available=base.api_is_available)
    return [repeating("job-sweeper", SWEEP_SECONDS, sweeper.sweep)]
