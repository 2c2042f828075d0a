"""gunicorn's threaded worker, but its threads never wait for a client.

A request is read by the loop and goes to a thread once it is whole; an answer that its client does
not take at once goes back to the loop. Streams, which may last, have threads of their own. So slow
clients hold up nobody: what they cost is bounded in time, bytes and number, and where a bound is
met, who has kept the service waiting for longest goes.

What needs some tenths of a millisecond is answered by the loop itself, in steps where it has to
wait: to hand it to a thread and back costs more, and threads that all want the interpreter hinder
each other.
"""

from __future__ import annotations

import errno
import gc
import selectors
import socket
import time
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from lambda_builder.precedence import Precedence
from lambda_builder.server.client import ClientSocket
from lambda_builder.server.connection import Connection, WaitingRoom
from lambda_builder.server.ending import LINGER_SECONDS, Endings
from lambda_builder.server.reading import ConnectionOver, RequestReader, SettingsReadOnce
from lambda_builder.server.refusals import Refusal
from lambda_builder.server.replies import Begins, Replies
from lambda_builder.settings import HTTP_TAIL_SECONDS

REQUEST_SECONDS = float(HTTP_TAIL_SECONDS)
"""Longest time from a request's first byte to its last."""
FIRST_BYTE_SECONDS = 30.0
"""How long a new connection may stay silent."""
LARGE_TOTAL_BYTES = 33_554_432
"""Most bytes of large requests and answers held at a time; at least two of the largest size."""
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
    precedence: Precedence
    begins: Begins = staticmethod(lambda _method, _path: None)

    def run(self) -> None:
        """Serve until told to stop."""
        # What has been loaded by now stays. To walk it in every full collection costs a tenth of
        # the processor, and stops all threads meanwhile.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AT)
        self._waiting = WaitingRoom(self.poller, lambda: self._replies.take_back())
        self._endings = Endings(
            self,
            self._waiting,
            most_bytes=max(LARGE_TOTAL_BYTES, 2 * self.max_body_bytes),
            kept=self._go_on,
            closed=self._closed,
        )
        self._settings = SettingsReadOnce(self.cfg)
        self._sweep_at = 0.0
        self._replies = Replies(
            self,
            self._settings,
            self._endings,
            begins=self.begins,
            streams_max=self.streams_max,
        )
        try:
            super().run()
        finally:
            self.precedence.resting(waiting=False)
            self._replies.end()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Take one turn of the loop; called by gunicorn."""
        self._replies.take_back()
        has_work = self._waiting.is_anybody_called or self._replies.is_anything_to_do
        if not has_work:
            self.precedence.resting(
                waiting=self._replies.is_anything_paused,
                beside=self._replies.is_anything_in_threads,
            )
        longest = 0.0 if has_work else _TICK_SECONDS
        super().wait_for_and_dispatch_events(min(timeout, longest))
        self._waiting.serve(_TURN_SECONDS)
        self._replies.begin_pauses()
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _TICK_SECONDS
            for connection in self._waiting.overdue(now):
                connection.expired(connection)
            self._replies.give_up(now)

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
        """Read on; a request that is whole is answered."""
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
                self._replies.answer(connection, request)
            elif connection.is_idle and reader.received:
                connection.is_idle = False
                self._waiting.extend(connection, REQUEST_SECONDS)
            if reader.is_paused:
                self._waiting.call(connection)
            self._endings.hold(connection, reader.received)

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: Exception) -> None:
        """Answer a request that cannot be handed to the application; else as gunicorn does."""
        if isinstance(exc, http_errors.ParseException) and not isinstance(exc, _OUR_FAULT):
            client.sendall(self._endings.told(Refusal.of(exc)))
        else:
            super().handle_error(req, client, addr, exc)

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
