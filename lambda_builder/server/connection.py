"""Connections, and those of them that wait for their client."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lambda_builder.server.client import ClientSocket
from lambda_builder.server.reading import RequestReader


class Connection:
    """One client's connection."""

    def __init__(self, sock: ClientSocket, peer: Any, server: Any, reader: RequestReader) -> None:
        self.sock = sock
        self.peer = peer
        self.server = server
        """The address that the client connected to."""
        self.reader = reader
        self.is_kept = False
        """Whether another request may follow the present answer."""
        self.is_idle = True
        """Whether nothing of a request has come since the last answer."""
        self.comes_last = False
        """Whether what it does next may take long, so that others go first."""
        self.deadline = 0.0
        self.watched_for = 0
        self.ready: Callable[[Connection], None] = _nobody_waits
        self.expired: Callable[[Connection], None] = _nobody_waits

    @property
    def holds_bytes(self) -> bool:
        """Whether something is left to send, or was read behind the present request."""
        return self.sock.unsent > 0 or self.reader.holds_bytes

    def close(self) -> None:
        """Close at once."""
        self.reader.close()
        if self.sock.unsent:
            # Else the kernel would go on waiting for a client that does not read.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def _nobody_waits(connection: Connection) -> None:
    raise AssertionError(connection)


class WaitingRoom:
    """The connections that wait for their clients, those that have waited for longest first.

    Those whose clients have done their part are served in turns. ``admit`` has those enter whom
    threads have given back by now. Used by the worker's loop only.
    """

    def __init__(self, poller: selectors.BaseSelector, admit: Callable[[], None]) -> None:
        self._poller = poller
        self._admit = admit
        self._waiting: dict[Connection, None] = {}
        self._lines: tuple[dict[Connection, None], dict[Connection, None]] = ({}, {})

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._waiting))

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._waiting

    def enter(
        self,
        connection: Connection,
        events: int,
        ready: Callable[[Connection], None],
        expired: Callable[[Connection], None],
        seconds: float,
    ) -> None:
        """Call ``ready``, by ``serve``, when the client has done its part, until it leaves.

        ``expired`` is called when that takes longer than ``seconds``.
        """
        if connection.watched_for != events:
            self._forget(connection)
            self._poller.register(connection.sock, events, partial(self._on_event, connection))
            connection.watched_for = events
        connection.ready, connection.expired = ready, expired
        self.extend(connection, seconds)

    def call(self, connection: Connection) -> None:
        """Have the connection served in its turn, as if its client had done something."""
        self._lines[connection.comes_last][connection] = None

    @property
    def is_anybody_called(self) -> bool:
        """Whether there is something to serve."""
        return any(self._lines)

    def serve(self, seconds: float) -> None:
        """Serve who was called, in order, until ``seconds`` are over; of each line at least one."""
        until = time.monotonic() + seconds
        for line in self._lines:
            for connection in tuple(line):
                line.pop(connection, None)
                if connection in self._waiting:
                    connection.ready(connection)
                    if time.monotonic() > until:
                        break

    def extend(self, connection: Connection, seconds: float) -> None:
        """Count the connection's wait from now."""
        connection.deadline = time.monotonic() + seconds
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        """End the connection's wait; harmless where it does not wait.

        The poller is told only if the client does more meanwhile, which most do not.
        """
        self._waiting.pop(connection, None)

    def close(self, connection: Connection) -> None:
        """End the connection itself."""
        self.leave(connection)
        for line in self._lines:
            line.pop(connection, None)
        self._forget(connection)
        connection.close()

    def overdue(self, now: float) -> list[Connection]:
        """Return the connections that have waited for too long."""
        return [connection for connection in self._waiting if connection.deadline <= now]

    def _on_event(self, connection: Connection, _: Any) -> None:
        if connection not in self._waiting:
            self._admit()
        if connection in self._waiting:
            self.call(connection)
        else:
            self._forget(connection)
            self._admit()  # again: who gave it back until now may have thought it watched

    def _forget(self, connection: Connection) -> None:
        if connection.watched_for:
            connection.watched_for = 0
            self._poller.unregister(connection.sock)
