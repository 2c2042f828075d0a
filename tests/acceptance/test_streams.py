"""Followers of logs: few at a time, and none takes a thread that others need."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

STREAMS_MAX = 3
HTTP_THREADS = 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "60", "--pending-seconds", "0.05") as cluster,
        ServiceProcess(
            cluster.kubeconfig, tmp_path, http_threads=HTTP_THREADS, streams_max=STREAMS_MAX
        ) as running,
    ):
        assert running.post("followed").status_code == 200
        wait_until(lambda: state(running) == "running", "the build to run")
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def state(service: ServiceProcess) -> str:
    found: str = service.get("/async-jobs/followed").json()["state"]
    return found


def follow(service: ServiceProcess, stack: ExitStack) -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10))
    client.sendall(b"GET /async-jobs/followed/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
    return client


def test_followers_leave_every_thread_to_others(service: ServiceProcess, stack: ExitStack) -> None:
    for _ in range(STREAMS_MAX):
        assert follow(service, stack).recv(15) == b"HTTP/1.1 200 OK"
    with ThreadPoolExecutor(HTTP_THREADS) as pool:
        reads = [pool.submit(service.get, "/async-jobs/followed") for _ in range(20)]
        assert {read.result(30).status_code for read in reads} == {200}
    assert service.post("in-between").status_code == 200


def test_one_stream_too_many_is_told_so_and_a_place_comes_back(
    service: ServiceProcess, stack: ExitStack
) -> None:
    followers = [follow(service, stack) for _ in range(STREAMS_MAX)]
    for follower in followers:
        assert follower.recv(15) == b"HTTP/1.1 200 OK"
    refused = service.get("/async-jobs/followed/logs?follow=true")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    assert int(refused.headers["Retry-After"]) >= 1
    followers[0].close()

    def is_taken() -> bool:
        with ExitStack() as tried:
            return b" 200 " in follow(service, tried).recv(15)

    wait_until(is_taken, "the place of who has gone")


def test_a_stream_is_followed_by_the_next_request_of_its_connection(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(cluster.kubeconfig, tmp_path) as service, requests.Session() as session:
        assert service.post("short").status_code == 200
        url = f"{service.url}/async-jobs/short"
        wait_until(lambda: session.get(url).json()["state"] == "succeeded", "the build")
        for _ in range(3):
            log = session.get(f"{url}/logs", timeout=10)
            assert (log.status_code, log.headers["Connection"]) == (200, "keep-alive")
            assert log.text
            assert session.get(url, timeout=10).json()["state"] == "succeeded"


def test_a_shutdown_ends_the_streams(service: ServiceProcess, stack: ExitStack) -> None:
    followers = [follow(service, stack) for _ in range(STREAMS_MAX)]
    for follower in followers:
        assert follower.recv(15) == b"HTTP/1.1 200 OK"
    service.signal(signal.SIGTERM)
    assert service.wait(15) == 0
    for follower in followers:
        while follower.recv(65_536):
            pass
