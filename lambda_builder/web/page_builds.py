"""``/page/builds`` and ``/page/steer``: one build, and what is done to one or to many.

Forms are posted without a token: that a page of ours sent them is seen by the request's origin,
as for the API.
"""

from __future__ import annotations

import json
import time
from typing import Any

from flask import Blueprint, Response, redirect, request

from lambda_builder.access.rules import READ, STEER, Action
from lambda_builder.builds import Action as Command
from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed
from lambda_builder.page.rendering import as_yaml
from lambda_builder.page.rows import row, waterfall
from lambda_builder.page.words import advice
from lambda_builder.problems import kubernetes_failed
from lambda_builder.steering.bulk import MOST, BulkOutcome
from lambda_builder.web import gate
from lambda_builder.web.async_jobs import log_steering
from lambda_builder.web.gate import asks
from lambda_builder.web.page import Content, made, shown, told, viewer
from lambda_builder.web.page_filters import PageParameters
from lambda_builder.web.services import Services, current_services

blueprint = Blueprint("page_builds", __name__)
blueprint.register_error_handler(Exception, told)

_MISSING = {
    "event": "The event is not known any more: its build needs it no longer.",
    "job": "There is no Job: it was not made yet, or is gone.",
    "provenance": "No provenance: the build has not succeeded with a digest, or is too long ago.",
}
_SEE_OTHER = 303


@blueprint.get("/page/builds/<build_id:build_id>")
@asks(READ)
def build(build_id: str) -> Response:
    """Show one build, and its log, event, Job or provenance."""
    services = current_services()
    wanted = request.args.get("show", "")
    details = wanted if wanted in _MISSING else "log"

    def gather() -> Content:
        with services.threads.kubernetes.take():
            found = services.builds.get(build_id, gate.caller().may(Action.READ))
            text = None if details == "log" else _details(services, found, details)
        return {**_facts(services, found), "shown": details, "text": text,
                "missing": _MISSING.get(details)}  # fmt: skip

    return shown("build.html", gather)


def _facts(services: Services, found: BuildResult) -> Content:
    position = services.listing.positions_of([found]).get(found.request.event_hash)
    steerable = (
        viewer().may_steer and found.request.third_party_id in gate.caller().may(Action.STEER)
    )
    now = time.time()
    # Without its event, which may be large and is looked up where it is asked for.
    small = found.but(request=found.request.without_event())
    return {
        "build": small,
        "row": row(small, position, now),
        "steps": waterfall(small, now) if found.state.final else waterfall(small, now),
        "advice": advice(small),
        "may_retry": steerable and found.state.retryable,
        "may_cancel": steerable and not found.state.final,
    }


def _details(services: Services, found: BuildResult, details: str) -> str | None:
    if details == "event":
        return _as_json(services.inspection.event(found))
    if details == "job":
        job = services.inspection.job(found)
        return None if job is None else as_yaml(job)
    try:
        return _as_json(services.provenance.of(found))
    except AttemptFailed as error:
        raise kubernetes_failed(error, "the provenance was not made") from error


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, indent=2, ensure_ascii=False)


# -- steering --------------------------------------------------------------------------------------


@blueprint.post("/page/builds/<build_id:build_id>/cancel")
@asks(STEER)
def cancel(build_id: str) -> Response:
    """Cancel a build, then show it."""
    return _steer_one(Command.CANCEL, build_id)


@blueprint.post("/page/builds/<build_id:build_id>/retry")
@asks(STEER)
def retry(build_id: str) -> Response:
    """Retry a build, then show it."""
    return _steer_one(Command.RETRY, build_id)


@blueprint.get("/page/steer")
@asks(STEER)
def ask() -> Response:
    """Count what would be cancelled or retried, and ask whether it shall be."""
    action, filters, outcome = _steer(dry_run=True)
    return made(
        "steer.html", action=action, filters=filters, matched=outcome.matched, most=MOST,
        outcome=None,
    )  # fmt: skip


@blueprint.post("/page/steer")
@asks(STEER)
def steer() -> Response:
    """Cancel or retry all builds that the filters mean, and tell what became of them."""
    action, filters, outcome = _steer(dry_run=False)
    refused = [
        (each.request.job_name, refusal.code.value, refusal.detail)
        for each, refusal in outcome.refused
    ]
    became = {
        "done": outcome.done,
        "matched": outcome.matched,
        "left": outcome.matched - outcome.done - len(refused),
        "refused": refused[:100],
    }
    return made("steer.html", action=action, filters=filters, outcome=became)


def _steer_one(action: Command, build_id: str) -> Response:
    services = current_services()
    do = services.commands.cancel if action is Command.CANCEL else services.commands.retry
    with services.threads.kubernetes.take():
        steered = do(build_id, gate.caller().reach)
    log_steering(action.value, job_name=steered.request.job_name)
    response = redirect(f"/page/builds/{steered.request.job_name}", _SEE_OTHER)
    assert isinstance(response, Response)
    return response


def _steer(*, dry_run: bool) -> tuple[str, dict[str, Any], BulkOutcome]:
    parameters, reach = PageParameters(), gate.caller().reach
    wanted = parameters.build_filter(reach.read, reach.steer)
    action, everything = parameters.text("action"), parameters.flag("all")
    if action not in (Command.CANCEL, Command.RETRY):
        parameters.bad("action", "must be cancel or retry")
    if wanted.is_empty and not dry_run and not everything:
        parameters.bad("all", "must be true where no filter is given")
    parameters.judge()
    bulk = current_services().bulk
    do = bulk.cancel if action == Command.CANCEL else bulk.retry
    with current_services().threads.kubernetes.take():
        outcome = do(wanted, dry_run=dry_run)
    if not dry_run:
        log_steering(str(action), builds=outcome.done)
    return str(action), parameters.given(), outcome
