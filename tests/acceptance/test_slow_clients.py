"""Clients that stop in the middle of things hold up nobody but themselves."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

HTTP_THREADS = 4
AT_ONCE = 1.0
"""Seconds: far more than an answer takes, far less than any of the service's patience."""
REQUEST_SECONDS = 5.0


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(cluster.kubeconfig, tmp_path, http_threads=HTTP_THREADS) as running:
        yield running


@pytest.fixture
def clients(service: ServiceProcess) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(service.port, stack)


class Clients:
    """Many connections that have sent the same bytes; closed at the end."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def send(self, raw: bytes, count: int) -> list[socket.socket]:
        made = [
            self._stack.enter_context(socket.create_connection(("127.0.0.1", self._port), 15))
            for _ in range(count)
        ]
        for client in made:
            client.sendall(raw)
        return made


def seconds_for_a_probe(service: ServiceProcess) -> float:
    begun = time.monotonic()
    assert requests.get(f"{service.url}/health", timeout=30).text == "ok"
    return time.monotonic() - begun


def test_connections_on_which_nothing_is_asked_take_no_thread(
    service: ServiceProcess, clients: Clients
) -> None:
    clients.send(b"", 50)
    assert seconds_for_a_probe(service) < AT_ONCE
    assert service.post("in-between").status_code == 200


def test_clients_that_keep_a_closed_connection_open_hold_up_nobody(
    service: ServiceProcess, clients: Clients
) -> None:
    asked = clients.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 20)
    for client in asked:
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert seconds_for_a_probe(service) < AT_ONCE


def test_requests_that_never_end_give_their_threads_back(
    service: ServiceProcess, clients: Clients
) -> None:
    in_the_head = clients.send(b"GET /hea", HTTP_THREADS // 2)
    unfinished = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    in_the_body = clients.send(unfinished, HTTP_THREADS // 2)
    assert seconds_for_a_probe(service) < REQUEST_SECONDS + AT_ONCE
    assert seconds_for_a_probe(service) < AT_ONCE
    assert {client.recv(15) for client in in_the_head} == {b""}
    assert {client.recv(13) for client in in_the_body} == {b"HTTP/1.1 400 "}
    assert service.post("afterwards").status_code == 200
    assert "Traceback" not in service.log_tail()


def test_a_request_that_comes_a_byte_at_a_time_has_no_more_time_than_others(
    service: ServiceProcess, clients: Clients
) -> None:
    dripping = clients.send(b"G", HTTP_THREADS)
    begun = time.monotonic()
    probe = clients.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 1)[0]
    probe.settimeout(0.25)

    def answered() -> bool:
        for client in dripping:
            try:
                client.send(b"E")
            except OSError:
                continue  # given up, as it should be
        try:
            return probe.recv(15) == b"HTTP/1.1 200 OK"
        except TimeoutError:
            return False

    wait_until(answered, "the probe's answer", 2 * REQUEST_SECONDS)
    assert time.monotonic() - begun < REQUEST_SECONDS + 2 * AT_ONCE


def test_a_body_far_over_the_limit_is_told_so_before_the_connection_ends(
    service: ServiceProcess,
) -> None:
    for _ in range(5):
        answer = requests.post(f"{service.url}/events", data=b"x" * 8_000_000, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_silent_and_half_sent_connections_do_not_hold_up_the_shutdown(
    service: ServiceProcess, clients: Clients
) -> None:
    clients.send(b"", 10)
    clients.send(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 2)
    wait_until(lambda: service.get("/health").ok, "the connections to be taken")
    assert service.terminate() < REQUEST_SECONDS + 4
