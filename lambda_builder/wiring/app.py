"""The application, and the service behind it."""

from __future__ import annotations

from typing import Any

from flask import Flask

from lambda_builder.access.checks import Access
from lambda_builder.events.reader import EventReader
from lambda_builder.manifest.trial import TemplateTrial
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.service import Part, Service
from lambda_builder.settings import CLOSING_SECONDS, Settings
from lambda_builder.steering.bulk import BulkCommands
from lambda_builder.telemetry import tracing
from lambda_builder.threads import repeating
from lambda_builder.web.app import build_web
from lambda_builder.web.services import Services, ThreadBudget
from lambda_builder.wiring.base import Base
from lambda_builder.wiring.pipeline import Pipeline, build_pipeline
from lambda_builder.wiring.steering import Steering, build_steering
from lambda_builder.wiring.watched import Watched, watch

_NOTE_SECONDS = 1.0
_COMMANDS_SECONDS = 5.0
"""How often it is looked for commands of replicas that are gone."""
SERVICE = "lambda_builder_service"
"""Key of the ``Service`` in ``app.extensions``."""
PRECEDENCE = "lambda_builder_precedence"
"""Key of the ``Precedence``, which whoever answers requests tells of them."""


def create_app(settings: Settings) -> Flask:
    """Build the service; nothing is started, opened or sent before ``Service.start``.

    Raises ``BootError`` for a template or a cluster configuration that cannot work.
    """
    app = Flask("lambda_builder", static_folder=None)
    base = Base.of(settings)
    watched = watch(base)
    pipeline = build_pipeline(base, watched)
    steering = build_steering(base, watched, pipeline)
    base.metrics.registry.register(PipelineCollector(pipeline.creator.get_stats, base.journal))
    exporter = _trace(app)
    app.extensions[PRECEDENCE] = base.precedence
    app.extensions[SERVICE] = _service(base, watched, pipeline, steering, exporter)
    build_web(app, _services(base, pipeline, steering), traced=exporter is not None)
    return app


def _service(
    base: Base,
    watched: Watched,
    pipeline: Pipeline,
    steering: Steering,
    exporter: tracing.Exporter | None,
) -> Service:
    settings = base.settings
    trial = TemplateTrial(base.template.sample, base.jobs, base.api_is_available)
    return Service(
        creator=pipeline.creator,
        ledger=base.ledger,
        take_over=pipeline.take_over,
        journal=base.journal,
        announcer=base.announcer,
        sink=watched.sink,
        client=base.client,
        health=base.health,
        parts=[
            *([] if base.directory is None else [base.directory]),
            trial,
            repeating("minutes", _NOTE_SECONDS, pipeline.minutes.note, at_once=True),
            steering.command_events,
            *_of_others(base, steering),
            *watched.parts,
        ],
        at_once=[steering.logs.shutdown, *watched.at_once],
        handoff_url=settings.handoff_url,
        dead_letter_url=settings.dead_letter_url,
        drain_seconds=settings.drain_seconds,
        closing_seconds=CLOSING_SECONDS,
        exporter=exporter,
    )


def _of_others(base: Base, steering: Steering) -> list[Part]:
    """Return what carries on with commands of other replicas, where there are any."""
    if not base.journal.shared:
        return []
    return [repeating("commands-left", _COMMANDS_SECONDS, steering.command_events.take_up)]


def _services(base: Base, pipeline: Pipeline, steering: Steering) -> Services:
    settings = base.settings
    return Services(
        settings=settings,
        access=Access(
            base.directory,
            read_only=settings.read_only,
            trusted_proxies=settings.trusted_proxies,
            metrics=base.metrics,
        ),
        limits=base.limits,
        reader=EventReader(
            strict=settings.strict_cloudevents,
            build_event_types=settings.build_event_types,
            name_by_target=base.one_per_target,
        ),
        creator=pipeline.creator,
        acceptance=pipeline.acceptance,
        builds=steering.builds,
        listing=steering.listing,
        commands=steering.commands,
        bulk=BulkCommands(steering.listing, steering.commands),
        command_events=steering.command_events,
        logs=steering.logs,
        provenance=base.provenance,
        metrics=base.metrics,
        rejections=Rejections(pipeline.counts, base.announcer, base.journal),
        changes=base.changes,
        minutes=pipeline.minutes,
        inspection=steering.inspection,
        audit=steering.audit,
        threads=ThreadBudget.of(settings.http_threads, settings.streams_max),
    )


def _trace(app: Flask) -> tracing.Exporter | None:
    if not tracing.is_wanted():
        return None
    # Only here: it takes time and memory to import.
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415

    instrumentor: Any = FlaskInstrumentor()  # its methods have no types
    instrumentor.instrument_app(app, excluded_urls="health,ready,metrics")
    return tracing.start_export()
