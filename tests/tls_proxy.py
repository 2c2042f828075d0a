"""A PostgreSQL server's TLS, in front of a server that has none."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.certificates import Certificate

_REQUEST_BYTES = 8
"""SSLRequest: https://www.postgresql.org/docs/current/protocol-message-formats.html."""
_SECONDS = 10.0


@contextlib.contextmanager
def tls_in_front_of(port: int, certificate: Certificate, folder: Path) -> Iterator[int]:
    """Take TLS connections meanwhile; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.write(folder))
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener is closed
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=_serve, args=(client, context, port)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        stack.callback(thread.join, _SECONDS)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield listener.getsockname()[1]


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with client, contextlib.suppress(OSError):
        client.settimeout(_SECONDS)
        client.recv(_REQUEST_BYTES, socket.MSG_WAITALL)
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as near,
            socket.create_connection(("127.0.0.1", port)) as far,
        ):
            _pass_on(near, far)


def _pass_on(near: ssl.SSLSocket, far: socket.socket) -> None:
    """Pass on what either side says until one ends."""
    near.settimeout(None)
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in selector.select():
                source = near if key.fileobj is near else far
                other = far if source is near else near
                data = source.recv(65_536)
                while source is near and near.pending():
                    data += near.recv(near.pending())
                if not data:
                    return
                other.sendall(data)
