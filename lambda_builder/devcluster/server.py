"""A lean HTTP/1.1 server: keep-alive, late answers, chunked streams. Knows no Kubernetes.

One asyncio loop on one thread serves every connection, so a request that hangs or a watch that
waits costs a small object and nothing else.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import cast

from lambda_builder.devcluster.http_request import BadHttp, Partial, Request, read_request

MAX_UNREAD = 64 * 1024 * 1024  # a stream whose reader is further behind is cut

_PHRASES = {int(s): s.phrase for s in http.HTTPStatus}


class Exchange:
    """One request and its answer, now or later, whole or as a stream.

    Once the connection is gone every method is a no-op, and ``on_close`` has been called.
    """

    __slots__ = ("_connection", "_keep_alive", "_streaming", "on_close", "request")

    def __init__(self, request: Request, connection: Connection, keep_alive: bool) -> None:
        self.request = request
        self.on_close: Callable[[], None] | None = None
        self._connection: Connection | None = connection
        self._keep_alive = keep_alive
        self._streaming = False

    @property
    def open(self) -> bool:
        """Whether an answer can still be given."""
        return self._connection is not None

    def respond(
        self,
        code: int,
        body: bytes,
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer as a whole."""
        connection = self._connection
        if connection is None:
            return
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        if not self._keep_alive:
            extra += "Connection: close\r\n"
        head = (
            f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{extra}\r\n"
        )
        sent = b"" if self.request.method == "HEAD" else body
        connection.send(head.encode("latin-1", "replace") + sent)
        self._finish(connection)

    def start_stream(self, content_type: str) -> None:
        """Begin an answer that comes in chunks."""
        if self._connection is None:
            return
        self._streaming = True
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
            "Transfer-Encoding: chunked\r\nCache-Control: no-cache, private\r\n\r\n"
        )
        self._connection.send(head.encode())

    def write(self, data: bytes) -> None:
        """Send a chunk of the stream."""
        if self._connection is not None and data:
            self._connection.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """End the answer that came in chunks."""
        connection = self._connection
        if connection is not None:
            connection.send(b"0\r\n\r\n")
            self._finish(connection)

    def cut(self) -> None:
        """Close the connection without an answer."""
        if self._connection is not None:
            self._connection.abort()

    def lost(self) -> None:
        """The connection is gone."""
        self._connection = None
        if self.on_close is not None:
            self.on_close()

    def _finish(self, connection: Connection) -> None:
        self._connection = None
        connection.exchange_done(self._keep_alive)


Handler = Callable[[Exchange], None]


class Connections:
    """The connections there are; while it is closed, new ones are cut at once."""

    def __init__(self) -> None:
        self.closed = False
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Keep a new connection, or cut it while closed."""
        self._open.add(connection)
        if self.closed:  # it was accepted, but not yet made, when everything was cut
            connection.abort()

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.discard(connection)

    def cut(self) -> None:
        """Cut every connection."""
        for connection in tuple(self._open):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client connection: requests are read and answered one after the other."""

    def __init__(self, handler: Handler, connections: Connections) -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._exchange: Exchange | None = None
        self._continued = False
        self._pumping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange under way (asyncio.Protocol)."""
        self._connections.discard(self)
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def data_received(self, data: bytes) -> None:
        """Read requests out of what came in (asyncio.Protocol)."""
        self._buffer += data
        self._pump()

    def send(self, data: bytes) -> None:
        """Write; a reader too far behind is cut."""
        transport = self._transport
        if transport is None:
            return
        transport.write(data)
        unread = transport.get_write_buffer_size() - len(data)  # one long list is no slow reader
        if unread > MAX_UNREAD:
            transport.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def exchange_done(self, keep_alive: bool) -> None:
        """Close, or go on with the next request."""
        self._exchange = None
        if not keep_alive and self._transport is not None:
            self._transport.close()
        self._pump()

    def _pump(self) -> None:
        # An answer given inside the handler comes back here: the outer loop goes on instead.
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._exchange is None and self._buffer and self._transport is not None:
                exchange = self._read_exchange()
                if exchange is None:
                    break
                self._exchange = exchange
                self._handler(exchange)
        finally:
            self._pumping = False

    def _read_exchange(self) -> Exchange | None:
        try:
            request = self._read_request()
        except BadHttp as bad:
            self._buffer.clear()
            exchange = Exchange(Request("", "", {}, b""), self, keep_alive=False)
            self._exchange = exchange
            exchange.respond(bad.code, b"", "text/plain")
            return None
        if request is None:
            return None
        keep_alive = request.headers.get("connection", "").lower() != "close"
        return Exchange(request, self, keep_alive)

    def _read_request(self) -> Request | None:
        parsed = read_request(self._buffer)
        if isinstance(parsed, Request):
            self._continued = False
            return parsed
        if parsed is Partial.EXPECTS_100 and not self._continued:
            self._continued = True
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None
