"""HTTP exchanges over connections of urllib3: the request in one write, the answer by llhttp.

urllib3 opens connections, through TLS and proxies, and keeps them. What goes over them costs it
four times as much, in more writes and reads, each of which hands the interpreter to another thread.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from itertools import chain
from typing import Any

from urllib3 import HTTPConnectionPool
from urllib3.connection import port_by_scheme
from urllib3.exceptions import ConnectTimeoutError, ProxyError
from urllib3.util import Url, parse_url
from urllib3.util.proxy import connection_requires_http_tunnel

from lambda_builder.http_exchange.answers import (
    PIECE_BYTES,
    Answer,
    Incoming,
    OpenAnswer,
    left_until,
)

Waits = Callable[[], object]
"""Called by a thread that is about to wait for the other side."""

# RFC 9110, 5.1 and 5.5: a name is a token, a value has no control characters but the tabulator.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_TARGET = re.compile(r"[^\x21-\x7e]")


class Origin:
    """Where requests go, over a pool of connections to it or to a proxy before it; thread-safe."""

    def __init__(self, pool: HTTPConnectionPool, url: str, waits: Waits = lambda: None) -> None:
        """``url`` has the scheme and host, whatever else; the pool connects to what it asks for."""
        self._pool = pool
        self._waits = waits
        parsed = parse_url(url)
        self._host = _host_header(parsed)
        self._has_tunnel = connection_requires_http_tunnel(
            pool.proxy, pool.proxy_config, parsed.scheme
        )
        is_forwarded = pool.proxy is not None and not self._has_tunnel
        self._prefix = f"{parsed.scheme}://{parsed.netloc}" if is_forwarded else ""
        self._headers = pool.proxy_headers if is_forwarded else {}

    def close(self) -> None:
        """Close the connections that are idle, and make no more; harmless twice."""
        self._pool.close()

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

        All of it has to be over in ``seconds``: ``OSError`` (``TimeoutError``, ``ConnectionError``)
        otherwise, and urllib3's ``HTTPError`` where there is no connection. Of a new one each step
        (an address, TLS, each part of a proxy's answer) gets that, or ``connect_seconds``.
        ``ValueError`` for what HTTP cannot carry. With ``only_head`` the body is not waited for.
        Nothing is sent twice.
        """
        until = time.monotonic() + seconds
        with self._sent(method, path, headers, body, until, connect_seconds) as incoming:
            incoming.needs_body = not only_head
            while not (incoming.is_over or (only_head and incoming.status)):
                incoming.receive(until)
            return Answer(incoming.status, incoming.take(), incoming.fields)

    def open(
        self, method: str, path: str, headers: Mapping[str, str], *, seconds: float
    ) -> OpenAnswer:
        """Send a request and return its answer, whose head has to be there in ``seconds``.

        The body is read while it comes; whoever gets it has to close it. Raises as ``exchange``.
        """
        until = time.monotonic() + seconds
        with ExitStack() as stack:
            sent = self._sent(method, path, headers, None, until, math.inf)
            incoming = stack.enter_context(sent)
            while not incoming.status:
                incoming.receive(until)
            return OpenAnswer(incoming, stack.pop_all())

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        connect_seconds: float,
    ) -> Iterator[Incoming]:
        """Send a request, and have its answer read in the block."""
        request = self._request(method, path, headers, body)
        connection: Any = self._pool._get_conn()  # urllib3 lends it in no public way
        incoming = None
        try:
            if connection.is_closed:
                self._waits()
                self._connect(connection, min(left_until(until, "no connection"), connect_seconds))
            incoming = Incoming(connection.sock)
            try:
                _send(connection.sock, request, until)
            except (BrokenPipeError, ConnectionResetError):
                # It may have answered what it did not want to read to its end, as with a 413.
                incoming.is_cut = True
            self._waits()
            yield incoming
        finally:
            if incoming is None or not incoming.ends_well():
                connection.close()
            self._pool._put_conn(connection)

    def _connect(self, connection: Any, seconds: float) -> None:
        connection.timeout = seconds
        try:
            if self._has_tunnel:
                self._pool._prepare_proxy(connection)
            else:
                connection.connect()
        except HTTPException as error:
            raise ConnectionError(f"what came is no answer of a proxy: {error!r}") from error
        except ConnectTimeoutError as error:
            if self._pool.proxy is None:
                raise
            # It is the proxy that is silent, not whom it stands before.
            raise ProxyError("Unable to connect to proxy", error) from error

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


def _host_header(url: Url) -> str:
    """Return the ``Host`` of a URL: without a zone, a last dot or the port that its scheme has."""
    host = re.sub(r"%[^\]]*", "", url.host or "").rstrip(".")
    if url.port is None or url.port == port_by_scheme.get(url.scheme or ""):
        return host
    return f"{host}:{url.port}"


def _send(sock: Any, request: bytes, until: float) -> None:
    # Over TLS the socket's timeout is for each record, not for all of them.
    for start in range(0, len(request), PIECE_BYTES):
        sock.settimeout(left_until(until, "the request was not read in time"))
        sock.sendall(request[start : start + PIECE_BYTES])
