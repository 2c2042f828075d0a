"""``/async-jobs``: reading builds, cancelling and retrying them, and their logs.

``/builds`` is the same under upstream's names.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from lambda_builder.access.rules import READ, READ_ALL, Action
from lambda_builder.builds import Action as Command
from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.problems import kubernetes_failed
from lambda_builder.steering.bulk import BulkOutcome
from lambda_builder.tenants import Tenants
from lambda_builder.web import correlation, gate
from lambda_builder.web.answers import json_answer
from lambda_builder.web.audited import steer_all, steer_one
from lambda_builder.web.gate import asks, steers
from lambda_builder.web.log_stream import LogStream
from lambda_builder.web.parameters import Parameters
from lambda_builder.web.services import current_services

blueprint = Blueprint("async_jobs", __name__)


class BuildIdConverter(BaseConverter):
    """A correlation ID or Job name in a path.

    The server decodes ``%2F`` before anything is routed, so the ID may hold slashes. ``stats``
    and ``changes`` are no IDs, whatever the method.
    """

    part_isolating = False
    regex = r"(?!(?:stats|changes)\Z).+?"
    weight = 200


@blueprint.get("/async-jobs/stats")
@asks(READ_ALL)
def show_stats() -> Response:
    """Show the service's counts, all from one instant."""
    return json_answer(current_services().creator.get_stats().model_dump())


@blueprint.get("/async-jobs")
@blueprint.get("/builds", endpoint="list_builds_upstream")
@asks(READ)
def list_builds() -> Response:
    """List builds, newest first."""
    parameters = Parameters()
    wanted, limit = parameters.build_filter(_readable()), parameters.limit()
    parameters.judge()
    page = current_services().listing.page(wanted, limit=limit, cursor=parameters.text("cursor"))
    items = [_shown(build, page.positions) for build in page.items]
    return json_answer({"items": items, "next_cursor": page.next_cursor})


@blueprint.get("/async-jobs/<build_id:build_id>")
@blueprint.get("/builds/<build_id:build_id>", endpoint="show_build_upstream")
@asks(READ)
def show_build(build_id: str) -> Response:
    """Show one build."""
    services = current_services()
    with services.threads.kubernetes.take():
        return _answer(services.builds.get(build_id, _readable()))


@blueprint.delete("/async-jobs/<build_id:build_id>")
@blueprint.post("/builds/<build_id:build_id>/cancel", endpoint="cancel_build_upstream")
@steers(Command.CANCEL)
def cancel_build(build_id: str) -> Response:
    """Cancel a build: out of the queue, or its Job deleted."""
    return _answer(steer_one(Command.CANCEL, build_id, current_services().commands.cancel))


@blueprint.post("/async-jobs/<build_id:build_id>/retry")
@steers(Command.RETRY)
def retry_build(build_id: str) -> Response:
    """Send a dead or failed build through again."""
    return _answer(steer_one(Command.RETRY, build_id, current_services().commands.retry))


@blueprint.get("/async-jobs/<build_id:build_id>/provenance")
@asks(READ)
def show_provenance(build_id: str) -> Response:
    """Show the statement of which event a build's image came from, signed where there is a key."""
    services = current_services()
    with services.threads.kubernetes.take():
        build = services.builds.get(build_id, _readable())
        try:
            statement = services.provenance.of(build)
        except AttemptFailed as error:
            raise kubernetes_failed(error, "the provenance was not made") from error
    if statement is None:
        detail = (
            f"no provenance of build {build.request.job_name}: it has not succeeded with a digest, "
            "or what was asked for is not known any more"
        )
        raise Refused(RefusalCode.NO_PROVENANCE, detail)
    return json_answer(statement)


@blueprint.post("/async-jobs/cancel")
@steers(Command.CANCEL)
def cancel_builds() -> Response:
    """Cancel all builds that the filters mean."""
    return _steer(Command.CANCEL, current_services().bulk.cancel)


@blueprint.post("/async-jobs/retry")
@steers(Command.RETRY)
def retry_builds() -> Response:
    """Retry all builds that the filters mean."""
    return _steer(Command.RETRY, current_services().bulk.retry)


@blueprint.get("/async-jobs/<build_id:build_id>/logs")
@asks(READ)
def stream_log(build_id: str) -> Response:
    """Stream a build's log as text."""
    services = current_services()
    parameters = Parameters()
    follow = parameters.flag("follow")
    parameters.judge()
    with services.threads.streams.take() as slot:
        with services.threads.kubernetes.take():
            build = services.builds.get(build_id, _readable())
            chunks = services.logs.open(build, follow=follow)
        stream = LogStream(
            chunks,
            slot.pop_all(),
            is_shutdown=lambda: services.creator.is_shutdown,
            client=client_socket(),
            is_allowed=gate.still_reads(build.request.third_party_id),
        )
    response = Response(stream, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _steer(action: Command, steer: Callable[..., BulkOutcome]) -> Response:
    parameters = Parameters()
    reach = gate.caller().reach
    wanted = parameters.build_filter(reach.read, reach.steer)
    dry_run = parameters.flag("dry_run")
    everything = parameters.flag("all")
    parameters.judge()
    if wanted.is_empty and not everything:
        parameters.bad("all", "must be true where no filter is given")
        parameters.judge()
    if dry_run:
        with current_services().threads.kubernetes.take():
            outcome = steer(wanted, dry_run=True)
    else:
        outcome = steer_all(action, lambda: steer(wanted, dry_run=False))
    refused = [
        {"job_name": build.request.job_name, "code": refusal.code, "detail": refusal.detail}
        for build, refusal in outcome.refused
    ]
    return json_answer({"matched": outcome.matched, "done": len(outcome.done), "refused": refused})


def _readable() -> Tenants:
    return gate.caller().may(Action.READ)


def client_socket() -> socket.socket | None:
    """Return the connection, where the server tells."""
    client = request.environ.get("gunicorn.socket")
    return client if isinstance(client, socket.socket) else None


def _answer(build: BuildResult) -> Response:
    if correlation.requested() is None:
        correlation.make_known(build.request.correlation_id)
    return json_answer(_shown(build, current_services().listing.positions_of([build])))


def _shown(build: BuildResult, positions: Mapping[str, int]) -> dict[str, Any]:
    return {**build.to_dict(), "position": positions.get(build.request.event_hash)}
