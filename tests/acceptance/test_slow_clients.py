"""Clients that stop in the middle of things hold up nobody but themselves."""

from __future__ import annotations

import itertools
import select
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

HTTP_THREADS = 4
AT_ONCE = 1.0
"""Seconds: far more than an answer takes, far less than any of the service's patience."""
REQUEST_SECONDS = 5.0
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request with a large answer."""
CHUNKED_HEAD = b"POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOOD_SECONDS = 30.0
"""A flood ends after that, whatever comes of the test."""


@contextmanager
def started(folder: Path) -> Iterator[ServiceProcess]:
    settings = {"http_threads": HTTP_THREADS, "queue_size": 1000}
    with (
        ClusterProcess(folder) as cluster,
        ServiceProcess(cluster.kubeconfig, folder, **settings) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with started(tmp_path_factory.mktemp("slow")) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service of which the test sees the memory or the end."""
    with started(tmp_path) as running:
        yield running


@pytest.fixture
def clients(service: ServiceProcess) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(service.port, stack)


class Client(socket.socket):
    """A connection of a client."""

    def is_cut_off(self) -> bool:
        """Whether the service has ended it; what it sent stays unread."""
        poller = select.poll()
        poller.register(self, 0)
        return bool(poller.poll(0))


class Clients:
    """Many connections that have sent the same bytes; closed at the end."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def send(self, raw: bytes, count: int, *, receive_buffer: int | None = None) -> list[Client]:
        made = [self._stack.enter_context(Client()) for _ in range(count)]
        for client in made:
            client.settimeout(15)
            if receive_buffer is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.connect(("127.0.0.1", self._port))
            client.sendall(raw)
        return made

    def that_do_not_read(self, count: int) -> list[Client]:
        """Ask for more than the kernel's buffers take; wait until some of it lies in them."""
        made = self.send(OPENAPI * 200, count, receive_buffer=4096)
        for client in made:
            assert client.recv(1, socket.MSG_PEEK)
        return made


class Flood:
    """Connections that send on as fast as they can, and are made again when they end."""

    def __init__(self, port: int, begin: bytes, more: bytes, *, count: int) -> None:
        self._address = "127.0.0.1", port
        self._begin, self._more = begin, more
        self._stopped = threading.Event()
        self._sent = 0
        self._thread = threading.Thread(target=self._run, args=(count,))

    def __enter__(self) -> Flood:
        self._thread.start()
        wait_until(self.is_under_way, "the flood")
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def is_under_way(self) -> bool:
        """Whether something was sent since this was last asked."""
        sent, self._sent = self._sent, 0
        return sent > 0

    def _run(self, count: int) -> None:
        until = time.monotonic() + FLOOD_SECONDS
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                self._connect(selector)
            while not self._stopped.is_set() and time.monotonic() < until:
                for key, _ in selector.select(0.1):
                    self._send(selector, key)
            for key in tuple(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def _connect(self, selector: selectors.BaseSelector) -> None:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(self._address)
        selector.register(client, selectors.EVENT_WRITE, self._begin)

    def _send(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        client = key.fileobj
        assert isinstance(client, socket.socket)
        try:
            self._sent += client.send(key.data)
            selector.modify(client, selectors.EVENT_WRITE, self._more)
        except BlockingIOError:
            return
        except OSError:
            selector.unregister(client)
            client.close()
            self._connect(selector)


def seconds_for_a_probe(service: ServiceProcess) -> float:
    return seconds(lambda: requests.get(f"{service.url}/health", timeout=30))


def seconds(ask: Callable[[], requests.Response]) -> float:
    begun = time.monotonic()
    assert ask().status_code == 200
    return time.monotonic() - begun


def test_connections_on_which_nothing_is_asked_take_no_thread(
    service: ServiceProcess, clients: Clients
) -> None:
    clients.send(b"", 50)
    assert seconds_for_a_probe(service) < AT_ONCE
    assert service.post("beside-silent").status_code == 200


def test_clients_that_keep_a_closed_connection_open_hold_up_nobody(
    service: ServiceProcess, clients: Clients
) -> None:
    asked = clients.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 20)
    for client in asked:
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert seconds_for_a_probe(service) < AT_ONCE


def test_requests_that_never_end_take_no_thread_and_are_told_so(
    service: ServiceProcess, clients: Clients
) -> None:
    in_the_head = clients.send(b"GET /hea", HTTP_THREADS // 2)
    unfinished = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    in_the_body = clients.send(unfinished, HTTP_THREADS // 2)
    assert seconds_for_a_probe(service) < AT_ONCE
    assert {client.recv(13) for client in in_the_head + in_the_body} == {b"HTTP/1.1 408 "}
    assert service.post("afterwards").status_code == 200
    assert "Traceback" not in service.log_tail()


def test_clients_that_do_not_read_take_no_thread_and_are_cut_off(
    service: ServiceProcess, clients: Clients
) -> None:
    stuck = clients.that_do_not_read(HTTP_THREADS + 1)
    assert seconds_for_a_probe(service) < AT_ONCE
    assert service.post("beside-stuck").status_code == 200
    for client in stuck:
        wait_until(lambda client=client: client.is_cut_off(), "the end", 3 * REQUEST_SECONDS)  # type: ignore[misc]


def test_a_client_that_reads_little_by_little_gets_every_answer_whole(
    service: ServiceProcess, clients: Clients
) -> None:
    count, limit = 100, 20_000
    whole = service.get("/openapi.json").content
    [slow] = clients.send(OPENAPI * count, 1, receive_buffer=4096)
    got = bytearray()
    while len(got) < count * len(whole) or got.count(whole) < count:
        piece = slow.recv(limit)
        assert piece, "the connection ended"
        got += piece
    assert got.count(b"HTTP/1.1 200 OK\r\n") == count


@contextmanager
def dripping(slow: list[Client]) -> Iterator[None]:
    """Have each of these connections send a byte about once a second, until it is cut off."""
    stopped = threading.Event()

    def drip() -> None:
        for client in itertools.cycle(slow):
            if stopped.wait(1 / len(slow)):
                return
            with suppress(OSError):
                client.send(b"x", socket.MSG_DONTWAIT)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def events_p99(service: ServiceProcess, run: str) -> float:
    with requests.Session() as session:
        taken = [
            seconds(lambda n=n: service.post(f"{run}-{n}", session=session))  # type: ignore[misc]
            for n in range(100)
        ]
    return sorted(taken)[-2]


def probes(service: ServiceProcess) -> float:
    return statistics.median(seconds_for_a_probe(service) for _ in range(20))


def test_a_request_that_comes_while_another_is_answered_is_not_left_waiting(
    service: ServiceProcess, clients: Clients
) -> None:
    count, left_waiting = 60, 0.25
    [client] = clients.send(b"", 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken = []
    for number in range(count):
        begun = time.monotonic()
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        delay = begun + number * 0.0001
        while time.monotonic() < delay:
            pass
        client.sendall(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while got.count(b"HTTP/1.1 200 OK\r\n") < 2 or not got.endswith(b"\r\n\r\n"):
            piece = client.recv(65_536)
            assert piece, "the connection ended"
            got += piece
        taken.append(time.monotonic() - begun)
    assert sorted(taken)[count * 3 // 4] < left_waiting


def test_hundreds_of_slow_clients_do_not_slow_down_events_and_probes(
    service: ServiceProcess, clients: Clients
) -> None:
    alone = events_p99(service, "alone"), probes(service)
    measured = []
    for number in range(3):  # other tests run beside this one: one quiet round shows it
        clients.that_do_not_read(50)
        slow = clients.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", 200)
        unfinished = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n{"
        slow += clients.send(unfinished, 200)
        with dripping(slow):
            events, health = events_p99(service, f"slow-{number}"), probes(service)
        measured.append((events, health))
        if events < max(0.2, 4 * alone[0]) and health < max(0.05, 4 * alone[1]):
            return
    pytest.fail(f"alone {alone}, beside slow clients {measured}")


@pytest.mark.parametrize("content", [1, 8], ids=["refused", "within the bounds"])
def test_a_flood_of_tiny_chunks_does_not_silence_events_and_probes(
    service: ServiceProcess, content: int
) -> None:
    alone = seconds(lambda: service.post(f"{content}-alone")), probes(service)
    chunks = b"%x\r\n%b\r\n" % (content, b"x" * content) * 600
    with Flood(service.port, CHUNKED_HEAD + chunks, chunks, count=400) as flood:
        for number in range(10):
            post = partial(service.post, f"{content}-{number}")
            assert seconds(post) < max(2.0, 20 * alone[0])
        assert probes(service) < max(0.5, 20 * alone[1])
        assert flood.is_under_way()


def test_where_all_connections_are_taken_who_waited_for_longest_makes_room(
    cluster: ClusterProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--worker-connections 20")
    with (
        ServiceProcess(cluster.kubeconfig, tmp_path, http_threads=HTTP_THREADS) as service,
        ExitStack() as stack,
    ):
        first = Clients(service.port, stack).send(b"GET /hea", 30)
        assert seconds_for_a_probe(service) < AT_ONCE
        assert service.post("in-between").status_code == 200
        with suppress(ConnectionResetError):  # as good an end, with bytes that nobody read
            assert first[0].recv(1) == b""
        assert first[-1].send(b"lth HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_large_bodies_that_do_not_end_hold_a_bounded_part_of_the_memory(
    fresh: ServiceProcess,
) -> None:
    assert fresh.process is not None
    [worker] = psutil.Process(fresh.process.pid).children()
    before = worker.memory_info().rss
    head = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with ExitStack() as stack:
        slow = Clients(fresh.port, stack).send(head + b"x" * 999_999, 100)
        answer = fresh.post("in-between", unknown="x" * 900_000)
        assert answer.status_code == 200
        assert worker.memory_info().rss - before < 80_000_000
        assert slow[0].recv(13) == b"HTTP/1.1 503 "


def test_a_request_that_comes_a_byte_at_a_time_has_no_more_time_than_others(
    service: ServiceProcess, clients: Clients
) -> None:
    dripping = clients.send(b"G", HTTP_THREADS)
    begun = time.monotonic()

    def all_are_told() -> bool:
        for client in dripping:
            client.settimeout(0.05)
            try:
                client.send(b"E")
                told[client] = told.get(client) or client.recv(13)
            except OSError:
                continue  # nothing yet, or given up, as it should be
        return len(told) == HTTP_THREADS

    told: dict[socket.socket, bytes] = {}
    wait_until(all_are_told, "the answers", 2 * REQUEST_SECONDS)
    assert set(told.values()) == {b"HTTP/1.1 408 "}
    assert REQUEST_SECONDS - 0.5 < time.monotonic() - begun < REQUEST_SECONDS + 2 * AT_ONCE
    assert seconds_for_a_probe(service) < AT_ONCE


def test_a_body_far_over_the_limit_is_told_so_before_the_connection_ends(
    service: ServiceProcess,
) -> None:
    for _ in range(5):
        answer = requests.post(f"{service.url}/events", data=b"x" * 8_000_000, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_silent_and_half_sent_connections_do_not_hold_up_the_shutdown(
    fresh: ServiceProcess,
) -> None:
    with ExitStack() as stack:
        clients = Clients(fresh.port, stack)
        clients.send(b"", 10)
        clients.send(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 2)
        wait_until(lambda: fresh.get("/health").ok, "the connections to be taken")
        assert fresh.terminate() < REQUEST_SECONDS + 4
