"""``/audit``: who cancelled and retried what; and the noting of what is steered by requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Blueprint, Response

from lambda_builder.access.rules import READ
from lambda_builder.access.rules import Action as Allowed
from lambda_builder.builds import Action, BuildResult
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.steering.audit import Target
from lambda_builder.steering.bulk import BulkOutcome
from lambda_builder.tenants import Reach
from lambda_builder.web import gate
from lambda_builder.web.answers import json_answer
from lambda_builder.web.gate import asks
from lambda_builder.web.parameters import Parameters
from lambda_builder.web.services import current_services

blueprint = Blueprint("audit", __name__)


@blueprint.get("/audit")
@asks(READ)
def show_audit() -> Response:
    """Show who cancelled and retried what, newest first."""
    parameters = Parameters()
    limit = parameters.limit()
    parameters.judge()
    tenants = gate.caller().may(Allowed.READ)
    page = current_services().audit.page(
        tenants,
        limit=limit,
        cursor=parameters.text("cursor"),
        third_party_id=parameters.text("third_party_id"),
    )
    return json_answer({"items": page.items, "next_cursor": page.next_cursor})


def steer_one(
    action: Action, build_id: str, steer: Callable[[str, Reach], BuildResult]
) -> BuildResult:
    """Cancel or retry one build, as ``steer`` does it, and note it; raises what that raises."""
    services = current_services()
    with _noting_refusals(action, Target("api", build_id)), services.threads.kubernetes.take():
        steered = steer(build_id, gate.caller().reach)
    services.audit.done(gate.actor(), action, [Target.of(steered, "api")])
    return steered


def steer_all(action: Action, steer: Callable[[], BulkOutcome]) -> BulkOutcome:
    """Cancel or retry many builds, as ``steer`` does it, and note each, and what was asked for."""
    services, by = current_services(), gate.actor()
    asked = gate.target()
    with _noting_refusals(action, asked), services.threads.kubernetes.take():
        outcome = steer()
    refused: dict[RefusalCode, list[Target]] = {}
    for build, refusal in outcome.refused:
        refused.setdefault(refusal.code, []).append(Target.of(build, "bulk"))
    for code, targets in refused.items():
        services.audit.failed(by, action, targets, code)
    done = [Target.of(build, "bulk") for build in outcome.done]
    if done:  # what did nothing must not push out what did
        services.audit.done(by, action, [*done, asked.but(matched=outcome.matched, done=len(done))])
    return outcome


@contextmanager
def _noting_refusals(action: Action, target: Target) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        current_services().audit.failed(gate.actor(), action, [target], refused.code)
        raise
