"""The web layer put into a Flask app: blueprints, error answers, and a correlation ID on each."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Response

from lambda_builder.access.rules import READ
from lambda_builder.settings import Settings
from lambda_builder.web import (
    async_jobs,
    audited,
    changes,
    correlation,
    events,
    gate,
    page,
    page_builds,
    probes,
    problems,
    signing_in,
)
from lambda_builder.web.intake import Intake
from lambda_builder.web.services import EXTENSION, Services

if TYPE_CHECKING:
    from lambda_builder.web import docs


def build_web(app: Flask, services: Services, *, traced: bool = False) -> None:
    """Register every route and handler on ``app``, before its first request.

    Events take the short way unless requests are ``traced``, which is done in Flask. Raises
    ``BootError`` where a route has no access rule.
    """
    app.extensions[EXTENSION] = services
    app.url_map.converters["build_id"] = async_jobs.BuildIdConverter
    app.after_request(correlation.add_header)
    problems.register(app)
    app.register_blueprint(events.blueprint)
    app.register_blueprint(async_jobs.blueprint)
    app.register_blueprint(audited.blueprint)
    app.register_blueprint(probes.blueprint)
    app.register_blueprint(signing_in.blueprint)
    app.register_blueprint(changes.blueprint)
    page.register(app)
    app.register_blueprint(page_builds.blueprint)
    _serve_openapi(app, services.settings)
    gate.register(app)
    if not traced:
        # Whoever asks who sends may have to wait for the keys of an issuer.
        in_steps = services.settings.auth_file is None
        way = events.ShortWay(Intake(services), app.wsgi_app, in_steps=in_steps)
        app.wsgi_app = way  # type: ignore[method-assign]


def _serve_openapi(app: Flask, settings: Settings) -> None:
    """Serve the document, made once and not before it is asked for: it takes a third of a start."""

    @cache
    def document() -> dict[str, Any]:
        from lambda_builder.web import openapi  # noqa: PLC0415

        return openapi.document(settings)

    @cache
    def text() -> str:
        return json.dumps(document(), separators=(",", ":"))

    @cache
    def page() -> docs.Page:
        from lambda_builder.web import docs  # noqa: PLC0415

        return docs.page(document())

    @gate.asks(READ)
    def show() -> Response:
        return Response(text(), content_type="application/json")

    @gate.asks(READ)
    def show_docs() -> Response:
        headers = {"Content-Security-Policy": page().policy, "X-Content-Type-Options": "nosniff"}
        return Response(page().text, headers=headers, content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", "openapi", show)
    app.add_url_rule("/docs", "docs", show_docs)
