"""Requests over lean connections: the same bytes as urllib3's own, in fewer writes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER

from lambda_builder.http_requests import LeanRequests, pools_of


class Socket:
    """Remembers what was written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def settimeout(self, _seconds: float | None) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.writes.append(bytes(data))


def written(kind: type[HTTPConnection], **request: Any) -> list[bytes]:
    connection: Any = kind("host.example", 80)
    connection.sock = sock = Socket()
    connection.request("POST", "/path?query", **request)
    return sock.writes


HEADERS: dict[Any, Any] = {
    "Content-Type": "application/json",
    "ce-id": "id-1",
    "ce-subject": "caf\xe9",
}


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": HEADERS},
        {"headers": HEADERS, "body": b""},
        {"headers": HEADERS, "body": b"body"},
        {"headers": HEADERS, "body": "text"},
        {"headers": HEADERS, "body": iter([b"some ", b"parts"])},
        {"headers": {**HEADERS, "User-Agent": SKIP_HEADER}, "body": b"body"},
        {"headers": {**HEADERS, "folded": "one\n two"}, "body": b"body"},
        {"headers": {b"bytes": b"value", "number": 3, "x_y": "z"}, "body": b"body"},
        {"headers": None, "body": b"x" * 1_000_000},
    ],
    ids=lambda request: f"{len(request['headers'] or ())}-{type(request.get('body')).__name__}",
)
def test_what_is_written_is_what_urllib3_writes(request_: dict[str, Any]) -> None:
    if not isinstance(request_.get("body", b""), bytes | str):
        parts = [*request_["body"]]
        theirs = written(HTTPConnection, **{**request_, "body": iter(parts)})
        ours = written(LeanRequests, **{**request_, "body": iter(parts)})
        assert len(ours) == len(theirs) - 1
    else:
        theirs = written(HTTPConnection, **request_)
        ours = written(LeanRequests, **request_)
        assert len(ours) == 1
    assert b"".join(ours) == b"".join(theirs)


@pytest.mark.parametrize(
    "headers",
    [
        {"ce-id": "1\r\nHost: other"},
        {"ce-id": "1\rHost: other"},
        {"ce-id": "1\nHost: other"},
        {"ce-id\r\nHost": "other"},
        {"ce-id:": "1"},
        {"": "1"},
        {"ce-id": "\u20ac"},
        {"ce-id": SKIP_HEADER},
    ],
)
def test_what_urllib3_refuses_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError) as theirs:
        written(HTTPConnection, headers=headers, body=b"body")
    with pytest.raises(ValueError) as ours:
        written(LeanRequests, headers=headers, body=b"body")
    assert type(ours.value) is type(theirs.value)


def test_after_a_request_that_was_refused_nothing_is_held_back() -> None:
    connection: Any = LeanRequests("host.example", 80)
    connection.sock = sock = Socket()
    with pytest.raises(ValueError):
        connection.request("POST", "/", headers={"ce-id": "1\nx"}, body=b"body")
    connection.send(b"CONNECT")
    assert sock.writes == [b"CONNECT"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_whoever_waits_is_told_before_it_connects_and_before_it_reads(
    listener: socket.socket,
) -> None:
    told, asked = [], threading.Semaphore(0)
    pools = urllib3.PoolManager(retries=False)
    pools.pool_classes_by_scheme = pools_of(waits=lambda: (told.append(1), asked.release()))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def answer() -> None:
        assert asked.acquire(timeout=10)
        client, _ = listener.accept()
        with client:
            for _ in range(2):
                assert asked.acquire(timeout=10)  # only then is there an answer
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = threading.Thread(target=answer, daemon=True)
    server.start()
    with pools:
        assert [pools.request("GET", url, timeout=10).data for _ in range(2)] == [b"ok", b"ok"]
    server.join(10)
    assert len(told) == 3  # the connection was kept
