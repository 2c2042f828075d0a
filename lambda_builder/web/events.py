"""``POST /events`` and ``POST /``: CloudEvents in, answered as docs/http-api.rst has it."""

from __future__ import annotations

import re
from contextlib import ExitStack

from flask import Blueprint, Response, g, request
from flask.globals import request_ctx

from lambda_builder.builds import BuildRequest
from lambda_builder.errors import Refused
from lambda_builder.events.reader import Delivery
from lambda_builder.pipeline.acceptance import Receipt
from lambda_builder.web import answers, intake
from lambda_builder.web.acknowledgement import wait_until_created
from lambda_builder.web.problems import allow
from lambda_builder.web.services import Services, current_services

blueprint = Blueprint("events", __name__)

_ORIGIN = re.compile(r"[\x21-\x7e]{1,253}")
_RATE = re.compile(r"[1-9][0-9]{0,9}")


@blueprint.post("/events", provide_automatic_options=False)
@blueprint.post("/", endpoint="receive_at_root", provide_automatic_options=False)
def receive() -> Response:
    """Accept the events of one request, all or none."""
    services = current_services()
    with ExitStack() as slots:
        try:
            intake.refuse_while_shutting_down(services)
            delivery = intake.read_delivery(services)
            # Before anything is accepted: a refusal here must leave nothing behind.
            waits = _waits_for_jobs(services, delivery)
            if waits:
                slots.enter_context(services.threads.acknowledgements.take())
            elif services.settings.journal_path is not None:
                # A disk that stalls must not take the threads that answer probes.
                slots.enter_context(services.threads.recording.take())
            with services.command_events.keeping(intake.commands_of(delivery)):
                receipts = intake.accept_builds(services, delivery)
        except Refused as refused:
            intake.note_rejection(services, refused)
            raise
        try:
            return _answer(services, delivery, receipts, waits=waits)
        except Refused as refused:
            intake.log_refusal(refused)
            raise


def _waits_for_jobs(services: Services, delivery: Delivery) -> bool:
    return services.settings.ack == "created" and any(
        isinstance(event, BuildRequest) for event in delivery.events
    )


def _answer(
    services: Services, delivery: Delivery, receipts: list[Receipt], *, waits: bool
) -> Response:
    if waits:
        states = wait_until_created(
            receipts,
            timeout=services.settings.ack_timeout_seconds,
            is_shutdown=lambda: services.creator.is_shutdown,
        )
    else:
        states = [receipt.state for receipt in receipts]
    built = iter(zip(receipts, states, strict=True))
    return answers.acceptance(
        [
            answers.accepted_build(*next(built))
            if isinstance(event, BuildRequest)
            else answers.accepted_command(event)
            for event in delivery.events
        ],
        batch=delivery.mode == "batch",
        empty=answers.wants_empty(services.settings.reply_mode, request.headers.get("Prefer")),
    )


@blueprint.after_request
def count_answer(response: Response) -> Response:
    """Count how a request with events was answered, whatever it was answered by."""
    if request.method == "POST":
        kind = answers.kind_of(response.status_code, g.get("problem_code"))
        current_services().metrics.answers.labels(kind).inc()
    return response


@blueprint.get("/events/rejected")
def rejected() -> Response:
    """Show the last events that were refused for good, newest first."""
    return answers.json_answer({"items": current_services().rejections.newest()})


@blueprint.route("/events", methods=["OPTIONS"])
@blueprint.route("/", endpoint="options_at_root", methods=["OPTIONS"])
def options() -> Response:
    """Tell the methods, and take part in the CloudEvents webhook validation handshake.

    CloudEvents "HTTP 1.1 Web Hooks for Event Delivery" 1.0, section 4: whoever asks may send, at
    the rate it asks for. The callback is not needed, because this answer is given at once.
    """
    response = Response()
    del response.headers["Content-Type"]
    adapter = request_ctx.url_adapter
    response.headers["Allow"] = allow(() if adapter is None else adapter.allowed_methods())
    origin = request.headers.get("WebHook-Request-Origin", "")
    if _ORIGIN.fullmatch(origin):
        rate = request.headers.get("WebHook-Request-Rate", "")
        response.headers["WebHook-Allowed-Origin"] = origin
        response.headers["WebHook-Allowed-Rate"] = rate if _RATE.fullmatch(rate) else "*"
    return response
