"""A way to a server on which each of its answers takes a while."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

_CHUNK_BYTES = 65_536


class SlowProxy:
    """Passes on what is sent to ``port``; what comes back arrives ``delay`` seconds later."""

    def __init__(self, server_port: int) -> None:
        self.delay = 0.0
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Cut all connections, and end the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            answers: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            for target, arguments in (
                (self._ask, (client, server)),
                (self._hear, (server, answers)),
                (self._answer, (answers, client)),
            ):
                thread = threading.Thread(target=target, args=arguments)
                self._threads.append(thread)
                thread.start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK_BYTES):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _hear(self, server: socket.socket, answers: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b" "
        while data:
            try:
                data = server.recv(_CHUNK_BYTES)
            except OSError:
                data = b""
            answers.put((time.monotonic() + self.delay, data))

    def _answer(
        self, answers: queue.SimpleQueue[tuple[float, bytes]], client: socket.socket
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_at, data = answers.get()
                threading.Event().wait(max(0.0, due_at - time.monotonic()))
                if not data:
                    break
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def slow_proxy(server_port: int) -> Iterator[SlowProxy]:
    """A proxy that runs meanwhile."""
    proxy = SlowProxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()
