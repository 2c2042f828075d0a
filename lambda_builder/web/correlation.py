"""The present request's correlation ID, which every response carries in ``X-Correlation-ID``."""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

from flask import Response, g, request

HEADER = "X-Correlation-ID"
_USABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,251}[\x21-\x7e])?")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def of_header(value: str | None) -> str | None:
    """Return a header's value if it can be a correlation ID: 1 to 253 printable characters."""
    return value if value is not None and _USABLE.fullmatch(value) else None


def fresh() -> str:
    """Return one that nobody has."""
    return uuid.uuid4().hex


def current() -> str:
    """Return the ID: the one made known, else the request's own, else a fresh one."""
    known: str | None = g.get("correlation_id")
    if known is None:
        known = requested() or fresh()
        g.correlation_id = known
    return known


def requested() -> str | None:
    """Return the ID that the present request's header gives, if any."""
    return of_header(request.headers.get(HEADER))


def make_known(correlation_id: str) -> None:
    """Use ``correlation_id`` from here on."""
    g.correlation_id = correlation_id


def add_header(response: Response) -> Response:
    """Put the ID on ``response``, unless it has one."""
    if HEADER not in response.headers:
        response.headers[HEADER] = header_text(current())
    return response


def header_text(value: str) -> str:
    """Return ``value`` as a header can carry it.

    What is not printable ASCII is percent-encoded as UTF-8, as CloudEvents does in its headers.
    """
    if _PRINTABLE.fullmatch(value):
        return value
    return "".join(
        character if "\x20" <= character <= "\x7e" else quote(character, safe="", errors="replace")
        for character in value
    )
