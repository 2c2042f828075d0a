"""One POST of events, up to their acceptance: read, hand over, count and log what is refused."""

from __future__ import annotations

import time
from typing import Any

import structlog
from flask import g, request

from lambda_builder.builds import BuildRequest, CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.binding import BATCH_JSON, STRUCTURED_JSON, ContentMode
from lambda_builder.events.reader import Delivery
from lambda_builder.pipeline.acceptance import Receipt
from lambda_builder.problems import KINDS
from lambda_builder.web import correlation
from lambda_builder.web.services import Services

_LOGGED = 10
"""Most field names in one log line."""


def refuse_while_shutting_down(services: Services) -> None:
    """Raise ``Refused`` (``shutting_down``) once the drain has begun."""
    if services.creator.is_shutdown:
        raise Refused(
            RefusalCode.SHUTTING_DOWN, "shutting down, please retry: another replica may take it"
        )


def read_delivery(services: Services) -> Delivery:
    """Read the present request's events; raises ``Refused``. Counts what was received."""
    body = g.event_body = _read_body(services.settings.max_body_bytes)
    try:
        delivery = services.reader.read(dict(request.headers), body, now=time.time())
    except Refused as refused:
        if refused.code is RefusalCode.UNSUPPORTED_EVENT_TYPE:
            services.metrics.count_received("", _apparent_mode())
        raise
    for event in delivery.events:
        services.metrics.count_received(event.event_type, delivery.mode)
    if len(delivery.events) == 1:
        correlation.make_known(delivery.events[0].correlation_id)
    return delivery


def _read_body(limit: int) -> bytes:
    """Return the body; raises ``Refused`` where it is over ``limit`` bytes or cannot be read.

    Never reads more than one byte beyond the limit, whatever length was announced.
    """
    announced = request.content_length
    if announced is not None and announced > limit:
        raise _too_large(limit)
    request.max_content_length = limit + 1
    try:
        body = request.get_data(cache=False)
    except Exception as error:
        # The server's own parse errors surface here: bad chunk sizes, bad trailers.
        raise _cut_off() from error
    if len(body) > limit:
        raise _too_large(limit)
    if announced is not None and len(body) < announced:
        raise _cut_off()
    return body


def _too_large(limit: int) -> Refused:
    return Refused(RefusalCode.BODY_TOO_LARGE, f"the body is over {limit} bytes")


def _cut_off() -> Refused:
    return Refused(RefusalCode.BAD_REQUEST, "the body could not be read to its end")


def _apparent_mode() -> ContentMode:
    """Return the mode that the content type announces, for a delivery that was refused."""
    if request.mimetype == BATCH_JSON:
        return "batch"
    return "structured" if request.mimetype == STRUCTURED_JSON else "binary"


def accept_builds(services: Services, delivery: Delivery) -> list[Receipt]:
    """Accept the delivery's builds, all or none; raises ``Refused``."""
    builds = [event for event in delivery.events if isinstance(event, BuildRequest)]
    return services.acceptance.accept(builds) if builds else []


def commands_of(delivery: Delivery) -> list[CommandRequest]:
    """Return the delivery's commands."""
    return [event for event in delivery.events if isinstance(event, CommandRequest)]


def note_rejection(services: Services, refused: Refused) -> None:
    """Count, keep and log a refused delivery: one bounded line without anything of its body."""
    log_refusal(refused)
    if KINDS[refused.code].status >= 500 or refused.code is RefusalCode.TENANT_LIMIT:
        services.rejections.count(refused.code.value)  # it is sent again: nothing to look at
        return
    services.rejections.add(
        refused.code.value,
        refused.detail,
        headers=dict(request.headers),
        body=g.get("event_body", b""),
        correlation_id=correlation.current(),
    )


def log_refusal(refused: Refused) -> None:
    """Log a delivery that was not answered as accepted."""
    fields: dict[str, Any] = {"code": refused.code.value, "correlation_id": correlation.current()}
    if refused.errors:
        fields["fields"] = [problem.field[:64] for problem in refused.errors[:_LOGGED]]
    structlog.get_logger().warning(
        "event_rejected",
        **fields,
        content_type=(request.content_type or "")[:100],
        content_length=request.content_length,
    )
