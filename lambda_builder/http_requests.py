"""LeanRequests: HTTP requests over urllib3's connections, each in one write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

Waits = Callable[[], object]
"""Called by a thread that is about to wait for the other side."""


def _let_it() -> None:
    pass


class LeanRequests(HTTPConnection):
    """A connection of urllib3's, for TLS to be mixed into its other one.

    The head leaves together with what the body begins with: each write is a system call, and
    hands the interpreter to another thread.
    """

    waits: Waits = staticmethod(_let_it)
    _is_head = False
    _head = b""

    def connect(self) -> None:
        """Open the connection."""
        self.waits()
        super().connect()

    def getresponse(self) -> Any:
        """Wait for the head of the answer and return it."""
        self.waits()
        return super().getresponse()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request."""
        self._is_head, self._head = True, b""
        try:
            super().request(*args, **kwargs)
            if self._head:  # there was no body
                self.send(b"")
        finally:  # another may be made over the same connection, which is opened again
            self._is_head, self._head = False, b""

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
    waits: Waits = _let_it,
) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools of such connections, for ``pool_classes_by_scheme`` of urllib3's managers."""
    told = {"waits": staticmethod(waits)}

    class Pool(HTTPConnectionPool):
        ConnectionCls = type(plain.__name__, (plain,), told)

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = type(tls.__name__, (tls,), told)

    return {"http": Pool, "https": TLSPool}
