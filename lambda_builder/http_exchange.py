"""One HTTP exchange over a connection of urllib3: the request in one write, the answer by llhttp.

urllib3 opens connections, through TLS and proxies, and keeps them. What goes over them costs it
four times as much, in more writes and reads, each of which hands the interpreter to another thread.
"""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from itertools import chain
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPConnectionPool, HTTPHeaderDict
from urllib3.connection import port_by_scheme
from urllib3.exceptions import ConnectTimeoutError, ProxyError
from urllib3.util import Url, parse_url
from urllib3.util.proxy import connection_requires_http_tunnel

Waits = Callable[[], object]
"""Called by a thread that is about to wait for the other side."""

_PIECE_BYTES = 65_536
_HEAD_BYTES = 131_072
"""Longest head of an answer, all of its lines and those of interim answers together."""
_FIRST_FINAL = 200
"""Of the statuses; those before are of interim answers."""
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
    ) -> Iterator[_Incoming]:
        """Send a request, and have its answer read in the block."""
        request = self._request(method, path, headers, body)
        connection: Any = self._pool._get_conn()
        incoming = None
        try:
            if connection.is_closed:
                self._waits()
                self._connect(connection, min(_left(until, "no connection"), connect_seconds))
            incoming = _Incoming(connection.sock)
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
    for start in range(0, len(request), _PIECE_BYTES):
        sock.settimeout(_left(until, "the request was not read in time"))
        sock.sendall(request[start : start + _PIECE_BYTES])


def _left(until: float, problem: str) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError(problem)
    return left


class _Incoming:
    """An answer that comes over a connection, as llhttp understands it."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.fields: list[tuple[bytes, bytes]] = []
        self.status = 0
        """Of the answer, once its head is there."""
        self.is_over = False
        self.needs_body = True
        self.is_cut = False
        """Whether its request was not read to the end."""
        self._is_kept = False
        self._received = 0
        self._parts: list[bytes] = []
        self.on_body = self._parts.append
        self._parser: Any = HttpResponseParser(self)
        # As http.client takes them; nobody else's answers come over this connection.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def receive(self, until: float) -> None:
        """Wait for more of it, until that moment on the monotonic clock."""
        self.sock.settimeout(_left(until, "no whole answer in time"))
        data = self.sock.recv(_PIECE_BYTES)
        if not data:
            self._connection_ended()
            return
        if not self.status:
            self._received += len(data)
            if self._received > _HEAD_BYTES:
                raise ConnectionError("the answer's head is too large")
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not (self.is_over or (self.status and not self.needs_body)):
                raise ConnectionError(f"what came is no answer: {error}") from error
            self._is_kept = False  # something follows that nobody has asked for

    def take(self) -> bytes:
        """Return what has come of the body since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data

    def ends_well(self) -> bool:
        """Be read no more; returns whether another request may follow on the connection."""
        self._parser = None  # which refers back
        return self._is_kept and not self.is_cut

    def _connection_ended(self) -> None:
        # RFC 9112, 6.3: that is where an answer ends which has not said how long it is.
        if not self.status or any(name.lower() in _FRAMES for name, _ in self.fields):
            raise ConnectionError("the connection ended before the answer did")
        self.is_over = True

    # -- told by llhttp --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that an answer begins, perhaps after interim ones."""
        if self.is_over:
            raise HttpParserError("a second answer")
        self.fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header field."""
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the end of a head."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL:
            self.status = status

    def on_message_complete(self) -> None:
        """Note the end of an answer."""
        if self.status:
            self.is_over, self._is_kept = True, self._parser.should_keep_alive()


class OpenAnswer:
    """An answer whose body is read while it comes, by one thread; another may ``end`` it."""

    def __init__(self, incoming: _Incoming, stack: ExitStack) -> None:
        self._incoming = incoming
        self._stack = stack
        self._lock = threading.Lock()
        self._is_closed = False
        self.status = incoming.status

    def read(self, seconds: float) -> bytes:
        """Return what has come, as soon as there is something; nothing at the end.

        Raises as ``Origin.exchange``, ``TimeoutError`` after ``seconds`` of silence.
        """
        data = self._incoming.take()
        while not data and not self._incoming.is_over:
            self._incoming.receive(time.monotonic() + seconds)
            data = self._incoming.take()
        return data

    def whole(self, seconds: float) -> Answer:
        """Return it with all of its body, which has to be there in ``seconds``."""
        until = time.monotonic() + seconds
        while not self._incoming.is_over:
            self._incoming.receive(until)
        return Answer(self.status, self._incoming.take(), self._incoming.fields)

    def end(self) -> None:
        """Have a read that waits, and every later one, come to the connection's end."""
        with self._lock, suppress(OSError):
            if not self._is_closed:  # else the connection may be somebody else's by now
                # Not SSLSocket's, which forgets the session that a reader is in. Through a proxy
                # with TLS of its own there is one within another.
                sock = getattr(self._incoming.sock, "socket", self._incoming.sock)
                socket.socket.shutdown(sock, socket.SHUT_RD)

    def close(self) -> None:
        """Give the connection back, or close it; harmless twice."""
        with self._lock:
            self._is_closed = True
        self._stack.close()
