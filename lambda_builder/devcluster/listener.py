"""The listening socket: closed and opened again on the same port, as outages need it."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from typing import Any

from lambda_builder.devcluster.server import Connection, Connections, Handler

_BACKLOG = 1024
# Below the ports the system gives to clients: while a port of theirs is closed, a client that
# keeps connecting to it may be given that very port and connect to itself.
_PORTS = range(20_000, 32_000)
_RETRY_SECONDS = 0.05
_ACCEPTS_AT_ONCE = 100  # so that open connections get their turn in a flood of new ones
_LAST_ROUNDS = 100  # of the loop; a connection that is cut needs one or two


class Listener:
    """Accepts connections. On the server's thread only, but for ``bind``.

    ``asyncio.Server`` is not used: closed while it accepts, it leaks the connection, and the
    client waits for ever (as of Python 3.11).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, handler: Handler) -> None:
        self.port = 0
        self._loop = loop
        self._host = host
        self._handler = handler
        self._socket: socket.socket | None = None
        self._connections = Connections()
        self._accepting: set[asyncio.Task[Any]] = set()
        self._reopening: asyncio.TimerHandle | None = None

    def bind(self, port: int) -> None:
        """Take the port, 0 for any free one; OSError where it is taken."""
        self._socket = _listen(self._host, port) if port else _listen_anywhere(self._host)
        self.port = self._socket.getsockname()[1]

    def serve(self) -> None:
        """Accept on the socket that was bound."""
        if self._socket is not None:
            self._connections.closed = False
            self._loop.add_reader(self._socket, self._accept, self._socket)

    def close(self, reopen_after: float | None = None) -> None:
        """Refuse connections and cut those there are; open again later if asked to."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._connections.closed = True
        self._connections.cut()
        if reopen_after is not None:
            self._reopening = self._loop.call_later(reopen_after, self._reopen)

    def reopen(self) -> None:
        """Accept connections again on the same port; OSError while another has it."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._socket is None:
            self._socket = _listen(self._host, self.port)
            self.serve()

    async def end(self) -> None:
        """Close for good, and see every connection to its end."""
        self.close()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for _ in range(_LAST_ROUNDS):
            await asyncio.sleep(0)
            if not self._connections:
                break

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file descriptors left: try again when some may be free
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY_SECONDS, self._accept_again, listening)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(
                    lambda: Connection(self._handler, self._connections), accepted
                )
            )
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening is self._socket:
            self._loop.add_reader(listening, self._accept, listening)

    def _reopen(self) -> None:
        self._reopening = None
        try:
            self.reopen()
        except OSError:
            self._reopening = self._loop.call_later(_RETRY_SECONDS, self._reopen)


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
