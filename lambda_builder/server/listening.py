"""Whether an address can be listened on: asked before anything is started."""

from __future__ import annotations

import errno
import socket

from lambda_builder.errors import BootError


def check_address(host: str, port: int) -> None:
    """Raise ``BootError``, which says what to do, unless ``host`` and ``port`` can be bound.

    gunicorn itself would try for five seconds and end with a log of its tries.
    """
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise BootError(_advice(host, port, error)) from error


def _advice(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use: stop what listens there (ss -ltnp shows it), "
            "or set PORT to another"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is not for this user: set PORT to one from 1024 up"
    return (
        f"cannot listen on {host} ({error.strerror}): "
        "set LAMBDA_BUILDER_HOST to an address of this machine"
    )
