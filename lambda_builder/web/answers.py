"""What an accepted event is answered with, and how JSON leaves the service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from flask import Response
from werkzeug.http import parse_list_header

from lambda_builder.builds import BuildState, CommandRequest
from lambda_builder.errors import RefusalCode
from lambda_builder.pipeline.acceptance import Receipt
from lambda_builder.web import correlation

ReplyMode = Literal["auto", "json", "empty"]


_PUSHED_BACK = frozenset(
    (RefusalCode.QUEUE_FULL, RefusalCode.SHUTTING_DOWN, RefusalCode.TOO_MANY_WAITING)
)
"""503s that tell of a load, or a stop, as promised: the sender keeps the event for later."""


def kind_of(status: int, code: RefusalCode | None) -> str:
    """Return what an answer to an event counts as: all 5xx but those promised are failures."""
    if status < HTTPStatus.BAD_REQUEST:
        return "accepted"
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in _PUSHED_BACK:
        return "pushed_back"
    return "refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"


def json_answer(content: Any) -> Response:
    """Return ``content`` as JSON that no cache keeps.

    ASCII only: an ID may hold a lone surrogate, which UTF-8 cannot express.
    """
    response = Response(json.dumps(content) + "\n", content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def build_url(job_name: str) -> str:
    """Return where the build of that Job name is read."""
    return "/async-jobs/" + quote(job_name, safe="")


def accepted_build(receipt: Receipt, state: BuildState) -> dict[str, Any]:
    """Describe an accepted build, with its ``state`` by now unless it was just queued."""
    request = receipt.request
    answer = {
        "status": receipt.status,
        "job_name": request.job_name,
        "correlation_id": request.correlation_id,
        "event_id": request.event_id,
        "queue_size": receipt.queue_size,
        "result_url": build_url(request.job_name),
    }
    if receipt.status == "queued" and state is BuildState.QUEUED:
        return answer
    return {**answer, "state": state.value}


def accepted_command(command: CommandRequest) -> dict[str, Any]:
    """Describe a cancel or retry event that is kept."""
    return {
        "status": "accepted",
        "job_name": command.job_name,
        "correlation_id": command.correlation_id,
        "event_id": command.event_id,
        "queue_size": None,
        "result_url": None if command.job_name is None else build_url(command.job_name),
    }


def acceptance(answers: Sequence[dict[str, Any]], *, batch: bool, empty: bool) -> Response:
    """Answer accepted events: 200 with JSON, or 202 and nothing where a body would harm.

    A Knative broker takes any body that is not a CloudEvent for a failed delivery.
    """
    if empty:
        response = Response(status=202)
        del response.headers["Content-Type"]
    else:
        response = json_answer({"results": answers} if batch else answers[0])
    if not batch:
        [answer] = answers
        correlation.make_known(answer["correlation_id"])
        if answer["job_name"] is not None:
            response.headers["X-Job-Name"] = correlation.header_text(answer["job_name"])
            response.headers["Location"] = answer["result_url"]
    return response


def wants_empty(mode: ReplyMode, prefer: str | None) -> bool:
    """Whether the body has to stay empty: ``prefer`` is the request's ``Prefer`` (RFC 7240)."""
    if mode != "auto":
        return mode == "empty"
    if prefer is None:
        return False
    return any(_preference(item) == "reply" for item in parse_list_header(prefer))


def _preference(item: str) -> str:
    """Return the name of one preference, without its value and parameters."""
    return item.partition(";")[0].partition("=")[0].strip().lower()
