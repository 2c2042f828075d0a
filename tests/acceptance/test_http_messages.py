"""HTTP/1 over raw sockets, as RFC 9110 and 9112 have it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.framing import OTHER_CODINGS, SMUGGLING
from tests.processes import BUILD_TYPE, ClusterProcess, ServiceProcess

DATA = b'{"parser_id": "p"}'
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UNFRAMED_EVENT = (
    b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Ce-Specversion: 1.0\r\nCe-Source: network.notifi.x\r\nCe-Type: " + BUILD_TYPE.encode()
)
CHUNKS = b"5\r\n" + DATA[:5] + b"\r\nD;a=b\r\n" + DATA[5:] + b"\r\n0\r\n"


def event(number: str, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([UNFRAMED_EVENT, b"Ce-Id: " + number.encode(), *lines, b"", body])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("http")
    with (
        ClusterProcess(folder) as cluster,
        ServiceProcess(cluster.kubeconfig, folder, queue_size=10_000) as service,
    ):
        yield service.port
        assert "Traceback" not in service.log_tail()


@pytest.fixture
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 10) as connected:
        yield connected


class Reader:
    """Reads answers off one connection, as many as there are."""

    def __init__(self, client: socket.socket) -> None:
        self._file = client.makefile("rb")

    def makefile(self, _: str) -> Reader:
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        """Keep the connection open for the next answer."""

    def answer(self, method: str = "GET") -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        response.body = response.read()  # type: ignore[attr-defined]
        return response

    def is_over(self) -> bool:
        return not self._file.read(1)


def told(response: http.client.HTTPResponse) -> dict[str, object]:
    found: dict[str, object] = json.loads(response.body)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        *(pytest.param(raw, 400, id=name) for name, raw in SMUGGLING.items()),
        *(pytest.param(raw, 501, id=f"coding: {name}") for name, raw in OTHER_CODINGS.items()),
    ],
)
def test_a_request_cannot_be_smuggled(client: socket.socket, raw: bytes, status: int) -> None:
    client.sendall(raw)
    answers = Reader(client)
    refused = answers.answer()
    assert refused.status == status
    assert refused.headers["Connection"] == "close"
    assert refused.headers["X-Correlation-ID"]
    assert told(refused)["code"] == "bad_request"
    assert answers.is_over()


def test_pipelined_requests_are_answered_in_order(client: socket.socket) -> None:
    raw = [
        event(f"pipelined-{n}", b"Content-Length: %d" % len(DATA), body=DATA) + HEALTH
        for n in range(20)
    ]
    client.sendall(b"".join(raw))
    answers = Reader(client)
    for n in range(20):
        assert told(answers.answer("POST"))["event_id"] == f"pipelined-{n}"
        assert answers.answer().body == b"ok"  # type: ignore[attr-defined]


def test_what_is_pipelined_behind_the_last_request_is_not_answered(client: socket.socket) -> None:
    client.sendall(HEALTH.replace(b"x\r\n", b"x\r\nConnection: close\r\n", 1) + HEALTH)
    answers = Reader(client)
    assert answers.answer().headers["Connection"] == "close"
    assert answers.is_over()


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: keep-alive, close",
        b"Connection: close, te",
        b"Connection: keep-alive\r\nConnection: Close",
    ],
    ids=["last option", "first option", "second line"],
)
def test_a_request_that_asks_for_the_end_among_other_options_is_the_last(
    client: socket.socket, lines: bytes
) -> None:
    client.sendall(HEALTH.replace(b"x\r\n", b"x\r\n" + lines + b"\r\n", 1) + HEALTH)
    answers = Reader(client)
    assert answers.answer().headers["Connection"] == "close"
    assert answers.is_over()


def test_a_chunked_body_is_read_with_its_trailer_and_the_next_request_after_it(
    client: socket.socket,
) -> None:
    chunked = b"Transfer-Encoding: chunked"
    client.sendall(event("chunks", chunked, body=CHUNKS + b"\r\n"))
    client.sendall(event("trailer", chunked, body=CHUNKS + b"Trailing: yes\r\n\r\n") + HEALTH)
    answers = Reader(client)
    assert told(answers.answer("POST"))["event_id"] == "chunks"
    assert told(answers.answer("POST"))["event_id"] == "trailer"
    assert answers.answer().status == 200


def test_a_trailer_changes_nothing_of_its_event(client: socket.socket) -> None:
    trailer = b"Ce-Id: forged\r\nX-Correlation-ID: forged\r\nPrefer: reply\r\n\r\n"
    client.sendall(event("honest", b"Transfer-Encoding: chunked", body=CHUNKS + trailer))
    answer = Reader(client).answer("POST")
    assert answer.status == 200
    assert (told(answer)["event_id"], told(answer)["correlation_id"]) == ("honest", "honest")


def test_zeros_and_extensions_make_no_other_size_of_a_chunk(client: socket.socket) -> None:
    size = b"000000000000000000%x" % len(DATA)
    chunks = size + b' ; a = b;c="d"\r\n' + DATA + b"\r\n0000;last\r\n\r\n"
    client.sendall(event("sizes", b"Transfer-Encoding: ChunKed", body=chunks) + HEALTH)
    answers = Reader(client)
    assert told(answers.answer("POST"))["event_id"] == "sizes"
    assert answers.answer().status == 200


def test_a_body_that_waits_to_be_asked_for_is_asked_for(client: socket.socket) -> None:
    client.sendall(event("asked", b"Content-Length: %d" % len(DATA), b"Expect: 100-Continue"))
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(DATA + HEALTH)
    answers = Reader(client)
    assert told(answers.answer("POST"))["event_id"] == "asked"
    assert answers.answer().status == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_asked_for(client: socket.socket) -> None:
    client.sendall(event("large", b"Content-Length: 99999999", b"Expect: 100-continue"))
    answers = Reader(client)
    refused = answers.answer("POST")
    assert (refused.status, told(refused)["code"]) == (413, "body_too_large")
    assert answers.is_over()


def test_any_other_expectation_fails(client: socket.socket) -> None:
    client.sendall(event("other", b"Expect: 200-ok"))
    assert Reader(client).answer("POST").status == 417


def test_http_1_0_needs_no_host_and_ends_after_one_answer(client: socket.socket) -> None:
    client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
    answers = Reader(client)
    assert answers.answer().body == b"ok"  # type: ignore[attr-defined]
    assert answers.is_over()


def test_http_1_0_keeps_the_connection_where_it_is_asked_to(client: socket.socket) -> None:
    client.sendall(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    answers = Reader(client)
    assert [answers.answer().status for _ in range(2)] == [200, 200]


def test_http_1_0_does_not_wait_to_be_asked_for_a_body(client: socket.socket) -> None:
    lines = b"Content-Length: %d" % len(DATA), b"Expect: 100-continue"
    client.sendall(event("old", *lines, body=DATA).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert client.recv(12) == b"HTTP/1.0 200"


def test_a_later_minor_version_is_taken_for_the_latest_that_is_known(client: socket.socket) -> None:
    client.sendall(HEALTH.replace(b"HTTP/1.1", b"HTTP/1.9") + HEALTH)
    answers = Reader(client)
    assert [answers.answer().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "lines",
    [
        b"SCRIPT_NAME: /elsewhere\r\nPATH_INFO: /ready",
        b"Script-Name: /elsewhere\r\nPath-Info: /ready",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\nX-Forwarded-Prefix: /elsewhere",
        b"X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /ready",
        b"Content_Length: 5\r\nTransfer_Encoding: chunked",
    ],
    ids=["of gunicorn", "of WSGI", "of proxies", "of frameworks", "with underscores"],
)
def test_headers_from_whoever_is_near_make_no_other_request(
    client: socket.socket, lines: bytes
) -> None:
    client.sendall(HEALTH.replace(b"x\r\n", b"x\r\n" + lines + b"\r\n", 1) + HEALTH)
    answers = Reader(client)
    for _ in range(2):
        assert answers.answer().body == b"ok"  # type: ignore[attr-defined]


def test_a_target_may_name_its_host(client: socket.socket) -> None:
    client.sendall(b"GET http://a.example:8080/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Reader(client).answer().body == b"ok"  # type: ignore[attr-defined]


def test_an_empty_line_before_a_request_is_ignored(client: socket.socket) -> None:
    client.sendall(b"\r\n" + HEALTH + b"\r\n" + HEALTH)
    answers = Reader(client)
    assert [answers.answer().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (HEALTH.replace(b"/health", b"/" + b"a" * 9_000), 414),
        (HEALTH.replace(b"x\r\n", b"x\r\nX: " + b"a" * 70_000 + b"\r\n", 1), 431),
        (HEALTH.replace(b"x\r\n", b"x\r\n" + b"X: a\r\n" * 101, 1), 431),
        (HEALTH.replace(b"x\r\n", b"x\r\n" + (b"X: " + b"a" * 50_000 + b"\r\n") * 4, 1), 431),
        (HEALTH.replace(b"HTTP/1.1", b"HTTP/2.0"), 400),
        (HEALTH.replace(b"HTTP/1.1", b"http/1.1"), 400),
        (HEALTH.replace(b" HTTP/1.1", b""), 400),
        (HEALTH.replace(b"GET", b"G(T"), 400),
        (HEALTH.replace(b"GET ", b"GET  "), 400),
        (HEALTH.replace(b"GET ", b"GET\t"), 400),
        (HEALTH.replace(b"/health", b"/health#/ready"), 400),
        (HEALTH.replace(b"/health", b"/h ealth"), 400),
        (HEALTH.replace(b"/health", b"/h\x00ealth"), 400),
        (HEALTH.replace(b"/health", b"/h\xc3\xa9alth"), 400),
        (HEALTH.replace(b"/health", b"health"), 400),
        (HEALTH.replace(b"/health", b"*"), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
    ids=[
        *("target", "line", "number of lines", "head", "version", "small letters", "HTTP/0.9"),
        *("method", "two spaces", "tab", "fragment", "space", "NUL", "other letters", "no slash"),
        *("asterisk", "HTTP/2", "TLS"),
    ],
)
def test_a_head_beyond_its_limits_or_that_is_none_is_refused_and_the_connection_ends(
    client: socket.socket, raw: bytes, status: int
) -> None:
    client.sendall(raw)
    answers = Reader(client)
    refused = answers.answer()
    assert refused.status == status
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert told(refused)["status"] == status
    assert answers.is_over()


@pytest.mark.parametrize("sent", [b"GET /he", event("cut", b"Content-Length: 10", body=b"{")])
def test_a_request_whose_sender_stops_sending_is_told_so(
    client: socket.socket, sent: bytes
) -> None:
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    assert Reader(client).answer().status == 400


def test_a_sender_that_only_closes_its_side_gets_its_answer(client: socket.socket) -> None:
    client.sendall(HEALTH)
    client.shutdown(socket.SHUT_WR)
    answers = Reader(client)
    assert answers.answer().status == 200
    assert answers.is_over()


def test_head_and_an_answer_without_content_leave_the_connection_in_step(
    client: socket.socket,
) -> None:
    client.sendall(HEALTH.replace(b"GET", b"HEAD") + HEALTH.replace(b"GET", b"OPTIONS") + HEALTH)
    answers = Reader(client)
    assert answers.answer("HEAD").body == b""  # type: ignore[attr-defined]
    assert answers.answer("OPTIONS").status == 200
    assert answers.answer().body == b"ok"  # type: ignore[attr-defined]
