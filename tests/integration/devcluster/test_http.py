"""The HTTP server itself, byte by byte."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


@pytest.fixture
def wire(cluster) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=10) as connection:
        yield connection


def _read_until(wire: socket.socket, mark: bytes, count: int = 1) -> bytes:
    data = b""
    while data.count(mark) < count:
        received = wire.recv(65536)
        if not received:
            break
        data += received
    return data


def test_requests_sent_at_once_are_answered_in_their_order(wire):
    wire.sendall(
        b"GET /livez HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n"
    )
    data = _read_until(wire, b"\r\n\r\nok", 2)
    statuses = [part.split()[0] for part in data.split(b"HTTP/1.1")[1:]]
    assert statuses == [b"200", b"404", b"200"]


def test_a_request_may_come_a_byte_at_a_time(wire):
    for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n":
        wire.send(bytes([byte]))
    assert _read_until(wire, b"\r\n\r\nok").endswith(b"ok")


def test_a_chunked_body_is_understood(wire, cluster, new_job):
    body = json.dumps(new_job()).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:100], body[100:]))
    wire.sendall(
        f"POST {JOBS} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + chunks
        + b"0\r\n\r\n"
    )
    assert b"201 Created" in _read_until(wire, b"\r\n\r\n")
    assert cluster.job("build-a") is not None


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(wire, new_job):
    body = json.dumps(new_job()).encode()
    wire.sendall(
        f"POST {JOBS} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert _read_until(wire, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(body)
    assert b"201 Created" in _read_until(wire, b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET /" + b"a" * 70_000, b"431"),
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(wire, sent, status):
    wire.sendall(sent)
    data = _read_until(wire, b"never")
    assert data.split()[1] == status
    assert b"Connection: close" in data


def test_a_connection_is_closed_where_the_client_asks_for_it(wire):
    wire.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert _read_until(wire, b"never").endswith(b"ok")
