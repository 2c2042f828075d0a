"""Answers as llhttp understands them, whole or read while they come."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPHeaderDict

PIECE_BYTES = 65_536
"""What is sent or read at a time."""
_HEAD_BYTES = 131_072
"""Longest head of an answer, all of its lines and those of interim answers together."""
_FIRST_FINAL = 200
"""Of the statuses; those before are of interim answers."""
_FRAMES = (b"content-length", b"transfer-encoding")


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


def left_until(until: float, problem: str) -> float:
    """Return the seconds that are left; raises ``TimeoutError`` where none are."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError(problem)
    return left


class Incoming:
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
        self.sock.settimeout(left_until(until, "no whole answer in time"))
        data = self.sock.recv(PIECE_BYTES)
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

    def __init__(self, incoming: Incoming, stack: ExitStack) -> None:
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
