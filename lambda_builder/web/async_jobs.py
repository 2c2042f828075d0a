"""``/async-jobs``: reading builds, cancelling and retrying them, and their logs.

``/builds`` is the same under upstream's names.
"""

from __future__ import annotations

import re
import socket

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.web import correlation
from lambda_builder.web.answers import json_answer
from lambda_builder.web.log_stream import LogStream
from lambda_builder.web.services import current_services

blueprint = Blueprint("async_jobs", __name__)

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"", "false", "0", "no"})


class BuildIdConverter(BaseConverter):
    """A correlation ID or Job name in a path.

    The server decodes ``%2F`` before anything is routed, so the ID may hold slashes. ``stats``
    is no ID, whatever the method.
    """

    part_isolating = False
    regex = r"(?!stats\Z).+?"
    weight = 200


@blueprint.get("/async-jobs/stats")
def show_stats() -> Response:
    """Show the service's counts, all from one instant."""
    return json_answer(current_services().creator.get_stats().model_dump())


@blueprint.get("/async-jobs")
@blueprint.get("/builds", endpoint="list_builds_upstream")
def list_builds() -> Response:
    """List builds, newest first."""
    builds, next_cursor = current_services().builds.page(
        state=_state(_argument("state")),
        third_party_id=_argument("third_party_id"),
        correlation_id=_argument("correlation_id"),
        limit=_limit(_argument("limit")),
        cursor=_argument("cursor"),
    )
    return json_answer({"items": [build.to_dict() for build in builds], "next_cursor": next_cursor})


@blueprint.get("/async-jobs/<build_id:build_id>")
@blueprint.get("/builds/<build_id:build_id>", endpoint="show_build_upstream")
def show_build(build_id: str) -> Response:
    """Show one build."""
    services = current_services()
    with services.threads.kubernetes.take():
        return _answer(services.builds.get(build_id))


@blueprint.delete("/async-jobs/<build_id:build_id>")
@blueprint.post("/builds/<build_id:build_id>/cancel", endpoint="cancel_build_upstream")
def cancel_build(build_id: str) -> Response:
    """Cancel a build: out of the queue, or its Job deleted."""
    services = current_services()
    with services.threads.kubernetes.take():
        return _answer(services.commands.cancel(build_id))


@blueprint.post("/async-jobs/<build_id:build_id>/retry")
def retry_build(build_id: str) -> Response:
    """Send a dead or failed build through again."""
    services = current_services()
    with services.threads.kubernetes.take():
        return _answer(services.commands.retry(build_id))


@blueprint.get("/async-jobs/<build_id:build_id>/logs")
def stream_log(build_id: str) -> Response:
    """Stream a build's log as text."""
    services = current_services()
    follow = _flag("follow", _argument("follow"))
    with services.threads.streams.take() as slot:
        with services.threads.kubernetes.take():
            chunks = services.logs.open(services.builds.get(build_id), follow=follow)
        stream = LogStream(
            chunks,
            slot.pop_all(),
            is_shutdown=lambda: services.creator.is_shutdown,
            client=_client_socket(),
        )
    response = Response(stream, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _client_socket() -> socket.socket | None:
    """Return the connection, where the server tells."""
    client = request.environ.get("gunicorn.socket")
    return client if isinstance(client, socket.socket) else None


def _answer(build: BuildResult) -> Response:
    if correlation.requested() is None:
        correlation.make_known(build.request.correlation_id)
    return json_answer(build.to_dict())


def _argument(name: str) -> str | None:
    """Return a query parameter; an empty one counts as absent."""
    return request.args.get(name) or None


def _state(value: str | None) -> BuildState | None:
    if value is None:
        return None
    try:
        return BuildState(value)
    except ValueError:
        raise _invalid("state", f"must be one of {', '.join(BuildState)}") from None


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if re.fullmatch(r"[0-9]{1,4}", value) and 1 <= int(value) <= MAX_LIMIT:
        return int(value)
    raise _invalid("limit", f"must be a whole number from 1 to {MAX_LIMIT}")


def _flag(name: str, value: str | None) -> bool:
    folded = (value or "").lower()
    if folded in _TRUE or folded in _FALSE:
        return folded in _TRUE
    raise _invalid(name, "must be true or false")


def _invalid(field: str, message: str) -> Refused:
    return Refused(
        RefusalCode.INVALID_PARAMETER, f"{field} {message}", errors=[FieldProblem(field, message)]
    )
