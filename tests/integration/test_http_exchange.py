"""One exchange over a kept connection: what is sent, what is understood, when it is given up."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3

from lambda_builder.http_exchange import OpenAnswer, Origin
from tests.certificates import Certificate
from tests.waiting import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECONDS = 10.0


class Peer:
    """Takes connections, reads a request at a time, and answers each with the next of ``answers``.

    One of None closes the connection. A server with a certificate speaks TLS. One that tunnels
    answers CONNECT, and then hands bytes to and fro.
    """

    def __init__(self, *answers: bytes | None, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._accepted.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._accepted.append(sock)
            with sock:
                while request := read_request(sock):
                    self.requests.append(request)
                    if request.startswith(b"CONNECT "):
                        self._tunnel(sock, request)
                        return
                    answer = self.answers.pop(0)
                    if answer is None:
                        return
                    sock.sendall(answer)
                    if b"close" in answer or b"1.0" in answer:
                        return
        except OSError:
            pass

    def _tunnel(self, sock: socket.socket, request: bytes) -> None:
        port = int(request.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as further:
            self._accepted.append(further)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(further, sock), daemon=True)
            back.start()
            copy(sock, further)

    def close(self) -> None:
        for sock in (self._listener, *self._accepted):
            with suppress(OSError):  # what waits for it is woken
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass


def read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(*answers: bytes | None, **how: Any) -> Peer:
        made.append(Peer(*answers, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def origin_of(
    url: str, manager: urllib3.PoolManager | None = None, waits: Callable[[], object] = lambda: None
) -> Origin:
    manager = manager or urllib3.PoolManager()
    return Origin(manager.connection_from_url(url), url, waits)


def get(origin: Origin, path: str = "/", **how: Any) -> Any:
    return origin.exchange("GET", path, {}, **{"seconds": SECONDS, **how})


def test_a_request_is_sent_as_it_was_meant(peer):
    server = peer(OK)
    headers = {"Content-Type": "application/json", "ce-subject": "caf\xe9", "empty": ""}
    answer = origin_of(f"http://127.0.0.1:{server.port}").exchange(
        "POST", "/path?query=1", headers, b"{}", seconds=SECONDS
    )
    assert (answer.status, answer.data) == (200, b"ok")
    assert server.requests == [
        b"POST /path?query=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"Content-Type: application/json\r\nce-subject: caf\xe9\r\nempty: \r\n"
        b"Content-Length: 2\r\n\r\n{}" % server.port
    ]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"ce-id": "1\r\nHost: other"}),
        ("/", {"ce-id": "1\rHost: other"}),
        ("/", {"ce-id": "1\nHost: other"}),
        ("/", {"ce-id": "1\n folded"}),
        ("/", {"ce-id": "1\x00"}),
        ("/", {"ce-id\r\nHost": "other"}),
        ("/", {"ce-id:": "1"}),
        ("/", {"ce id": "1"}),
        ("/", {"": "1"}),
        ("/", {"ce-id": "\u20ac"}),
        ("/ HTTP/1.1\r\nHost: other\r\n\r\n", {}),
        ("/a b", {}),
        ("/\u20ac", {}),
    ],
)
def test_what_http_cannot_carry_is_refused_before_a_connection_is_made(peer, path, headers):
    server = peer(OK)
    with pytest.raises(ValueError):
        origin_of(f"http://127.0.0.1:{server.port}").exchange("GET", path, headers, seconds=SECONDS)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("answer", "status", "data", "is_kept"),
    [
        (OK, 200, b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b"", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n"
            b"0\r\ntrailer: 1\r\n\r\n",
            *(200, b"ok", True),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nx: y\r\n\r\n" + OK, 200, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (OK + b"HTTP/1.1 500 Evil\r\nContent-Length: 0\r\n\r\n", 200, b"ok", False),
        (OK + b"garbage", 200, b"ok", False),
    ],
)
def test_an_answer_is_understood_and_the_connection_used_again_where_it_may_be(
    peer, answer, status, data, is_kept
):
    server = peer(answer, OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    first = get(origin)
    assert (first.status, first.data) == (status, data)
    assert get(origin).data == b"ok"
    assert server.connections == (1 if is_kept else 2)


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_an_answer_may_come_in_any_pieces(peer, pieces, monkeypatch):
    monkeypatch.setattr("lambda_builder.http_exchange.answers.PIECE_BYTES", pieces)
    body = bytes(range(256)) * 8
    server = peer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nx: y\r\n\r\n%s" % (len(body), body))
    assert get(origin_of(f"http://127.0.0.1:{server.port}")).data == body


def test_headers_are_found_in_upper_and_lower_case_and_those_of_interim_answers_are_none(peer):
    server = peer(
        b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
        b"HTTP/1.1 429 Slow Down\r\nretry-AFTER: 3\r\nContent-Length: 0\r\n\r\n"
    )
    headers = get(origin_of(f"http://127.0.0.1:{server.port}")).headers
    assert headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000,
    ],
    ids=["nothing", "short", "cut", "two lengths", "smuggled", "upgrade", "another", "endless"],
)
def test_what_is_no_whole_answer_is_a_broken_connection(peer, answer):
    server = peer(answer, OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    with pytest.raises(ConnectionError):
        get(origin)
    assert get(origin).data == b"ok"
    assert server.connections == 2


def test_an_answer_to_a_request_that_was_not_read_to_its_end_is_understood():
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    connections = []

    def refuse() -> None:
        sock, _ = listener.accept()
        connections.append(sock)
        sock.recv(1000)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse)
        refusing.start()
        origin = origin_of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        found = origin.exchange("POST", "/", {}, b"x" * 50_000_000, seconds=SECONDS)
        refusing.join()
    assert (found.status, found.data) == (413, b"no")


def test_a_connection_that_was_closed_meanwhile_is_opened_again(peer):
    server = peer(OK, OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    get(origin)
    for sock in server._accepted:
        sock.shutdown(socket.SHUT_RDWR)
    assert get(origin).data == b"ok"
    assert server.connections == 2


def test_an_exchange_is_given_up_in_time(peer):
    origin = origin_of(f"http://127.0.0.1:{peer(b'HTTP/1.1 200 OK').port}")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        get(origin, seconds=0.2)
    assert 0.2 <= time.monotonic() - began < 5


def test_where_only_the_head_is_waited_for_a_body_that_is_under_way_costs_the_connection(peer):
    server = peer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nok", OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    assert (get(origin, only_head=True).status, get(origin, only_head=True).status) == (202, 200)
    assert server.connections == 2


def test_whoever_waits_is_told_before_it_connects_and_before_it_reads(peer):
    told: list[int] = []
    server = peer(OK, OK)
    url = f"http://127.0.0.1:{server.port}"
    origin = origin_of(url, waits=lambda: told.append(len(server.requests)))
    assert [get(origin).data, get(origin).data] == [b"ok", b"ok"]
    assert len(told) == 3  # the connection was kept


def test_many_threads_exchange_over_connections_of_their_own(peer):
    server = peer(*[OK] * 400)
    manager = urllib3.PoolManager(maxsize=8)
    origin = origin_of(f"http://127.0.0.1:{server.port}", manager)
    found: list[bytes] = []

    def run() -> None:
        found.extend(get(origin).data for _ in range(50))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [b"ok"] * 400
    assert server.connections <= 8


# -- answers read while they come ----------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


def opened(origin: Origin) -> OpenAnswer:
    return origin.open("GET", "/", {}, seconds=SECONDS)


def test_a_body_is_read_as_it_comes_and_the_connection_used_again_after_its_end(peer):
    server = peer(CHUNKED, OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    answer = opened(origin)
    assert (answer.status, answer.read(SECONDS)) == (200, b"ok")
    server._accepted[0].sendall(b"3\r\nand\r\n5\r\n more\r\n0\r\n\r\n")
    rest = b"".join(iter(lambda: answer.read(SECONDS), b""))
    answer.close()
    assert rest == b"and more"
    assert get(origin).data == b"ok"
    assert server.connections == 1


def test_silence_is_given_up_in_time(peer):
    answer = opened(origin_of(f"http://127.0.0.1:{peer(CHUNKED).port}"))
    assert answer.read(SECONDS) == b"ok"
    with pytest.raises(TimeoutError):
        answer.read(0.1)
    answer.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_another_thread_ends_a_read_that_waits(peer, tls, trusted, is_tls):
    server = peer(CHUNKED, tls=tls if is_tls else None)
    url = f"http{'s' * is_tls}://localhost:{server.port}"
    answer = opened(origin_of(url, urllib3.PoolManager(**trusted)))
    assert answer.read(SECONDS) == b"ok"
    ender = threading.Timer(0.1, answer.end)
    ender.start()
    began = time.monotonic()
    with pytest.raises(OSError) as caught:
        answer.read(SECONDS)
    assert not isinstance(caught.value, TimeoutError)
    assert time.monotonic() - began < SECONDS / 2
    ender.join()
    answer.close()


def test_an_end_that_comes_too_late_ends_nobody_elses_answer(peer):
    server = peer(OK, CHUNKED)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    first = opened(origin)
    assert first.whole(SECONDS).data == b"ok"
    first.close()
    second = opened(origin)
    first.end()
    first.close()
    assert second.read(SECONDS) == b"ok"
    with pytest.raises(TimeoutError):
        second.read(0.1)
    second.close()
    assert server.connections == 1


# -- TLS and proxies -----------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    return Certificate.authority("authority")


@pytest.fixture
def trusted(authority: Certificate, tmp_path: Path) -> dict[str, str]:
    return {"ca_certs": str(authority.write(tmp_path)[0])}


@pytest.fixture
def tls(authority: Certificate, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost").write(tmp_path))
    return context


def test_over_tls_connections_are_kept_too(peer, tls, trusted):
    server = peer(OK, OK, tls=tls)
    origin = origin_of(f"https://localhost:{server.port}", urllib3.PoolManager(**trusted))
    assert [get(origin).data, get(origin).data] == [b"ok", b"ok"]
    assert server.connections == 1


def test_nothing_is_sent_to_whoever_is_not_trusted(peer, tls):
    server = peer(OK, tls=tls)
    origin = origin_of(f"https://localhost:{server.port}")
    with pytest.raises((ssl.SSLError, urllib3.exceptions.SSLError)):
        get(origin)
    assert server.requests == []


def proxied(proxy: Peer, **more: Any) -> urllib3.ProxyManager:
    headers = urllib3.make_headers(proxy_basic_auth="user:secret")
    return urllib3.ProxyManager(f"http://127.0.0.1:{proxy.port}", proxy_headers=headers, **more)


def test_a_proxy_is_told_where_to_and_who_asks(peer):
    proxy = peer(OK)
    url = "http://host.example:8080"
    assert get(origin_of(url, proxied(proxy)), "/path").data == b"ok"
    [request] = proxy.requests
    assert request.startswith(b"GET http://host.example:8080/path HTTP/1.1\r\n")
    assert b"\r\nHost: host.example:8080\r\n" in request
    assert b"\r\nproxy-authorization: Basic " in request


def test_over_tls_a_proxy_makes_a_tunnel_once_and_sees_nothing(peer, tls, trusted):
    server, proxy = peer(OK, OK, tls=tls), peer()
    url = f"https://localhost:{server.port}"
    origin = origin_of(url, proxied(proxy, **trusted))
    assert [get(origin, "/path").data, get(origin).data] == [b"ok", b"ok"]
    [request] = proxy.requests
    assert request.startswith(b"CONNECT localhost:%d HTTP/1." % server.port)
    assert b"proxy-authorization: Basic " in request
    assert server.requests[0].startswith(b"GET /path HTTP/1.1\r\n")
    assert b"proxy-authorization" not in server.requests[0]


def test_a_proxy_that_refuses_is_a_broken_connection(peer):
    class Refusing(Peer):
        def _tunnel(self, sock: socket.socket, request: bytes) -> None:
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    proxy = Refusing()
    with pytest.raises((OSError, urllib3.exceptions.HTTPError), match="403"):
        get(origin_of("https://host.example", proxied(proxy)))
    proxy.close()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://[::1]:8080/x", "[::1]:8080"),
        ("http://[fe80::1%25eth0]:8080/x", "[fe80::1]:8080"),
        ("https://user:pass@host.example/y?z", "host.example"),
        ("https://host.example.:443/", "host.example"),
        ("http://host.example:80", "host.example"),
        ("http://host.example:443", "host.example:443"),
    ],
)
def test_a_host_is_named_without_what_goes_without_saying(url, host):
    assert f"Host: {host}\r\n".encode() in origin_of(url)._request("GET", "/", {}, None)


def test_a_proxy_that_answers_no_http_is_a_broken_connection(peer):
    class Talking(Peer):
        def _tunnel(self, sock: socket.socket, request: bytes) -> None:
            sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    proxy = Talking()
    with pytest.raises(ConnectionError):
        get(origin_of("https://host.example", proxied(proxy)))
    proxy.close()


def test_where_only_the_head_is_waited_for_a_body_that_is_none_costs_only_the_connection(peer):
    head = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = peer(head + b"no chunk", OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    assert get(origin, only_head=True).status == 202
    assert get(origin).data == b"ok"
    assert server.connections == 2


def test_after_its_end_an_origin_has_no_connection(peer):
    server = peer(OK)
    origin = origin_of(f"http://127.0.0.1:{server.port}")
    get(origin)
    origin.close()
    origin.close()
    wait_until(lambda: server._accepted[0].fileno() == -1, "the server to see the end")
    with pytest.raises(urllib3.exceptions.HTTPError):
        get(origin)
