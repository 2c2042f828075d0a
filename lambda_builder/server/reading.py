"""Requests read as their bytes arrive, each handed out once it is whole.

Where a request ends is decided by the parser that also says what it means: gunicorn's, but for
plain requests that come in one piece and end with it (``plain``). Two parsers that disagree on that
would let requests be smuggled past one of them. gunicorn's asks for bytes as if it could wait for
them, so it runs in a greenlet, which is set aside while there are none.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from greenlet import getcurrent, greenlet
from gunicorn import http
from gunicorn.http import errors as http_errors
from gunicorn.http.body import Body

from lambda_builder.server.chunks import BoundedChunks
from lambda_builder.server.client import ClientSocket
from lambda_builder.server.heads import check_head
from lambda_builder.server.plain import PlainReader

HEAD_BYTES = 131_072
"""Largest head of a request, all its lines together."""
_READ_BYTES = 8_192
"""Most bytes read at a time; gunicorn's own size."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Truncated(http_errors.ParseException):  # type: ignore[misc]  # gunicorn has no types
    """The client ended its side of the connection within a request."""

    def __str__(self) -> str:
        return "the connection ended before the request did"


class ConnectionOver(Exception):
    """No request follows on this connection."""


class SettingsReadOnce:
    """gunicorn's settings, each looked up once: its own lookups are a third of the parser's time.

    They do not change while a worker runs.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class RequestReader:
    """Reads the requests of one connection, in order; used by the worker's loop only."""

    def __init__(self, cfg: Any, client: ClientSocket, peer: Any, max_body_bytes: int) -> None:
        self._client = client
        self._max_body_bytes = max_body_bytes
        self._plain = PlainReader(cfg, peer, max_body_bytes)
        self._unread: bytes | None = None
        """What was read and is not plain; the parser's next bytes."""
        self._given: Any = None
        """The plain request that was handed out last."""
        self._parser = http.get_parser(cfg, self, peer)
        self._loop = getcurrent()
        self._greenlet: Any = greenlet(self._run)
        self._readable = False
        self._in_head = True
        self.received = 0
        """Bytes that have come of the present request."""
        self.in_chunks = False
        """Whether a body in chunks is under way, which takes more time than other bytes do."""
        self.is_paused = False
        """Whether it can go on without another byte, and has let others go first."""

    @property
    def holds_bytes(self) -> bool:
        """Whether something was read that is behind the present request."""
        return bool(self._parser.unreader.buf.getvalue())

    def advance(self, *, readable: bool) -> Any:
        """Go on with what is there; returns a whole gunicorn request, or None: it is not yet.

        ``readable`` allows one read of the connection, unless the reader has paused. Raises
        gunicorn's ``ParseException`` for what is no request, ``ConnectionOver`` at the connection's
        end, ``OSError`` as it comes.
        """
        if self._given is not None:
            self._given.body = BytesIO()
            self._given = None
            self.received = 0
        if self.received == 0:
            if not readable:
                return None
            request = self._read_plain()
            if request is not None or self._unread is None:
                return request
        self._readable = readable and not self.is_paused
        self.is_paused = False
        return self._greenlet.switch()

    def _read_plain(self) -> Any:
        """Read once; return the request if it is plain, and else leave what came to the parser."""
        try:
            data = self._client.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        request = self._plain.read(data)
        if request is None:
            self._unread = data
            return None
        check_head(request)
        self.received = len(data)
        self._given = request
        return request

    def close(self) -> None:
        """Read no further, and forget a request that is under way; harmless twice."""
        if self._greenlet:
            self._greenlet.throw()
        # A greenlet that has not begun holds its reader, and would keep both until a collection.
        self._greenlet = self._parser = self._given = self._unread = None
        self._plain.close()

    def recv(self, size: int) -> bytes:
        """Return bytes for gunicorn's parser, once there are any; nothing at the end."""
        if self._in_head and self.received > HEAD_BYTES:
            raise http_errors.LimitRequestHeaders("head too large")
        while True:
            while not self._readable:
                self._loop.switch(None)
            self._readable = False
            data, self._unread = self._unread, None
            if data is None:
                try:
                    data = self._client.recv(size)
                except BlockingIOError:
                    continue
            self.received += len(data)
            return data

    def _pause(self) -> None:
        self.is_paused = True
        self._loop.switch(None)

    def _run(self) -> Any:
        try:
            for request in self._parser:
                self._complete(request)
                self._loop.switch(request)
                request.body = BytesIO()  # the parser keeps its last request
                self.received = len(self._parser.unreader.buf.getvalue())
                self._in_head = True
        except http_errors.NoMoreData:
            raise Truncated from None
        raise ConnectionOver

    def _complete(self, request: Any) -> None:
        check_head(request)
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
            body = self._chunked_body(request)
        else:
            body = request.body.read(length)
            if len(body) < length:
                raise Truncated
        if len(body) > limit:
            request.force_close()
        request.body = BytesIO(body)

    def _chunked_body(self, request: Any) -> bytes:
        """Read up to one byte beyond the limit."""
        self.in_chunks = True
        chunks = BoundedChunks(request, self._parser.unreader, lambda: self.received, self._pause)
        request.body = Body(chunks)
        body: bytes = request.body.read(self._max_body_bytes + 1)
        self.in_chunks = False
        return body
