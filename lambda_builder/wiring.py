"""Every constructor call of the service, in one place."""

from __future__ import annotations

import socket
from typing import Any

from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

from lambda_builder.acceptance import Acceptance
from lambda_builder.announcer import Announcer
from lambda_builder.async_job_creator import AsyncJobCreator
from lambda_builder.attempts import Attempts
from lambda_builder.build_directory import BuildDirectory
from lambda_builder.build_finder import BuildFinder
from lambda_builder.build_logs import BuildLogs
from lambda_builder.build_queue import BuildQueue
from lambda_builder.build_records import Build, BuildRecords
from lambda_builder.build_runner import BuildRunner
from lambda_builder.counts import Counts
from lambda_builder.events import EventReader
from lambda_builder.job_template import JobTemplate
from lambda_builder.journal import Journal, NoJournal
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.job_manager import JobManager
from lambda_builder.kube.job_watcher import JobWatcher
from lambda_builder.kube.pods import PodReader
from lambda_builder.rejections import Rejections
from lambda_builder.results import ResultStore
from lambda_builder.service import Service
from lambda_builder.settings import CANCEL_EVENT_TYPE, CLOSING_SECONDS, Settings
from lambda_builder.sink import Sink
from lambda_builder.telemetry import tracing
from lambda_builder.telemetry.metrics import Metrics
from lambda_builder.web.app import build_web
from lambda_builder.worker_pool import WorkerPool

SERVICE = "lambda_builder_service"
"""Key of the ``Service`` in ``app.extensions``."""


def create_app(settings: Settings) -> Flask:
    """Build the service; nothing is started, opened or sent before ``Service.start``.

    Raises ``BootError`` for a template or a cluster configuration that cannot work.
    """
    app = Flask("lambda_builder", static_folder=None)
    metrics = Metrics(event_types=(*settings.build_event_types, CANCEL_EVENT_TYPE))
    client = KubeClient.from_settings(settings, observe=metrics.observe_api_call)
    jobs = JobManager(client, settings.namespace)
    health = ApiHealth(client.probe)
    runner = BuildRunner(
        JobTemplate.from_settings(settings),
        jobs,
        one_per_target=settings.duplicate_policy == "skip",
    )
    announcer = Announcer(
        source=f"lambda-builder/{socket.gethostname()}",
        overrides=settings.ce_override_extensions,
        sink=bool(settings.effective_sink_url),
        dead_letters=bool(settings.dead_letter_url),
    )
    records = BuildRecords(
        ResultStore(ttl_seconds=settings.result_ttl_seconds, maximum=settings.result_max),
        _journal(settings),
        announcer,
        namespace=settings.namespace,
    )
    counts = Counts()
    build_queue: BuildQueue[Build] = BuildQueue(
        settings.queue_size, fair=settings.queue_discipline == "fair"
    )
    attempts = Attempts(
        build_queue,
        records,
        runner,
        health,
        metrics,
        counts,
        max_attempts=1 + settings.max_retries,
        retry_base_seconds=settings.retry_base_seconds,
        retry_max_seconds=settings.retry_max_seconds,
    )
    pool: WorkerPool[Build] = WorkerPool(
        build_queue,
        attempts.run,
        attempts.panicked,
        minimum=settings.worker_count,
        maximum=settings.worker_count_max,
        may_take=health.wait_turn,
    )
    creator = AsyncJobCreator(
        build_queue, pool, records, Acceptance(build_queue, records, counts), health, counts
    )
    metrics.watch_service(creator.readings)
    watcher = JobWatcher(
        client,
        settings.namespace,
        keep_details=bool(settings.effective_sink_url),
        available=lambda: health.available,
    )
    pods = PodReader(client, settings.namespace)
    logs = BuildLogs(jobs, pods, watcher, records.results.by_event)
    app.extensions[SERVICE] = Service(
        creator=creator,
        announcer=announcer,
        sink=_sink(settings, records),
        client=client,
        health=health,
        parts=[],
        streams_closed=logs.shutdown,
        durable=settings.journal_path is not None,
        handoff_url=settings.handoff_url,
        drain_seconds=settings.drain_seconds,
        closing_seconds=CLOSING_SECONDS,
        exporter=_trace(app),
    )
    build_web(
        app,
        settings=settings,
        reader=EventReader(
            strict=settings.strict_cloudevents,
            build_event_types=settings.build_event_types,
            name_by_target=settings.duplicate_policy == "skip",
        ),
        creator=creator,
        directory=BuildDirectory(
            build_queue, records, runner, BuildFinder(records, jobs, health), logs
        ),
        metrics=metrics,
        rejections=Rejections(counts, announcer, records.journal.outbox),
    )
    return app


def _journal(settings: Settings) -> Journal | NoJournal:
    if settings.journal_path is None:
        return NoJournal()
    return Journal(
        settings.journal_path,
        keep_seconds=settings.result_ttl_seconds,
        keep_max=settings.result_max,
    )


def _sink(settings: Settings, records: BuildRecords) -> Sink:
    return Sink(
        records.journal.outbox,
        {"sink": settings.effective_sink_url, "dead_letter": settings.dead_letter_url},
    )


def _trace(app: Flask) -> tracing.Exporter | None:
    if not tracing.is_wanted():
        return None
    instrumentor: Any = FlaskInstrumentor()  # its methods have no types
    instrumentor.instrument_app(app, excluded_urls="health,ready,metrics")
    return tracing.start_export()
