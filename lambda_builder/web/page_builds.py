"""``/page/builds``: one build; ``/page/cancel`` and ``/page/retry``: what is done to many.

Forms are posted without a token: that a page of ours sent them is seen by the request's origin,
as for the API.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseValue

from lambda_builder.access.rules import READ, STEER, Action
from lambda_builder.builds import Action as Command
from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed
from lambda_builder.page.advice import advice
from lambda_builder.page.rendering import as_yaml, build_path
from lambda_builder.page.rows import row, waterfall
from lambda_builder.problems import kubernetes_failed
from lambda_builder.selection import BuildFilter
from lambda_builder.steering.bulk import MOST, BulkOutcome
from lambda_builder.web import gate
from lambda_builder.web.audited import steer_all, steer_one
from lambda_builder.web.gate import asks, is_page, steers
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
_REFUSALS_SHOWN = 100


@blueprint.get("/page/builds/<build_id:build_id>")
@asks(READ)
@is_page
def build(build_id: str) -> Response:
    """Show one build, and its log, event, Job or provenance."""
    services = current_services()
    wanted = request.args.get("show", "")
    details = wanted if wanted in _MISSING else "log"

    def gather() -> Content:
        with services.threads.kubernetes.take():
            found = services.builds.get(build_id, gate.caller().may(Action.READ))
            text = None if details == "log" else _details(services, found, details)
        more = {"shown": details, "text": text, "missing": _MISSING.get(details)}
        return {**_facts(services, found), **more}

    return shown("build.html", gather)


def _facts(services: Services, found: BuildResult) -> Content:
    position = services.listing.positions_of([found]).get(found.request.event_hash)
    steerable = viewer().may_steer and found.request.third_party_id in gate.caller().may(
        Action.STEER
    )
    now = time.time()
    # Without its event, which may be large and is looked up where it is asked for.
    small = found.but(request=found.request.without_event())
    return {
        "build": small,
        "row": row(small, position, now),
        "steps": waterfall(small, now),
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
@steers(Command.CANCEL)
def cancel(build_id: str) -> ResponseValue:
    """Cancel a build, then show it."""
    return _to(steer_one(Command.CANCEL, build_id, current_services().commands.cancel))


@blueprint.post("/page/builds/<build_id:build_id>/retry")
@steers(Command.RETRY)
def retry(build_id: str) -> ResponseValue:
    """Retry a build, then show it."""
    return _to(steer_one(Command.RETRY, build_id, current_services().commands.retry))


@blueprint.get("/page/cancel", defaults={"action": Command.CANCEL})
@blueprint.get("/page/retry", defaults={"action": Command.RETRY})
@asks(STEER)
@is_page
def ask(action: Command) -> Response:
    """Count what would be cancelled or retried, and ask whether it shall be."""
    parameters, wanted = _meant()
    with current_services().threads.kubernetes.take():
        outcome = _bulk(action)(wanted, dry_run=True)
    filters = parameters.given()
    return made(
        "steer.html",
        action=action.value,
        filters=filters,
        matched=outcome.matched,
        most=MOST,
        outcome=None,
    )


@blueprint.post("/page/cancel")
@steers(Command.CANCEL)
def cancel_all() -> Response:
    """Cancel all builds that the filters mean, and tell what became of them."""
    return _steer(Command.CANCEL)


@blueprint.post("/page/retry")
@steers(Command.RETRY)
def retry_all() -> Response:
    """Retry all builds that the filters mean, and tell what became of them."""
    return _steer(Command.RETRY)


def _steer(action: Command) -> Response:
    parameters, wanted = _meant()
    if wanted.is_empty and not parameters.flag("all"):
        parameters.bad("all", "must be true where no filter is given")
    parameters.judge()
    outcome = steer_all(action, lambda: _bulk(action)(wanted, dry_run=False))
    refused = [
        (each.request.job_name, refusal.code.value, refusal.detail)
        for each, refusal in outcome.refused
    ]
    became = {
        "done": len(outcome.done),
        "matched": outcome.matched,
        "left": outcome.matched - len(outcome.done) - len(refused),
        "refused": refused[:_REFUSALS_SHOWN],
    }
    return made("steer.html", action=action.value, filters=parameters.given(), outcome=became)


def _meant() -> tuple[PageParameters, BuildFilter]:
    parameters, reach = PageParameters(), gate.caller().reach
    wanted = parameters.build_filter(reach.read, reach.steer)
    parameters.judge()
    return parameters, wanted


def _bulk(action: Command) -> Callable[..., BulkOutcome]:
    bulk = current_services().bulk
    return bulk.cancel if action is Command.CANCEL else bulk.retry


def _to(steered: BuildResult) -> ResponseValue:
    """Let the browser ask for the build, so that loading again repeats nothing."""
    return redirect(build_path(steered.request.job_name), HTTPStatus.SEE_OTHER)
