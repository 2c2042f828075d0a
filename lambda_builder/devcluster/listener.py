"""The listening socket: closed and opened again on the same port, as outages need it."""

from __future__ import annotations

import asyncio
import errno
import random
import socket

from .server import Connection, Handler

_BACKLOG = 1024
# Below the ports the system gives to clients: while a port of theirs is closed, a client that
# keeps connecting to it may be given that very port and connect to itself.
_PORTS = range(20_000, 32_000)
_REOPEN_SECONDS = 0.05


class Listener:
    """Accepts connections.  On the server's thread only, but for ``bind``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, handler: Handler) -> None:
        self.port = 0
        self._loop = loop
        self._host = host
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._reopening: asyncio.TimerHandle | None = None

    def bind(self, port: int) -> None:
        """Take the port, 0 for any free one; OSError where it is taken."""
        self._socket = _listen(self._host, port) if port else _listen_anywhere(self._host)
        self.port = self._socket.getsockname()[1]

    async def serve(self) -> None:
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._server = await self._loop.create_server(
            lambda: Connection(self._handler, self._connections), sock=sock, backlog=_BACKLOG
        )

    def close(self, reopen_after: float | None = None) -> None:
        """Refuse connections and cut those there are; open again later if asked to."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.abort()
        if reopen_after is not None:
            self._reopening = self._loop.call_later(reopen_after, self._reopen)

    async def reopen(self) -> None:
        """Accept connections again on the same port; OSError while another has it."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._server is None:
            self._socket = _listen(self._host, self.port)
            await self.serve()

    def _reopen(self) -> None:
        self._reopening = None
        try:
            self._socket = _listen(self._host, self.port)
        except OSError:
            self._reopening = self._loop.call_later(_REOPEN_SECONDS, self._reopen)
            return
        self._loop.create_task(self.serve())


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_anywhere(host: str) -> socket.socket:
    for port in random.sample(_PORTS, 50):
        try:
            return _listen(host, port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    return _listen(host, 0)
