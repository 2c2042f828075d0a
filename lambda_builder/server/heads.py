"""What HTTP asks of a request's head beyond what gunicorn's parser sees to."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from gunicorn.http import errors as http_errors

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""RFC 9110, 7.2: ``uri-host [":" port]``; the host may be empty."""


class NoHost(http_errors.ParseException):  # type: ignore[misc]  # gunicorn has no types
    """A request of HTTP/1.1 does not name its host."""

    def __str__(self) -> str:
        return "the header Host is missing"


def check_head(request: Any) -> None:
    """Complete a request that has just been parsed.

    Raises gunicorn's ``ParseException`` for one that HTTP has refused.
    """
    _check_host(request)
    _check_target(request)
    _check_coding(request)
    if "close" in _options(request):
        # RFC 9112, 9.6: the last request, also where the option is one of several.
        request.force_close()


def _check_host(request: Any) -> None:
    """RFC 9112, 3.2: HTTP/1.1 without ``Host``, or with one that is none, is a 400."""
    named = [value for name, value in request.headers if name == "HOST"]
    if request.version >= (1, 1) and not named:
        raise NoHost
    if named and not _HOST.fullmatch(named[0]):
        raise http_errors.InvalidHeader("HOST")


def _check_target(request: Any) -> None:
    """RFC 9112, 3.2.2: the host of an absolute target replaces the header's."""
    if "#" in request.uri:  # a fragment is no part of any target (3.2), and hides what follows
        raise http_errors.InvalidRequestLine(request.uri)
    if request.method == "CONNECT" or request.uri.startswith(("/", "*")):
        return
    target = urlsplit(request.uri)
    is_ours = target.scheme.lower() in ("http", "https") and target.hostname
    if not (is_ours and _HOST.fullmatch(target.netloc)):
        # Without what may be a password.
        raise http_errors.InvalidRequestLine(
            f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
        )
    request.headers = [item for item in request.headers if item[0] != "HOST"]
    request.headers.append(("HOST", target.netloc))


def _check_coding(request: Any) -> None:
    """RFC 9112, 6.1: a transfer coding that is not undone here is a 501, not a body."""
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            raise http_errors.UnsupportedTransferCoding(value)


def _options(request: Any) -> set[str]:
    """Return the options of ``Connection`` (RFC 9110, 7.6.1)."""
    values = [value for name, value in request.headers if name == "CONNECTION"]
    return {option.strip(" \t").lower() for option in ",".join(values).split(",")}
