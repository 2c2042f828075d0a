"""Every constructor call of the service, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

from lambda_builder.events.reader import EventReader
from lambda_builder.journal import Destination, Journal, NoJournal
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import CreatedJob, JobManager
from lambda_builder.kube.lease import Leadership, identity
from lambda_builder.kube.pod_diagnosis import PodDiagnosis
from lambda_builder.kube.pods import PodReader
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.ages import JobAges
from lambda_builder.lifecycle.cap import ActiveJobsCap
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.marks import JobMarks
from lambda_builder.lifecycle.notifier import BuildNotifier
from lambda_builder.lifecycle.tracker import BuildLifecycle
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.manifest.trial import TemplateTrial
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.outgoing.sink import Sink
from lambda_builder.pipeline.acceptance import Acceptance
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.attempts import Attempts
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.creator import AsyncJobCreator, JobCounts
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.pipeline.replay import Replay
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.pipeline.stats import Counts
from lambda_builder.service import Part, Service
from lambda_builder.settings import CLOSING_SECONDS, COMMAND_EVENT_TYPES, Settings
from lambda_builder.steering.bulk import BulkCommands
from lambda_builder.steering.command_events import CommandEvents
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.execution import CommandExecution
from lambda_builder.steering.listing import BuildList
from lambda_builder.steering.logs import BuildLogs
from lambda_builder.steering.queries import BuildFinder
from lambda_builder.telemetry import tracing
from lambda_builder.telemetry.metrics import Metrics
from lambda_builder.web.app import build_web
from lambda_builder.web.services import Services, ThreadBudget

SERVICE = "lambda_builder_service"
"""Key of the ``Service`` in ``app.extensions``."""


def create_app(settings: Settings) -> Flask:
    """Build the service; nothing is started, opened or sent before ``Service.start``.

    Raises ``BootError`` for a template or a cluster configuration that cannot work.
    """
    app = Flask("lambda_builder", static_folder=None)
    base = _Base.of(settings)
    watched = _watch(base)
    pipeline = _pipeline(base, watched)
    base.metrics.registry.register(PipelineCollector(pipeline.creator.get_stats, base.journal))
    logs = BuildLogs(base.jobs, base.pods, watched.watcher, base.results.by_event)
    builds = BuildFinder(
        base.results,
        base.journal,
        base.jobs,
        watched.watcher,
        base.health,
        watched.lifecycle.current,
    )
    commands = BuildCommands(
        pipeline.queue,
        base.ledger,
        base.live,
        base.results,
        base.runner,
        builds,
    )
    listing = BuildList(
        base.results, watched.watcher.snapshot, watched.diagnosis.reasons, pipeline.queue.positions
    )
    execution = CommandExecution(commands, builds, base.live, base.results, watched.watcher)
    command_events = CommandEvents(
        execution, base.journal, base.health, last_number=lambda: base.results.last_number
    )
    trial = TemplateTrial(base.template.sample, base.jobs, base.api_is_available)
    app.extensions[SERVICE] = Service(
        creator=pipeline.creator,
        ledger=base.ledger,
        replay=pipeline.replay,
        journal=base.journal,
        announcer=base.announcer,
        sink=watched.sink,
        client=base.client,
        health=base.health,
        parts=[trial, command_events, *watched.parts],
        at_once=[logs.shutdown, *watched.at_once],
        handoff_url=settings.handoff_url,
        dead_letter_url=settings.dead_letter_url,
        drain_seconds=settings.drain_seconds,
        closing_seconds=CLOSING_SECONDS,
        exporter=_trace(app),
    )
    services = Services(
        settings=settings,
        reader=EventReader(
            strict=settings.strict_cloudevents,
            build_event_types=settings.build_event_types,
            name_by_target=base.one_per_target,
        ),
        creator=pipeline.creator,
        acceptance=pipeline.acceptance,
        builds=builds,
        listing=listing,
        commands=commands,
        bulk=BulkCommands(listing, commands),
        command_events=command_events,
        logs=logs,
        metrics=base.metrics,
        rejections=Rejections(pipeline.counts, base.announcer, base.journal.outbox),
        threads=ThreadBudget.of(settings.http_threads, settings.streams_max),
    )
    build_web(app, services)
    return app


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What nearly everything else is made of."""

    settings: Settings
    metrics: Metrics
    client: KubeClient
    health: ApiHealth
    capacity: Capacity
    jobs: JobManager
    pods: PodReader
    template: JobTemplate
    runner: BuildRunner
    announcer: Announcer
    journal: Journal | NoJournal
    results: ResultStore
    live: LiveBuilds
    ledger: Ledger

    @classmethod
    def of(cls, settings: Settings) -> _Base:
        metrics = Metrics(event_types=(*settings.build_event_types, *COMMAND_EVENT_TYPES))
        client = KubeClient.from_settings(settings, observe=metrics.observe_api_call)
        jobs = JobManager(client, settings.namespace)
        template = JobTemplate.from_settings(settings)
        announcer = Announcer(
            # The same on every replica: news told again by the next leader is the same event.
            source=f"lambda-builder/{settings.namespace}",
            overrides=settings.ce_override_extensions,
            sink=bool(settings.effective_sink_url),
            dead_letters=bool(settings.dead_letter_url),
        )
        journal, live = _journal(settings), LiveBuilds()
        announcements = Announcements(announcer, journal.outbox)
        results = ResultStore(
            ttl_seconds=settings.result_ttl_seconds,
            maximum=settings.result_max,
            max_bytes=settings.result_max_bytes,
        )
        return cls(
            settings=settings,
            metrics=metrics,
            client=client,
            health=ApiHealth(client.probe),
            capacity=Capacity(),
            jobs=jobs,
            pods=PodReader(client, settings.namespace),
            template=template,
            runner=BuildRunner(template, jobs, one_per_target=settings.duplicate_policy == "skip"),
            announcer=announcer,
            journal=journal,
            results=results,
            live=live,
            ledger=Ledger(results, live, journal, announcements, namespace=settings.namespace),
        )

    @property
    def one_per_target(self) -> bool:
        return self.settings.duplicate_policy == "skip"

    def api_is_available(self) -> bool:
        return self.health.available

    def is_stalled(self) -> bool:
        return self.capacity.blocked or not self.health.available


@dataclass(frozen=True, slots=True)
class _Watched:
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
        return JobCounts(self.watcher.active_count, self.lifecycle.failed_total, self.cap.waiting)


def _watch(base: _Base) -> _Watched:
    settings, available = base.settings, base.api_is_available
    tells = bool(settings.effective_sink_url)
    watcher = JobWatcher(base.client, settings.namespace, available=available)
    diagnosis = JobDiagnosis(watcher, PodDiagnosis(base.pods), base.jobs, available=available)
    lifecycle = BuildLifecycle(
        watcher, base.ledger, base.metrics, diagnosis, gone_seconds=settings.result_ttl_seconds
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
    if not tells:
        sink = Sink(outbox, urls, count=count)
        return _Watched(watcher, diagnosis, lifecycle, cap, sink, [diagnosis, watcher], [])
    leadership = Leadership(base.client, settings.namespace, identity())
    marks = JobMarks(watcher, base.jobs, available=available)
    notifier = BuildNotifier(watcher, leadership, marks, outbox, base.announcer, diagnosis)
    watcher.listen(notifier.job_changed)
    sink = Sink(
        outbox, urls, may_send=notifier.may_send, on_delivered=notifier.delivered, count=count
    )
    return _Watched(
        watcher,
        diagnosis,
        lifecycle,
        cap,
        sink,
        [notifier, leadership, diagnosis, watcher],
        # While the API may still be called: the next leader need not wait for the lease to pass.
        [leadership.resign],
    )


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """The way from an event to its Job."""

    queue: BuildQueue[Build]
    counts: Counts
    acceptance: Acceptance
    replay: Replay
    creator: AsyncJobCreator


def _pipeline(base: _Base, watched: _Watched) -> _Pipeline:
    settings, counts = base.settings, Counts()
    build_queue: BuildQueue[Build] = BuildQueue(
        settings.queue_size,
        max_bytes=settings.queue_max_bytes,
        fair=settings.queue_discipline == "fair",
        stalled=base.is_stalled,
    )
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
    )
    pool: WorkerPool[Build] = WorkerPool(
        build_queue,
        attempts.run,
        attempts.panicked,
        minimum=settings.worker_count,
        maximum=settings.worker_count_max,
        may_take=lambda stopping: (
            watched.cap.may_take(stopping)
            and base.capacity.may_take(stopping)
            and base.health.wait_turn(stopping)
        ),
    )
    acceptance = Acceptance(
        build_queue,
        base.ledger,
        base.live,
        base.results,
        base.journal,
        counts,
        active_job=watched.lifecycle.active_job if base.one_per_target else None,
        job_of=watched.lifecycle.of_event,
    )
    replay = Replay(build_queue, base.ledger, base.live, base.journal)
    creator = AsyncJobCreator(
        build_queue=build_queue,
        pool=pool,
        replay=replay,
        journal=base.journal,
        results=base.results,
        health=base.health,
        capacity=base.capacity,
        counts=counts,
        job_counts=watched.job_counts,
    )
    return _Pipeline(build_queue, counts, acceptance, replay, creator)


def _journal(settings: Settings) -> Journal | NoJournal:
    if settings.journal_path is None:
        return NoJournal()
    return Journal(
        settings.journal_path,
        keep_seconds=settings.result_ttl_seconds,
        keep_max=settings.result_max,
    )


def _trace(app: Flask) -> tracing.Exporter | None:
    if not tracing.is_wanted():
        return None
    instrumentor: Any = FlaskInstrumentor()  # its methods have no types
    instrumentor.instrument_app(app, excluded_urls="health,ready,metrics")
    return tracing.start_export()
