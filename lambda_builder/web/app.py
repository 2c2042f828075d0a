"""The web layer put into a Flask app: blueprints, error answers, and a correlation ID on each."""

from __future__ import annotations

from flask import Flask

from lambda_builder.events.reader import EventReader
from lambda_builder.pipeline.creator import AsyncJobCreator
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.settings import Settings
from lambda_builder.steering.cancels import CancelEvents
from lambda_builder.steering.commands import BuildDirectory
from lambda_builder.telemetry.metrics import Metrics
from lambda_builder.web import async_jobs, correlation, events, openapi, probes, problems
from lambda_builder.web.services import Services


def build_web(
    app: Flask,
    *,
    settings: Settings,
    reader: EventReader,
    creator: AsyncJobCreator,
    directory: BuildDirectory,
    cancels: CancelEvents,
    metrics: Metrics,
    rejections: Rejections,
) -> None:
    """Register every route and handler on ``app``, before its first request."""
    Services.of(
        settings=settings,
        reader=reader,
        creator=creator,
        directory=directory,
        cancels=cancels,
        metrics=metrics,
        rejections=rejections,
    ).put_into(app)
    app.url_map.converters.update(async_jobs.converters())
    app.after_request(correlation.add_header)
    problems.register(app)
    app.register_blueprint(events.blueprint)
    app.register_blueprint(async_jobs.blueprint)
    app.register_blueprint(probes.blueprint)
    openapi.register(app, settings)
