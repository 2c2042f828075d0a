"""One HTTP exchange over a connection of urllib3: the request in one write, the answer by llhttp.

urllib3 opens connections, through TLS and proxies, and keeps them. What goes over them costs it
four times as much, in more writes and reads, each of which hands the interpreter to another thread.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPConnectionPool, HTTPHeaderDict
from urllib3.util import parse_url
from urllib3.util.proxy import connection_requires_http_tunnel

Waits = Callable[[], object]
"""Called by a thread that is about to wait for the other side."""

_PIECE_BYTES = 65_536
_HEAD_BYTES = 131_072
"""Longest head of an answer, all of its lines and those of interim answers together."""
_FRAMES = (b"content-length", b"transfer-encoding")
# RFC 9110, 5.1 and 5.5: a name is a token, a value has no control characters but the tabulator.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_TARGET = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    data: bytes
    """The body; nothing where only the head was waited for."""
    _fields: Iterable[tuple[bytes, bytes]]

    @property
    def headers(self) -> HTTPHeaderDict:
        """The header fields; their names match in upper and lower case."""
        return HTTPHeaderDict([(n.decode("latin-1"), v.decode("latin-1")) for n, v in self._fields])


class Origin:
    """Where requests go, over a pool of connections to it or to a proxy before it; thread-safe."""

    def __init__(self, pool: HTTPConnectionPool, url: str, waits: Waits = lambda: None) -> None:
        """``url`` has the scheme and host, whatever else; the pool connects to what it asks for."""
        self._pool = pool
        self._waits = waits
        parsed = parse_url(url)
        self._host = parsed.netloc
        self._has_tunnel = connection_requires_http_tunnel(
            pool.proxy, pool.proxy_config, parsed.scheme
        )
        is_forwarded = pool.proxy is not None and not self._has_tunnel
        self._prefix = f"{parsed.scheme}://{parsed.netloc}" if is_forwarded else ""
        self._headers = pool.proxy_headers if is_forwarded else {}

    def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float,
        connect_seconds: float = math.inf,
        only_head: bool = False,
    ) -> Answer:
        """Send a request and return its answer.

        All of it has to be over in ``seconds``, of which a new connection gets ``connect_seconds``
        at most: ``OSError`` (``TimeoutError``, ``ConnectionError``) otherwise, and urllib3's
        ``HTTPError`` where there is no connection. ``ValueError`` for what HTTP cannot carry. With
        ``only_head`` the body is not waited for. Nothing is sent twice.
        """
        until = time.monotonic() + seconds
        request = self._request(method, path, headers, body)
        connection: Any = self._pool._get_conn()
        is_kept = False
        try:
            if connection.is_closed:
                self._waits()
                self._connect(connection, min(seconds, connect_seconds))
            _send(connection.sock, request, until)
            self._waits()
            answer, is_kept = _receive(connection.sock, until, only_head=only_head)
            return answer
        finally:
            if not is_kept:
                connection.close()
            self._pool._put_conn(connection)

    def _connect(self, connection: Any, seconds: float) -> None:
        connection.timeout = seconds
        if self._has_tunnel:
            self._pool._prepare_proxy(connection)
        else:
            connection.connect()

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        if _NO_TARGET.search(path):
            raise ValueError(f"Invalid target {path[:200]!r}")
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host}"]
        for name, value in chain(self._headers.items(), headers.items()):
            if not _NAME.fullmatch(name):
                raise ValueError(f"Invalid header name {name[:200]!r}")
            if _NO_VALUE.search(value):
                raise ValueError(f"Invalid header value {value[:200]!r}")
            lines.append(f"{name}: {value}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join((*lines, "\r\n")).encode("latin-1")
        return head + body if body else head


def _send(sock: Any, request: bytes, until: float) -> None:
    # Over TLS the socket's timeout is for each record, not for all of them.
    for start in range(0, len(request), _PIECE_BYTES):
        sock.settimeout(_left(until, "the request was not read in time"))
        sock.sendall(request[start : start + _PIECE_BYTES])


def _left(until: float, problem: str) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError(problem)
    return left


class _Reading:
    """What llhttp finds in the bytes of an answer."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.status = 0
        """Of the answer, once its head is there."""
        self.is_over = self.is_kept = False
        self.on_body = self.parts.append
        self.parser: Any = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_over:
                raise ConnectionError(f"what came is no answer: {error}") from error
            self.is_kept = False  # something follows that nobody has asked for

    def end(self) -> None:
        """Take the end of the connection for the end of the answer, if it may be."""
        if not self.status or any(name.lower() in _FRAMES for name, _ in self.fields):
            raise ConnectionError("the connection ended before the answer did")
        self.is_over = True

    def on_message_begin(self) -> None:
        if self.is_over:
            raise HttpParserError("a second answer")
        self.fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200:  # else it is an interim one
            self.status = status

    def on_message_complete(self) -> None:
        if self.status:
            self.is_over, self.is_kept = True, self.parser.should_keep_alive()


def _receive(sock: Any, until: float, *, only_head: bool) -> tuple[Answer, bool]:
    """Return an answer, and whether another request may follow it."""
    reading, received = _Reading(), 0
    try:
        while not (reading.is_over or (only_head and reading.status)):
            sock.settimeout(_left(until, "no whole answer in time"))
            data = sock.recv(_PIECE_BYTES)
            received += len(data)
            if not data:
                reading.end()
            elif not reading.status and received > _HEAD_BYTES:
                raise ConnectionError("the answer's head is too large")
            else:
                reading.feed(data)
    finally:
        reading.parser = None  # which refers back
    data = b"" if only_head else b"".join(reading.parts)
    return Answer(reading.status, data, reading.fields), reading.is_kept
