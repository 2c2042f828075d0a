"""The web layer put into a Flask app: blueprints, error answers, and a correlation ID on each."""

from __future__ import annotations

from flask import Flask

from lambda_builder.web import async_jobs, correlation, events, openapi, probes, problems
from lambda_builder.web.intake import Intake
from lambda_builder.web.services import EXTENSION, Services


def build_web(app: Flask, services: Services, *, traced: bool = False) -> None:
    """Register every route and handler on ``app``, before its first request.

    Events take the short way unless requests are ``traced``, which is done in Flask.
    """
    app.extensions[EXTENSION] = services
    app.url_map.converters["build_id"] = async_jobs.BuildIdConverter
    app.after_request(correlation.add_header)
    problems.register(app)
    app.register_blueprint(events.blueprint)
    app.register_blueprint(async_jobs.blueprint)
    app.register_blueprint(probes.blueprint)
    openapi.register(app, services.settings)
    if not traced:
        app.wsgi_app = events.ShortWay(Intake(services), app.wsgi_app)  # type: ignore[method-assign]
