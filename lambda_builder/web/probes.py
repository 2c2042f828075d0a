"""``/health``, ``/ready`` and ``/metrics``: nothing here waits for Kubernetes."""

from __future__ import annotations

from flask import Blueprint, Response, request

from lambda_builder.access.rules import METRICS, OPEN
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.web.gate import asks
from lambda_builder.web.services import current_services

blueprint = Blueprint("probes", __name__)


@blueprint.get("/health")
@asks(OPEN)
def health() -> Response:
    """Answer while the process can serve, whatever Kubernetes does."""
    return _text("ok")


@blueprint.get("/ready")
@asks(OPEN)
def ready() -> Response:
    """Answer whether events should be sent here."""
    creator = current_services().creator
    if creator.is_shutdown:
        raise Refused(RefusalCode.SHUTTING_DOWN, "shutting down")
    if not creator.is_ready:
        raise Refused(RefusalCode.NOT_READY, "not ready: starting, or no worker lives")
    return _text("ready")


@blueprint.get("/metrics")
@asks(METRICS)
def metrics() -> Response:
    """Expose the metrics in the format that the scraper prefers."""
    accept = request.headers.get("Accept", "")
    text, content_type = current_services().metrics.exposition.answer(accept)
    return Response(text, content_type=content_type)


def _text(content: str) -> Response:
    response = Response(content, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response
