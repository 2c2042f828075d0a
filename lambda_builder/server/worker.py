"""gunicorn's threaded worker, but no client can hold up the others.

gunicorn 27 waits without end, in one of its few threads, for a client that stops in the middle of
a request or of an answer; and in its only loop, for two seconds, for one that does not close a
connection that is over. A handful of those, and no probe is answered any more. What is no HTTP is
answered as the service answers whatever else it refuses.
"""

from __future__ import annotations

import errno
import gc
import json
import selectors
import socket
import time
import uuid
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from lambda_builder.settings import HTTP_TAIL_SECONDS

REQUEST_SECONDS = float(HTTP_TAIL_SECONDS)
"""Longest time from a request's first byte to its last, and of one write of its answer."""
FIRST_BYTE_SECONDS = 30.0
"""How long a new connection may stay silent; it costs no thread."""
LINGER_SECONDS = 2.0
"""How long a closed connection's client may go on sending before it is cut off (RFC 9112, 9.6);
for the next turn of the loop only once the service is stopping."""
_READ_BYTES = 65_536
_SHOWN = 200
"""Most characters of a broken request in a log line or an answer."""
_STATUS = {
    http_errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http_errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
"""By gunicorn's exception; any other request that cannot be parsed is a 400."""
_OUR_FAULT = (http_errors.InvalidResponseHeader, http_errors.InvalidResponseHeaderName)
_COLLECT_AT = (20_000, 20, 20)
"""Builds are many objects and hardly any cycles: the interpreter's 700 looks far too often."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""No file descriptor is left for a connection; that passes."""
_NO_ROOM_SECONDS = 0.05
_NO_CONNECTION = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class PatientSocket(socket.socket):
    """A connection that counts a client which keeps it waiting as gone, as if it had closed."""

    gave_up = False
    """Whether that happened; where the next request would begin is then unknown."""
    _read_by = float("inf")

    def begin_request(self, seconds: float = REQUEST_SECONDS) -> None:
        """Give the client ``seconds`` for a request, and for each write of its answer."""
        self.settimeout(seconds)
        self._read_by = time.monotonic() + seconds

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what came, or nothing once the request's time is up."""
        limit = self.gettimeout()
        if limit is None or not limit or flags:
            return super().recv(bufsize, flags)
        left = self._read_by - time.monotonic()
        if left > 0:
            try:
                self.settimeout(min(limit, left))
                return super().recv(bufsize)
            except TimeoutError:
                pass
            finally:
                self.settimeout(limit)
        self.gave_up = True
        return b""

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of ``data``; raises ``ConnectionResetError`` when the client does not read."""
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """One connection, closed by the worker's loop in its own time."""

    def __init__(self, worker: Worker, client: PatientSocket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        self._worker = worker

    def init(self) -> None:
        """Called at the start of every request, with the socket made blocking."""
        super().init()
        self.sock.begin_request()

    def close(self, graceful: bool = False) -> None:
        """Close at once, or once the client has closed too."""
        if graceful:
            self._worker.linger(self)
        else:
            super().close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """The threaded worker with connections that wait in its loop, never in its threads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lingering: deque[Connection] = deque()

    def run(self) -> None:
        """Serve until told to stop."""
        # What has been loaded by now stays. To walk it in every full collection costs a tenth of
        # the processor, and stops all threads meanwhile.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AT)
        super().run()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; a thread is given to it when its first byte is there."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                # The connection stays in the backlog: looking again at once would only spin.
                time.sleep(_NO_ROOM_SECONDS)
            elif error.errno not in _NO_CONNECTION:
                raise
            return
        self.nr_conns += 1
        patient = PatientSocket(fileno=client.detach())
        connection = Connection(self, patient, address, listener.getsockname())
        connection.timeout = time.monotonic() + FIRST_BYTE_SECONDS
        self.pending_conns.append(connection)
        self._watch(connection, partial(self.on_pending_socket_readable, connection))

    def handle(self, conn: Connection) -> Any:
        """Answer one request, in a thread; returns whether the connection can be used again."""
        result = super().handle(conn)
        return result and not conn.sock.gave_up

    def handle_error(self, req: Any, client: PatientSocket, addr: Any, exc: Exception) -> None:
        """Answer what could not be parsed with a problem; gunicorn would send a page."""
        if not isinstance(exc, http_errors.ParseException) or isinstance(exc, _OUR_FAULT):
            super().handle_error(req, client, addr, exc)
            return
        detail = str(exc)[:_SHOWN]
        self.log.warning("Invalid request: %s", detail)
        try:
            client.sendall(bad_request(_STATUS.get(type(exc), HTTPStatus.BAD_REQUEST), detail))
        except OSError as error:
            self.log.debug("The answer could not be sent: %s", error)

    def linger(self, conn: Connection) -> None:
        """End our side, and let the client read the answer before its own bytes cut it off."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        self.nr_conns += 1
        conn.timeout = time.monotonic() + (LINGER_SECONDS if self.alive else 0.0)
        self._lingering.append(conn)
        self._watch(conn, partial(self._drain, conn))

    def murder_pending(self) -> None:
        """Close what has been silent, or lingering, for too long; called in every turn."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._end(self._lingering[0])

    def _cap_keepalive(self, deadline: float) -> None:
        """At a shutdown, do not wait for connections on which nothing was ever asked."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _drain(self, conn: Connection, client: PatientSocket) -> None:
        try:
            if client.recv(_READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # reset: over as well
        self._end(conn)

    def _end(self, conn: Connection) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _watch(self, conn: Connection, readable: Any) -> None:
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)


def bad_request(status: HTTPStatus, detail: str) -> bytes:
    """Return a whole answer that ends its connection, in the form of ``web.problems``."""
    correlation_id = uuid.uuid4().hex
    problem = {
        "type": "urn:lambda-builder:problem:bad_request",
        "title": "Bad request",
        "status": status,
        "detail": detail,
        "code": "bad_request",
        "correlation_id": correlation_id,
        "errors": None,
    }
    body = json.dumps(problem) + "\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"X-Correlation-ID: {correlation_id}",
    )
    return "\r\n".join((*head, "", body)).encode("ascii")
