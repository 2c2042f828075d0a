"""Answers as the views make them, whoever sends them; and what an accepted event is answered with.

JSON leaves the service from here, ASCII only: an ID may hold a lone surrogate, which UTF-8 cannot
express.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from flask import Response
from werkzeug.http import parse_list_header

from lambda_builder.builds import BuildState, CommandRequest
from lambda_builder.errors import RefusalCode
from lambda_builder.jsontext import dump_ascii
from lambda_builder.pipeline.acceptance import Receipt
from lambda_builder.web import correlation

ReplyMode = Literal["auto", "json", "empty"]
StartResponse = Any
"""As WSGI has it (PEP 3333)."""

_PUSHED_BACK = frozenset(
    (RefusalCode.QUEUE_FULL, RefusalCode.SHUTTING_DOWN, RefusalCode.TOO_MANY_WAITING)
)
"""503s that tell of a load, or a stop, as promised: the sender keeps the event for later."""
_STATUS_LINES = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}


@dataclass(slots=True)
class Answer:
    """One whole answer, for Flask to send or for WSGI."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    code: RefusalCode | None = None
    """Of a problem."""

    @property
    def kind(self) -> str:
        """What it counts as where it is about events: all 5xx but those promised are failures."""
        if self.status < HTTPStatus.BAD_REQUEST:
            return "accepted"
        if self.status == HTTPStatus.TOO_MANY_REQUESTS or self.code in _PUSHED_BACK:
            return "pushed_back"
        return "refused" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"

    def response(self) -> Response:
        """Return it for a Flask view."""
        response = Response(self.body, self.status)
        del response.headers["Content-Type"]
        response.headers.update(self.headers)
        return response

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI server."""
        headers = [*self.headers.items(), ("Content-Length", str(len(self.body)))]
        start_response(_STATUS_LINES[self.status], headers)
        return (self.body,)


def as_json(content: Any) -> Answer:
    """Return ``content`` as JSON that no cache keeps."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Answer(200, f"{dump_ascii(content)}\n".encode("ascii"), headers)


def json_answer(content: Any) -> Response:
    """Return ``as_json`` for a Flask view."""
    return as_json(content).response()


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


def acceptance(answers: Sequence[dict[str, Any]], *, batch: bool, empty: bool) -> Answer:
    """Answer accepted events: 200 with JSON, or 202 and nothing where a body would harm.

    A Knative broker takes any body that is not a CloudEvent for a failed delivery.
    """
    answer = Answer(202) if empty else as_json({"results": answers} if batch else answers[0])
    if not batch:
        [described] = answers
        if described["job_name"] is not None:
            answer.headers["X-Job-Name"] = correlation.header_text(described["job_name"])
            answer.headers["Location"] = described["result_url"]
    return answer


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
