"""Requests over lean connections: the same bytes as urllib3's own, in fewer writes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


class Server:
    """Takes one connection and answers when it is told, with what it is told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self.waits = threading.Event()
        self.was_waited_for = False

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Be around what waits for it."""
        self.waits.set()
        yield
        self.was_waited_for = True

    def answer(self, data: bytes) -> None:
        if self._client is None:
            self._client, _ = self._listener.accept()
        self._client.sendall(data)

    def close(self) -> None:
        self._listener.close()
        if self._client is not None:
            self._client.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def manager(server: Server) -> urllib3.PoolManager:
    made = urllib3.PoolManager(retries=False)
    made.pool_classes_by_scheme = pools_of(apart=server.apart)
    return made


def test_others_work_while_a_thread_connects_and_waits_for_an_answer(server: Server) -> None:
    def answer() -> None:
        assert server.waits.wait(10)  # for the connection, then for the answer
        server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    threading.Thread(target=answer, daemon=True).start()
    with manager(server) as pools:
        found = pools.request("GET", f"http://127.0.0.1:{server.port}/", timeout=10)
    assert (found.status, found.data, server.was_waited_for) == (200, b"ok", True)


def test_an_answer_that_does_not_come_is_waited_for_as_long_as_was_said(server: Server) -> None:
    with (
        manager(server) as pools,
        pytest.raises(urllib3.exceptions.ReadTimeoutError, match=r"read timeout=0\.05"),
    ):
        pools.request("GET", f"http://127.0.0.1:{server.port}/", timeout=0.05)


def test_the_first_byte_and_the_rest_of_a_head_share_one_timeout(server: Server) -> None:
    connection = LeanRequests("127.0.0.1", server.port, timeout=10.0)
    connection.request("GET", "/")
    server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert connection.getresponse().status == 200
    assert connection.timeout is not None
    assert connection.timeout < 10
    connection.close()
