"""LeanRequests: HTTP requests over urllib3's connections, each in one write."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import wait_for_read

Apart = Callable[[], AbstractContextManager[None]]
"""Returns what is around the time that a thread waits for the other side."""
_LEAST_SECONDS = 0.001


class LeanRequests(HTTPConnection):
    """A connection of urllib3's, for TLS to be mixed into its other one.

    The head leaves together with what the body begins with: each write is a system call, and
    hands the interpreter to another thread.
    """

    apart: Apart = nullcontext
    _is_head = False
    _head = b""

    def connect(self) -> None:
        """Open the connection."""
        with self.apart():
            super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request."""
        self._is_head, self._head = True, b""
        try:
            super().request(*args, **kwargs)
            if self._head:  # there was no body
                self.send(b"")
        finally:  # another may be made over the same connection, which is opened again
            self._is_head, self._head = False, b""

    def getresponse(self) -> Any:
        """Wait for the answer and return it; its first byte and its head share one timeout."""
        if self._has_read_nothing_ahead():
            began, timeout = time.monotonic(), self.timeout
            with self.apart():
                if not wait_for_read(self.sock, timeout):
                    raise TimeoutError("no answer in time")
            if timeout is not None:
                self.timeout = max(_LEAST_SECONDS, timeout - (time.monotonic() - began))
        return super().getresponse()

    def _has_read_nothing_ahead(self) -> bool:
        """Whether the answer shows as something to read on the socket, as far as is known."""
        sock: Any = self.sock
        return type(sock) is socket.socket or (
            isinstance(sock, ssl.SSLSocket) and not sock.pending()
        )

    def send(self, data: Any) -> None:
        """Send a part of a request, the head with the next one."""
        if self._is_head:
            self._is_head, self._head = False, data
            return
        if self._head:
            data, self._head = self._head + data, b""
        super().send(data)


class _TLSConnection(LeanRequests, HTTPSConnection):
    pass


def pools_of(
    plain: type[LeanRequests] = LeanRequests,
    tls: type[LeanRequests] = _TLSConnection,
    *,
    apart: Apart = nullcontext,
) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools of such connections, for ``pool_classes_by_scheme`` of urllib3's managers."""
    waits = {"apart": staticmethod(apart)}

    class Pool(HTTPConnectionPool):
        ConnectionCls = type(plain.__name__, (plain,), waits)

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = type(tls.__name__, (tls,), waits)

    return {"http": Pool, "https": TLSPool}
