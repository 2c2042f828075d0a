"""gunicorn's threaded worker, but its threads never wait for a client.

A request is read by the loop and goes to a thread once it is whole; an answer that its client does
not take at once goes back to the loop. Streams, which may last, have threads of their own. So slow
clients hold up nobody: what they cost is bounded in time, bytes and number, and where a bound is
met, who has kept the service waiting for longest goes.
"""

from __future__ import annotations

import errno
import gc
import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from lambda_builder.server.answering import Answer
from lambda_builder.server.client import ClientSocket
from lambda_builder.server.connection import Connection, LargeOnes, WaitingRoom
from lambda_builder.server.reading import ConnectionOver, RequestReader
from lambda_builder.server.refusals import NO_ROOM, Refusal
from lambda_builder.settings import HTTP_TAIL_SECONDS

REQUEST_SECONDS = float(HTTP_TAIL_SECONDS)
"""Longest time from a request's first byte to its last, and that a client may take nothing of an
answer."""
FIRST_BYTE_SECONDS = 30.0
"""How long a new connection may stay silent."""
LINGER_SECONDS = 2.0
"""How long a closed connection's client may go on sending before it is cut off (RFC 9112, 9.6)."""
LARGE_TOTAL_BYTES = 33_554_432
"""Most bytes of large requests and answers held at a time; at least two of the largest size."""
_READ_BYTES = 65_536
_TICK_SECONDS = 0.25
_OUR_FAULT = (http_errors.InvalidResponseHeader, http_errors.InvalidResponseHeaderName)
_COLLECT_AT = (20_000, 20, 20)
"""Builds are many objects and hardly any cycles: the interpreter's 700 looks far too often."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""No file descriptor is left for a connection; that passes."""
_NO_ROOM_SECONDS = 0.05
_NO_CONNECTION = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The threaded worker with clients that wait in its loop, never in its threads.

    ``max_body_bytes`` and ``streams_max`` are set before it runs.
    """

    max_body_bytes = 1_048_576
    streams_max = 4

    def run(self) -> None:
        """Serve until told to stop."""
        # What has been loaded by now stays. To walk it in every full collection costs a tenth of
        # the processor, and stops all threads meanwhile.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AT)
        self._waiting = WaitingRoom(self.poller)
        self._large = LargeOnes(self._waiting, max(LARGE_TOTAL_BYTES, 2 * self.max_body_bytes))
        self._sweep_at = 0.0
        self._streams = ThreadPoolExecutor(self.streams_max, "stream")
        try:
            super().run()
        finally:
            self._streams.shutdown(wait=False)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Take one turn of the loop; called by gunicorn."""
        super().wait_for_and_dispatch_events(min(timeout, _TICK_SECONDS))
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _TICK_SECONDS
            for connection in self._waiting.overdue(now):
                connection.expired(connection)

    # -- a connection's way ----------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, if need be in place of the one that has waited for longest."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                # The connection stays in the backlog: looking again at once would only spin.
                if not self._shed():
                    time.sleep(_NO_ROOM_SECONDS)
            elif error.errno not in _NO_CONNECTION:
                raise
            return
        self.nr_conns += 1
        sock = ClientSocket(client.detach())
        reader = RequestReader(self.cfg, sock, address, self.max_body_bytes)
        connection = Connection(sock, address, listener.getsockname(), reader)
        self._await_request(connection, FIRST_BYTE_SECONDS)
        if self.nr_conns >= self.worker_connections:
            self._shed()

    def _await_request(self, connection: Connection, seconds: float) -> None:
        connection.is_idle = True
        self._waiting.enter(
            connection, selectors.EVENT_READ, self._read, self._request_is_late, seconds
        )

    def _read(self, connection: Connection, *, readable: bool = True) -> None:
        """Read on; a request that is whole goes to a thread."""
        try:
            request = connection.reader.advance(readable=readable)
        except http_errors.ParseException as error:
            self._refuse(connection, Refusal.of(error))
        except (ConnectionOver, OSError):
            self._close(connection)
        except Exception:
            self.log.exception("A request could not be read")
            self._close(connection)
        else:
            received = connection.reader.received
            if request is not None:
                connection.is_idle = False
                self._waiting.leave(connection)
                self._submit(self.tpool, connection, self._answer, request)
            elif connection.is_idle and received:
                connection.is_idle = False
                self._waiting.extend(connection, REQUEST_SECONDS)
            self._hold(connection, received)

    def _submit(
        self, pool: ThreadPoolExecutor, connection: Connection, task: Any, argument: Any
    ) -> None:
        future = pool.submit(task, connection, argument)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self._answered, connection, done)
        )

    def _answer(self, connection: Connection, request: Any) -> Answer | None:
        """Answer in a thread; returns an answer whose stream is yet to be sent."""
        try:
            answer = Answer(connection, request, cfg=self.cfg, log=self.log)
            answer.begin(self.wsgi, last=not (self.alive and self.cfg.keepalive))
            connection.is_kept = answer.keeps_connection
            if answer.is_stream:
                return answer
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            connection.is_kept = False
            connection.sock.discard()
            self.handle_error(request, connection.sock, connection.peer, error)
        self._flush(connection)
        return None

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: Exception) -> None:
        """Answer a request that cannot be handed to the application; else as gunicorn does."""
        if isinstance(exc, http_errors.ParseException) and not isinstance(exc, _OUR_FAULT):
            client.sendall(self._told(Refusal.of(exc)))
        else:
            super().handle_error(req, client, addr, exc)

    def _stream(self, connection: Connection, answer: Answer) -> None:
        """Send a stream from a thread of its own."""
        connection.sock.begin_stream(REQUEST_SECONDS)
        try:
            answer.stream()
        except OSError as error:
            connection.is_kept = False
            self.log.debug("The stream's client is gone: %s", error)
        except Exception:
            connection.is_kept = False
            self.log.exception("A stream failed")
        connection.sock.end_stream()

    def _answered(self, connection: Connection, done: Future[Answer | None]) -> None:
        """Go on in the loop after a thread: the rest of the answer, or the next request."""
        answer = done.result()
        if answer is not None:
            self._submit(self._streams, connection, self._stream, answer)
        elif connection.sock.unsent:
            self._hold(connection, connection.sock.unsent)
            self._await_reader(connection)
        else:
            self._go_on(connection)

    def _await_reader(self, connection: Connection) -> None:
        self._waiting.enter(
            connection, selectors.EVENT_WRITE, self._send, self._close, REQUEST_SECONDS
        )

    def _send(self, connection: Connection) -> None:
        unsent = connection.sock.unsent
        if self._flush(connection):
            self._waiting.leave(connection)
            self._go_on(connection)
        elif self.alive and connection.sock.unsent < unsent:
            self._waiting.extend(connection, REQUEST_SECONDS)

    def _flush(self, connection: Connection) -> bool:
        """Send what the client takes; one that is gone has no part in what is left."""
        try:
            return connection.sock.flush()
        except OSError as error:
            self.log.debug("The answer could not be sent: %s", error)
            connection.is_kept = False
            connection.sock.discard()
            return True

    def _go_on(self, connection: Connection) -> None:
        """After an answer: read what may have been sent behind it, or end the connection."""
        self._hold(connection, 0)
        if not connection.is_kept:
            self._linger(connection)
            return
        self._await_request(connection, self.cfg.keepalive if self.alive else LINGER_SECONDS)
        self._read(connection, readable=False)

    # -- its end ---------------------------------------------------------------------------------

    def _request_is_late(self, connection: Connection) -> None:
        if connection.is_idle:
            self._close(connection)
        else:
            detail = f"the request was not whole after {REQUEST_SECONDS:g} s"
            self._refuse(connection, Refusal(detail, HTTPStatus.REQUEST_TIMEOUT))

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        """Answer with a problem, and end the connection."""
        self._waiting.leave(connection)
        connection.reader.close()
        connection.is_kept = False
        connection.sock.sendall(self._told(refusal))
        if self._flush(connection):
            self._go_on(connection)
        else:
            self._await_reader(connection)

    def _told(self, refusal: Refusal) -> bytes:
        self.log.warning("Invalid request: %s", refusal.detail)
        return refusal.answer()

    def _linger(self, connection: Connection) -> None:
        """End our side, and let the client read the answer before its own bytes cut it off."""
        connection.reader.close()
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        seconds = LINGER_SECONDS if self.alive else 0.0
        self._waiting.enter(connection, selectors.EVENT_READ, self._drain, self._close, seconds)

    def _drain(self, connection: Connection) -> None:
        try:
            if connection.sock.recv(_READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # reset: over as well
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._large.note(connection, 0)
        self.nr_conns -= 1
        self._waiting.close(connection)

    # -- bounds ----------------------------------------------------------------------------------

    def _shed(self) -> bool:
        """Close who has waited for longest; returns whether anybody waited."""
        for connection in self._waiting:
            self._close(connection)
            return True
        return False

    def _hold(self, connection: Connection, size: int) -> None:
        """Keep count of the bytes of large requests and answers, and within the most."""
        self._large.note(connection, size)
        while (held := self._large.one_too_many()) is not None:
            if held.sock.unsent:
                self._close(held)
            else:
                self._refuse(held, NO_ROOM)

    def _cap_keepalive(self, deadline: float) -> None:
        """At a shutdown, do not wait for connections on which nothing is asked; by gunicorn."""
        super()._cap_keepalive(deadline)
        for connection in self._waiting:
            if connection.is_idle:
                connection.deadline = min(connection.deadline, deadline)
