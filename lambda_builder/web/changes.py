"""``/async-jobs/changes``: changes of builds as they happen, as server-sent events (WHATWG)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request

from lambda_builder.access.rules import READ_ALL
from lambda_builder.jsontext import dump_ascii
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.stats import Stats
from lambda_builder.web.async_jobs import client_socket
from lambda_builder.web.gate import asks
from lambda_builder.web.log_stream import LogStream
from lambda_builder.web.services import current_services

blueprint = Blueprint("changes", __name__)

_STATS_SECONDS = 1.0
_RETRY_MILLISECONDS = 2000
_LONGEST_SECONDS = 300.0
"""Then the client comes back, and is asked again what it may read; it misses nothing."""
_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")


@blueprint.get("/async-jobs/changes")
@asks(READ_ALL)
def stream_changes() -> Response:
    """Stream the changes after ``Last-Event-ID``, or from now on, and the stats once a second."""
    services = current_services()
    creator = services.creator
    with services.threads.change_streams.take() as slot:
        stream = LogStream(
            _events(services.changes, request.headers.get("Last-Event-ID"), creator.get_stats),
            slot.pop_all(),
            is_shutdown=lambda: creator.is_shutdown,
            client=client_socket(),
        )
    response = Response(stream, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _events(feed: ChangeFeed, last_id: str | None, stats: Callable[[], Stats]) -> Iterator[bytes]:
    number = feed.number if last_id is None else _number(feed, last_id)
    # An id alone is no event, but what the client comes back with.
    known = feed.number if number is None else number
    text = f"retry: {_RETRY_MILLISECONDS}\nid: {feed.epoch}-{known}\n\n"
    stats_at = time.monotonic()
    ends_at = stats_at + _LONGEST_SECONDS
    while time.monotonic() < ends_at:
        changes = (
            None if number is None else feed.after(number, max(0.0, stats_at - time.monotonic()))
        )
        if changes is None:
            number = feed.number
            text += _event("reset", feed.epoch, number, "{}")
        else:
            for number, change in changes:
                text += _event("change", feed.epoch, number, change)
        now = time.monotonic()
        if now >= stats_at:
            stats_at = now + _STATS_SECONDS
            text += f"event: stats\ndata: {dump_ascii(stats().model_dump())}\n\n"
        yield text.encode("ascii")
        text = ""


def _number(feed: ChangeFeed, last_id: str) -> int | None:
    """Return the number that an id of this process stands for."""
    found = _ID.fullmatch(last_id)
    return int(found[2]) if found and found[1] == feed.epoch else None


def _event(name: str, epoch: str, number: int, data: str) -> str:
    return f"id: {epoch}-{number}\nevent: {name}\ndata: {data}\n\n"
