"""LeanRequests: HTTP requests over urllib3's connections with less work for each of them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import SKIP_HEADER

_NAME = re.compile(r"[A-Za-z0-9-]+")


class LeanRequests(HTTPConnection):
    """A connection of urllib3's, for TLS to be mixed into its other one.

    The head leaves together with what the body begins with: each write is a system call, and
    hands the interpreter to another thread. Headers that cannot end a line are not looked at in
    as many steps as ``http.client`` takes; all others are left to it.
    """

    _is_head = False
    _head = b""

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

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override]
        """Add a header."""
        value = values[0] if len(values) == 1 else None
        name = _name(header)
        if not name or type(value) is not str or value == SKIP_HEADER:
            super().putheader(header, *values)
            return
        if "\n" in value or "\r" in value:
            super().putheader(header, *values)
            return
        self._output(name + value.encode("latin-1"))  # type: ignore[attr-defined]


@lru_cache(256)
def _name(header: Any) -> bytes:
    """Return how the line of a header begins; empty where its name is not plain."""
    if not isinstance(header, str) or not _NAME.fullmatch(header):
        return b""
    return f"{header}: ".encode()


class _TLSConnection(LeanRequests, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = LeanRequests


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


POOLS = {"http": _Pool, "https": _TLSPool}
"""For ``pool_classes_by_scheme`` of one of urllib3's managers."""
