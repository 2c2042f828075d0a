"""gunicorn's threaded worker, but its threads never wait for a client.

A request is read by the loop and goes to a thread once it is whole; an answer that its client does
not take at once goes back to the loop. Streams, which may last, have threads of their own. So slow
clients hold up nobody: what they cost is bounded in time, bytes and number, and where a bound is
met, who has kept the service waiting for longest goes.

What needs some tenths of a millisecond and waits for nothing is answered by the loop itself: to
hand it to a thread and back costs more, and threads that all want the interpreter hinder each
other.
"""

from __future__ import annotations

import errno
import gc
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from lambda_builder.server.answering import Answer
from lambda_builder.server.client import ClientSocket
from lambda_builder.server.connection import Connection, WaitingRoom
from lambda_builder.server.ending import ANSWER_SECONDS, LINGER_SECONDS, Endings
from lambda_builder.server.reading import ConnectionOver, RequestReader, SettingsReadOnce
from lambda_builder.server.refusals import Refusal
from lambda_builder.settings import HTTP_TAIL_SECONDS

REQUEST_SECONDS = float(HTTP_TAIL_SECONDS)
"""Longest time from a request's first byte to its last."""
FIRST_BYTE_SECONDS = 30.0
"""How long a new connection may stay silent."""
LARGE_TOTAL_BYTES = 33_554_432
"""Most bytes of large requests and answers held at a time; at least two of the largest size."""
QUICK_BYTES = 16_384
"""Largest body of a request that the loop answers: a batch of a hundred small events."""
_TICK_SECONDS = 0.25
_TURN_SECONDS = 0.005
"""How long clients are read in one turn of the loop, whose other work waits meanwhile."""
_ACCEPTED_AT_A_TIME = 64
_OUR_FAULT = (http_errors.InvalidResponseHeader, http_errors.InvalidResponseHeaderName)
_COLLECT_AT = (20_000, 20, 20)
"""Builds are many objects and hardly any cycles: the interpreter's 700 looks far too often."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""No file descriptor is left for a connection; that passes."""
_NO_ROOM_SECONDS = 0.05
_NO_CONNECTION = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The threaded worker with clients that wait in its loop, never in its threads.

    What stands first here is set before it runs.
    """

    max_body_bytes = 1_048_576
    streams_max = 4
    is_quick: Callable[[str, str], bool] = staticmethod(lambda _method, _path: False)
    """Whether a request of that method and path waits for nothing and is soon answered."""

    def run(self) -> None:
        """Serve until told to stop."""
        # What has been loaded by now stays. To walk it in every full collection costs a tenth of
        # the processor, and stops all threads meanwhile.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AT)
        self._given_back: deque[tuple[Connection, Answer | None]] = deque()
        self._waiting = WaitingRoom(self.poller, self._take_back)
        self._endings = Endings(
            self,
            self._waiting,
            most_bytes=max(LARGE_TOTAL_BYTES, 2 * self.max_body_bytes),
            kept=self._go_on,
            closed=self._closed,
        )
        self._settings = SettingsReadOnce(self.cfg)
        self._sweep_at = 0.0
        self._streams = ThreadPoolExecutor(self.streams_max, "stream")
        try:
            super().run()
        finally:
            self._streams.shutdown(wait=False)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Take one turn of the loop; called by gunicorn."""
        self._take_back()
        has_work = self._waiting.is_anybody_called or self._given_back
        longest = 0.0 if has_work else _TICK_SECONDS
        super().wait_for_and_dispatch_events(min(timeout, longest))
        self._waiting.serve(_TURN_SECONDS)
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _TICK_SECONDS
            for connection in self._waiting.overdue(now):
                connection.expired(connection)

    # -- a connection's way ----------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Take the connections that are there, if need be in place of who waited for longest."""
        for _ in range(_ACCEPTED_AT_A_TIME):
            try:
                client, address = listener.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    # The connection stays in the backlog: looking again at once would only spin.
                    if not self._endings.shed():
                        time.sleep(_NO_ROOM_SECONDS)
                elif error.errno not in _NO_CONNECTION:
                    raise
                return
            self._accepted(ClientSocket(client.detach()), address, listener.getsockname())
            if self.nr_conns >= self.worker_connections and not self._endings.shed():
                return

    def _accepted(self, sock: ClientSocket, address: Any, server: Any) -> None:
        self.nr_conns += 1
        reader = RequestReader(self._settings, sock, address, self.max_body_bytes)
        connection = Connection(sock, address, server, reader)
        self._await_request(connection, FIRST_BYTE_SECONDS)

    def _await_request(self, connection: Connection, seconds: float) -> None:
        connection.is_idle = True
        self._waiting.enter(
            connection, selectors.EVENT_READ, self._read, self._request_is_late, seconds
        )

    def _read(self, connection: Connection, *, readable: bool = True) -> None:
        """Read on; a request that is whole is answered, in a thread if it may take long."""
        reader = connection.reader
        try:
            request = reader.advance(readable=readable)
        except http_errors.ParseException as error:
            self._endings.refuse(connection, Refusal.of(error))
        except (ConnectionOver, OSError):
            self._endings.close(connection)
        except Exception:
            self.log.exception("A request could not be read")
            self._endings.close(connection)
        else:
            connection.comes_last = reader.in_chunks
            if request is not None:
                connection.is_idle = False
                self._waiting.leave(connection)
                if self._is_soon_answered(request):
                    self._given_back.append((connection, self._answer(connection, request)))
                else:
                    self.tpool.submit(self._answer_in_thread, connection, request)
            elif connection.is_idle and reader.received:
                connection.is_idle = False
                self._waiting.extend(connection, REQUEST_SECONDS)
            if reader.is_paused:
                self._waiting.call(connection)
            self._endings.hold(connection, reader.received)

    def _is_soon_answered(self, request: Any) -> bool:
        size = request.body.getbuffer().nbytes
        return size <= QUICK_BYTES and self.is_quick(request.method, request.path)

    def _answer_in_thread(self, connection: Connection, request: Any) -> None:
        stream = None
        try:
            stream = self._answer(connection, request)
        finally:
            self._give_back(connection, stream)

    def _answer(self, connection: Connection, request: Any) -> Answer | None:
        """Answer, but for a stream, which is returned."""
        try:
            answer = Answer(connection, request, cfg=self._settings, log=self.log)
            answer.begin(self.wsgi, last=not (self.alive and self.cfg.keepalive))
            connection.is_kept = answer.keeps_connection
            if answer.is_stream:
                return answer
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            connection.is_kept = False
            connection.sock.discard()
            self.handle_error(request, connection.sock, connection.peer, error)
        self._endings.flush(connection)
        return None

    def _give_back(self, connection: Connection, stream: Answer | None = None) -> None:
        """Let the loop go on, from a thread; where it is the client's turn it may sleep."""
        is_clients_turn = stream is None and connection.is_kept and not connection.holds_bytes
        self._given_back.append((connection, stream))
        # Asked last: what is watched wakes the loop by itself, with the client's next byte.
        if not (is_clients_turn and connection.watched_for):
            self.method_queue.defer(self._take_back)

    def _take_back(self) -> None:
        """Go on after what was answered: a stream, the rest of an answer, the next request."""
        while self._given_back:
            connection, stream = self._given_back.popleft()
            if stream is None:
                self._endings.finish(connection)
            else:
                self._streams.submit(self._stream, connection, stream)

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: Exception) -> None:
        """Answer a request that cannot be handed to the application; else as gunicorn does."""
        if isinstance(exc, http_errors.ParseException) and not isinstance(exc, _OUR_FAULT):
            client.sendall(self._endings.told(Refusal.of(exc)))
        else:
            super().handle_error(req, client, addr, exc)

    def _stream(self, connection: Connection, answer: Answer) -> None:
        """Send a stream from a thread of its own."""
        connection.sock.begin_stream(ANSWER_SECONDS)
        try:
            answer.stream()
        except OSError as error:
            connection.is_kept = False
            self.log.debug("The stream's client is gone: %s", error)
        except Exception:
            connection.is_kept = False
            self.log.exception("A stream failed")
        connection.sock.end_stream()
        self._give_back(connection)

    def _go_on(self, connection: Connection) -> None:
        """After an answer: read what may have been sent behind the request."""
        self._await_request(connection, self.cfg.keepalive if self.alive else LINGER_SECONDS)
        if connection.reader.holds_bytes:
            self._waiting.call(connection)  # others have their turn before its next request
        else:
            self._read(connection, readable=False)

    def _request_is_late(self, connection: Connection) -> None:
        if connection.is_idle:
            self._endings.close(connection)
        else:
            detail = f"the request was not whole after {REQUEST_SECONDS:g} s"
            self._endings.refuse(connection, Refusal(detail, HTTPStatus.REQUEST_TIMEOUT))

    def _closed(self) -> None:
        self.nr_conns -= 1

    def _cap_keepalive(self, deadline: float) -> None:
        """At a shutdown, do not wait for connections on which nothing is asked; by gunicorn."""
        super()._cap_keepalive(deadline)
        for connection in self._waiting:
            if connection.is_idle:
                connection.deadline = min(connection.deadline, deadline)
