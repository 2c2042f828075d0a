"""Requests read as their bytes arrive, each handed out once it is whole.

Where a request ends is decided by the parser that also says what it means: gunicorn's. Two parsers
that disagree on that would let requests be smuggled past one of them. gunicorn's asks for bytes as
if it could wait for them, so it runs in a greenlet, which is set aside while there are none.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from greenlet import getcurrent, greenlet
from gunicorn import http
from gunicorn.http import errors as http_errors

from lambda_builder.server.client import ClientSocket

HEAD_BYTES = 131_072
"""Largest head of a request, all its lines together."""
_LINE_BYTES = 8192
"""Most that gunicorn asks for where it does not know how much follows."""
_CHUNK_LINE_BYTES = 1024
"""Most of that in one turn of the loop, in a chunked body."""
_HEAD_STEP_BYTES = 2048
"""The same in a head, behind which the first chunks come along."""
_CHUNK_ROOM_BYTES = 8192
"""What the sizes of chunks and the trailer may take beyond as much as the content: tiny chunks cost
so much time that a few senders of them would silence the loop."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
"""RFC 9110, 7.2: ``uri-host [":" port]``; the host may be empty."""


class Truncated(http_errors.ParseException):  # type: ignore[misc]  # gunicorn has no types
    """The client ended its side of the connection within a request."""

    def __str__(self) -> str:
        return "the connection ended before the request did"


class Padded(http_errors.ParseException):  # type: ignore[misc]
    """A chunked body's framing takes more room than its content may."""

    def __str__(self) -> str:
        return "the chunks of the body are too small"


class ConnectionOver(Exception):
    """No request follows on this connection."""


class RequestReader:
    """Reads the requests of one connection, in order; used by the worker's loop only."""

    def __init__(self, cfg: Any, client: ClientSocket, peer: Any, max_body_bytes: int) -> None:
        self._client = client
        self._max_body_bytes = max_body_bytes
        self._parser = http.get_parser(cfg, self, peer)
        self._loop = getcurrent()
        self._greenlet = greenlet(self._run)
        self._readable = False
        self._chunked: Any = None
        self._chunked_from = 0
        self._in_head = True
        self.received = 0
        """Bytes that have come of the present request."""

    def advance(self, *, readable: bool) -> Any:
        """Go on with what is there; returns a whole gunicorn request, or None: it is not yet.

        ``readable`` allows one read of the connection. Raises gunicorn's ``ParseException`` for
        what is no request, ``ConnectionOver`` at the connection's end, ``OSError`` as it comes.
        """
        self._readable = readable
        return self._greenlet.switch()

    def close(self) -> None:
        """Read no further, and forget a request that is under way; harmless twice."""
        if self._greenlet:
            self._greenlet.throw()
        self._parser = None

    def recv(self, size: int) -> bytes:
        """Return bytes for gunicorn's parser, once there are any; nothing at the end."""
        if self._in_head:
            if self.received > HEAD_BYTES:
                raise http_errors.LimitRequestHeaders("head too large")
            size = _HEAD_STEP_BYTES
        if self._chunked is not None:
            content = self._chunked.buf.tell() + self._chunked.reader.buf.tell()
            if self.received - self._chunked_from > _CHUNK_ROOM_BYTES + 2 * content:
                raise Padded
            if size <= _LINE_BYTES:
                size = _CHUNK_LINE_BYTES
        while True:
            while not self._readable:
                self._loop.switch(None)
            self._readable = False
            try:
                data = self._client.recv(size)
            except BlockingIOError:
                continue
            self.received += len(data)
            return data

    def _run(self) -> Any:
        try:
            for request in self._parser:
                self._complete(request)
                self._loop.switch(request)
                request.body = BytesIO()  # the parser keeps its last request
                self.received = len(self._parser.unreader.buf.getvalue())
                self._in_head, self._chunked = True, None
        except http_errors.NoMoreData:
            raise Truncated from None
        raise ConnectionOver

    def _complete(self, request: Any) -> None:
        check_host(request)
        reader = request.body.reader
        length = getattr(reader, "length", None)
        limit = self._max_body_bytes
        if length is not None and length > limit:
            # Refused by what it announces, so none of it is asked for or read.
            request.force_close()
            request._expected_100_continue = False
            request.body = BytesIO()
            return
        if request._expected_100_continue:
            request._expected_100_continue = False
            if length != 0:
                self._client.send(_CONTINUE)
        self._in_head = False
        if length is None:
            self._chunked, self._chunked_from = request.body, self.received
        body = request.body.read(limit + 1 if length is None else length)
        if length is not None and len(body) < length:
            raise Truncated
        if len(body) > limit:
            request.force_close()
        request.body = BytesIO(body)


def check_host(request: Any) -> None:
    """Raise ``InvalidHeader`` unless the request names its host as HTTP asks for.

    RFC 9112, 3.2: HTTP/1.1 without ``Host``, or with one that is none, is a 400; 3.2.2: the host
    of an absolute target replaces the header's.
    """
    named = [value for name, value in request.headers if name == "HOST"]
    if request.version >= (1, 1) and not named:
        raise http_errors.InvalidHeader("HOST is missing")
    if named and not _HOST.fullmatch(named[0]):
        raise http_errors.InvalidHeader("HOST")
    if request.method == "CONNECT" or request.uri.startswith(("/", "*")):
        return
    target = urlsplit(request.uri)
    if target.scheme.lower() not in ("http", "https") or not target.hostname:
        raise http_errors.InvalidRequestLine(request.uri)
    if not _HOST.fullmatch(target.netloc):
        raise http_errors.InvalidRequestLine(request.uri)
    request.headers = [item for item in request.headers if item[0] != "HOST"]
    request.headers.append(("HOST", target.netloc))
