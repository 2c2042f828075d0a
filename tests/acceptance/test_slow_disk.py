"""A disk that takes its time holds up the events that it has to keep, and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.programs import needs
from tests.waiting import wait_until

pytestmark = needs("strace")

HTTP_THREADS = 4
SYNC_SECONDS = 2.0
RECEIVED = "cloudevents_received_total{"
AT_ONCE = 1.0
"""Seconds: less than one sync, and far more than an answer takes."""


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        journal_path=tmp_path / "journal.sqlite3",
        http_threads=HTTP_THREADS,
        queue_size=1000,
    ) as running:
        yield running


@contextmanager
def slow_syncs(service: ServiceProcess, folder: Path) -> Iterator[None]:
    """Let every sync of the service take ``SYNC_SECONDS`` while the block runs."""
    assert service.process is not None
    [worker] = psutil.Process(service.process.pid).children()
    fault = f"--inject=fdatasync,fsync:delay_enter={int(SYNC_SECONDS * 1e6)}"
    told = folder / "strace"
    with told.open("wb") as file:
        strace = subprocess.Popen(
            [
                "strace",
                "--follow-forks",
                "--trace=fdatasync,fsync",
                fault,
                f"--attach={worker.pid}",
            ],
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_until(lambda: b"attached" in told.read_bytes(), "strace")
        yield
    finally:
        os.kill(strace.pid, signal.SIGINT)
        strace.wait(30)


def received(service: ServiceProcess) -> float:
    """Return how many events have been read."""
    lines = service.get("/metrics").text.splitlines()
    found = (line.rsplit(" ", 1)[1] for line in lines if line.startswith(RECEIVED))
    return sum(map(float, found))


def test_more_events_than_there_are_threads_wait_for_the_disk_and_all_else_is_answered(
    service: ServiceProcess, cluster: ClusterProcess, tmp_path: Path
) -> None:
    count = 10 * HTTP_THREADS
    with ThreadPoolExecutor(count) as pool, slow_syncs(service, tmp_path):
        begun = time.monotonic()
        sent = [pool.submit(service.post, number, timeout=30) for number in range(count)]
        while not any(answer.done() for answer in sent):
            asked = time.monotonic()
            assert service.get("/health").status_code == 200
            assert time.monotonic() - asked < AT_ONCE
        assert {answer.result().status_code for answer in sent} == {200}
        assert time.monotonic() - begun >= SYNC_SECONDS
    wait_until(lambda: len(cluster.jobs_per_event()) == count, "every Job")
    assert set(cluster.jobs_per_event().values()) == {1}


def test_an_event_that_is_sent_again_before_the_disk_has_it_gets_the_answer_of_the_first(
    service: ServiceProcess, cluster: ClusterProcess, tmp_path: Path
) -> None:
    count = 5 * HTTP_THREADS

    def send(_: int) -> requests.Response:
        return service.post("same", timeout=30)

    with ThreadPoolExecutor(count) as pool, slow_syncs(service, tmp_path):
        answers = [answer.json() for answer in pool.map(send, range(count))]
    assert sorted(answer["status"] for answer in answers) == ["duplicate"] * (count - 1) + [
        "queued"
    ]
    assert len({answer["job_name"] for answer in answers}) == 1
    wait_until(lambda: cluster.jobs_per_event() == {"same": 1}, "its Job")


def test_events_that_wait_for_the_disk_leave_connections_to_probes(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    connections = 40
    service = ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        journal_path=tmp_path / "journal.sqlite3",
        http_threads=HTTP_THREADS,
        queue_size=1000,
    )
    service.environment["GUNICORN_CMD_ARGS"] = f"--worker-connections {connections}"
    count = connections - 5
    with (
        service,
        ThreadPoolExecutor(count) as pool,
        slow_syncs(service, tmp_path),
    ):
        sent = [pool.submit(service.post, number, timeout=30) for number in range(count)]
        while not all(answer.done() for answer in sent):
            asked = time.monotonic()
            assert service.get("/health").status_code == 200
            assert time.monotonic() - asked < AT_ONCE
    codes = [answer.result().status_code for answer in sent]
    assert codes.count(200) >= connections // 2
    refused = [answer.result().json() for answer in sent if answer.result().status_code != 200]
    assert {each["code"] for each in refused} <= {"too_many_waiting"}


def test_a_stop_answers_what_waits_for_the_disk(service: ServiceProcess, tmp_path: Path) -> None:
    with ThreadPoolExecutor(10) as pool, slow_syncs(service, tmp_path):
        sent = [pool.submit(service.post, number, timeout=30) for number in range(10)]
        wait_until(lambda: received(service) == 10, "all to have come in")
        service.signal(signal.SIGTERM)
        codes = {answer.result().status_code for answer in sent}
    assert codes <= {200, 503}
    assert service.wait(30) == 0


def test_a_client_that_goes_or_asks_again_meanwhile_disturbs_nobody(
    service: ServiceProcess, cluster: ClusterProcess, tmp_path: Path
) -> None:
    def request(number: int) -> bytes:
        body = b'{"parser_id": "p%d"}' % number
        return (
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Ce-Id: %d\r\nCe-Source: network.notifi.customer\r\nCe-Specversion: 1.0\r\n"
            b"Ce-Type: network.notifi.lambda.build.start\r\nContent-Length: %d\r\n\r\n%b"
        ) % (number, len(body), body)

    with slow_syncs(service, tmp_path):
        gone = socket.create_connection(("127.0.0.1", service.port), 10)
        gone.sendall(request(1))
        with socket.create_connection(("127.0.0.1", service.port), 30) as kept:
            kept.sendall(request(2) + request(3))
            gone.close()
            got = b""
            while got.count(b"HTTP/1.1 200") < 2:
                part = kept.recv(65536)
                assert part, got
                got += part
    assert got.index(b'"event_id":"2"') < got.index(b'"event_id":"3"')
    wait_until(lambda: set(cluster.jobs_per_event()) == {"1", "2", "3"}, "all three Jobs")
