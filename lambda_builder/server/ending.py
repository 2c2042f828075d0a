"""How answers leave and connections end: at their clients' pace, within bounds."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Any

from lambda_builder.server.connection import Connection, WaitingRoom
from lambda_builder.server.refusals import NO_ROOM, Refusal
from lambda_builder.settings import HTTP_TAIL_SECONDS

ANSWER_SECONDS = float(HTTP_TAIL_SECONDS)
"""Longest time that a client may take nothing of an answer."""
LARGE_BYTES = 65_536
"""Requests and rests of answers up to this size are bounded by the number of connections."""
LINGER_SECONDS = 2.0
"""How long a closed connection's client may go on sending before it is cut off (RFC 9112, 9.6)."""
_READ_BYTES = 65_536


class Endings:
    """Sends what a client did not take at once, and ends connections.

    ``kept`` is called once all is sent on a connection on which another request may follow, and
    ``closed`` once one has ended. Large requests and answers take ``most_bytes`` together. Used by
    the worker's loop only, but for ``flush`` and ``told``.
    """

    def __init__(
        self,
        worker: Any,
        waiting: WaitingRoom,
        *,
        most_bytes: int,
        kept: Callable[[Connection], None],
        closed: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._log = worker.log
        self._waiting = waiting
        self._most_bytes = most_bytes
        self._large: dict[Connection, int] = {}
        """The bytes that they hold."""
        self._kept = kept
        self._closed = closed

    # -- an answer -------------------------------------------------------------------------------

    def flush(self, connection: Connection) -> bool:
        """Send what the client takes; one that is gone has no part in what is left."""
        try:
            return connection.sock.flush()
        except OSError as error:
            self._log.debug("The answer could not be sent: %s", error)
            connection.is_kept = False
            connection.sock.discard()
            return True

    def finish(self, connection: Connection) -> None:
        """After an answer: wait until the client has taken it, then go on, or end."""
        unsent = connection.sock.unsent
        self.hold(connection, unsent)
        if unsent:
            self._waiting.enter(
                connection, selectors.EVENT_WRITE, self._send, self.close, ANSWER_SECONDS
            )
        elif connection.is_kept:
            self._kept(connection)
        else:
            self._linger(connection)

    def _send(self, connection: Connection) -> None:
        unsent = connection.sock.unsent
        if self.flush(connection):
            self._waiting.leave(connection)
            self.finish(connection)
        elif self._worker.alive and connection.sock.unsent < unsent:
            self._waiting.extend(connection, ANSWER_SECONDS)

    # -- an end ----------------------------------------------------------------------------------

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        """Answer with a problem, and end the connection."""
        self._waiting.leave(connection)
        connection.reader.close()
        connection.is_kept = False
        connection.sock.sendall(self.told(refusal))
        self.flush(connection)
        self.finish(connection)

    def told(self, refusal: Refusal) -> bytes:
        """Return the whole answer, which the log tells of too."""
        self._log.warning("Invalid request: %s", refusal.detail)
        return refusal.answer()

    def _linger(self, connection: Connection) -> None:
        """End our side, and let the client read the answer before its own bytes cut it off."""
        connection.reader.close()
        connection.comes_last = True
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(connection)
            return
        seconds = LINGER_SECONDS if self._worker.alive else 0.0
        self._waiting.enter(connection, selectors.EVENT_READ, self._drain, self.close, seconds)

    def _drain(self, connection: Connection) -> None:
        try:
            if connection.sock.recv(_READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # reset: over as well
        self.close(connection)

    def close(self, connection: Connection) -> None:
        """Close at once."""
        self._large.pop(connection, None)
        self._waiting.close(connection)
        self._closed()

    # -- bounds ----------------------------------------------------------------------------------

    def shed(self) -> bool:
        """Close who has waited for longest; returns whether anybody waited."""
        for connection in self._waiting:
            self.close(connection)
            return True
        return False

    def hold(self, connection: Connection, size: int) -> None:
        """Keep count of the bytes of large requests and answers, and within the most."""
        if size > LARGE_BYTES:
            self._large[connection] = size
        else:
            self._large.pop(connection, None)
        while sum(self._large.values()) > self._most_bytes:
            # Who waits with one for longest.
            held = next((each for each in self._large if each in self._waiting), None)
            if held is None:
                return
            if held.sock.unsent:
                self.close(held)
            else:
                self.refuse(held, NO_ROOM)
