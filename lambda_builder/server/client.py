"""A client's connection: what is written to it never makes a thread wait."""

from __future__ import annotations

import errno
import socket
from typing import Any


class ClientSocket(socket.socket):
    """A non-blocking connection that keeps what is written until the client takes it.

    ``sendall`` only notes the bytes; ``flush`` sends what the client takes at once. Used by one
    thread at a time: the one that makes the answer, then the worker's loop.
    """

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)
        self._unsent: list[bytes | memoryview] = []
        self._waits = False

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the client has not taken."""
        return sum(map(len, self._unsent))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Keep ``data`` for ``flush``; in a stream, wait until the client has taken it.

        A stream's client that does not read raises ``ConnectionResetError``, as if it had gone.
        """
        if not self._waits:
            self._unsent.append(bytes(data))
            return
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None

    def flush(self) -> bool:
        """Send what the client takes now; returns whether nothing is left. Raises ``OSError``."""
        if not self._unsent:
            return True
        rest = b"".join(self._unsent)
        self._unsent = [rest]
        try:
            sent = self.send(rest)
        except BlockingIOError:
            return False
        self._unsent = [memoryview(rest)[sent:]] if sent < len(rest) else []
        return not self._unsent

    def discard(self) -> None:
        """Forget what was written and not sent."""
        self._unsent.clear()

    def begin_stream(self, seconds: float) -> None:
        """Let each write wait for the client, up to ``seconds``."""
        self.settimeout(seconds)
        self._waits = True

    def end_stream(self) -> None:
        """Go back to writes that do not wait."""
        self.setblocking(False)
        self._waits = False
