"""``/events`` and ``/``: CloudEvents in, what was refused of them, and the webhook handshake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Response, request
from flask.globals import request_ctx

from lambda_builder.access.rules import READ, SEND, Action
from lambda_builder.steps import Work
from lambda_builder.web import answers, gate
from lambda_builder.web.answers import Answer
from lambda_builder.web.gate import asks
from lambda_builder.web.intake import Intake
from lambda_builder.web.problems import allow
from lambda_builder.web.services import current_services

blueprint = Blueprint("events", __name__)

EVENT_PATHS = ("/", "/events")
"""Where events are posted to."""
_ORIGIN = re.compile(r"[\x21-\x7e]{1,253}")
_RATE = re.compile(r"[1-9][0-9]{0,9}")


class ShortWay:
    """A WSGI application that answers POSTs of events itself, and leaves all else to ``others``.

    Flask's way to a view and back takes as long as accepting an event does. ``in_steps``: to begin
    an answer waits for nothing, so that a server's loop may do that, too.
    """

    def __init__(
        self, intake: Intake, others: Callable[..., Iterable[bytes]], *, in_steps: bool
    ) -> None:
        self._intake = intake
        self._others = others
        self._in_steps = in_steps

    def begins(self, method: str, path: str) -> Callable[[dict[str, Any]], Work[Answer]] | None:
        """Return what begins the answer to a request in steps; None where it may wait at once."""
        is_ours = self._in_steps and method == "POST" and path in EVENT_PATHS
        return self._intake.begin if is_ours else None

    def __call__(
        self, environ: dict[str, Any], start_response: answers.StartResponse
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"] in EVENT_PATHS:
            return self._intake.answer(environ).send(start_response)
        return self._others(environ, start_response)


@blueprint.post("/events", provide_automatic_options=False)
@blueprint.post("/", endpoint="receive_at_root", provide_automatic_options=False)
@asks(SEND)
def receive() -> Response:
    """Accept events where the short way is not taken: traces begin in Flask."""
    return Intake(current_services()).answer(request.environ).response()


@blueprint.get("/events/rejected")
@asks(READ)
def rejected() -> Response:
    """Show the last events that were refused for good, newest first."""
    kept = current_services().rejections.newest(gate.caller().may(Action.READ))
    return answers.json_answer({"items": kept})


@blueprint.route("/events", methods=["OPTIONS"])
@blueprint.route("/", endpoint="options_at_root", methods=["OPTIONS"])
@asks(SEND)
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
