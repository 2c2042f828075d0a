"""Secrets that are planted wherever there may be some come out nowhere."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.processes import ROOT, ClusterProcess, ServiceProcess, free_port
from tests.waiting import wait_until

CANARY = "canary"
"""Part of each secret; none of it may be seen."""
RECEIVER = "http://user:canary-password@127.0.0.1:{port}/canary-path?token=canary-query"
BEARER = {"Authorization": "Bearer canary-bearer", "Cookie": "session=canary-cookie"}
BROKEN = [
    b"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization Bearer canary-no-colon\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer canary-space\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n canary-folded\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary-\x00NUL\r\n\r\n",
    b"GET http://user:canary-userinfo@x/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'{"build_args": {"TOKEN": "canary-not-in-chunks"}}\r\n0\r\n\r\n',
]
DATA = [
    {"parser_id": "p", "build_args": {"TOKEN": "canary-argument"}},
    {"parser_id": "q", "build_args": {"TOKEN": "canary-second-argument"}},
    {"parser_id": "p", "build_args": {"TOKEN": ["canary-list"]}},
    {"parser_id": 1, "build_args": {"TOKEN": "canary-refused"}, "password": "canary-unknown"},
    {"parser_id": "p", "priority": "canary-priority"},
]


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service that has secrets in each setting that may have some, and nobody to send to."""
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in kubeconfig["users"]:
        user["user"] = {"token": "canary-kubeconfig"}
    cluster.kubeconfig.write_text(yaml.safe_dump(kubeconfig))
    receiver = RECEIVER.format(port=free_port())
    settings = {"sink_url": receiver, "dead_letter_url": receiver, "handoff_url": receiver}
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        **settings,
        journal_path=tmp_path / "journal.sqlite3",
        max_retries=0,
        log_level="debug",
    ) as running:
        yield running


def test_no_secret_comes_out_in_logs_answers_metrics_or_check_config(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    cluster.add_fault("status", status=422, verb="create", resource="jobs", times=1)
    said = [*told_of_events(service), *told_of_what_is_broken(service)]
    wait_until(lambda: "Connection refused" in service.log_path.read_text(), "a failed delivery")
    wait_until(lambda: service.stats()["dead_total"] == 1, "a build that gets no Job")
    wait_until(lambda: service.stats()["created_total"] == 1, "a build that gets one")
    said += [
        service.get(path).text
        for path in (
            *("/async-jobs", "/async-jobs/stats", "/metrics", "/events/rejected"),
            *("/async-jobs/event-0", "/openapi.json"),
        )
    ]
    service.terminate()
    # The path is shown to who has set it, since it tells one broker from another.
    said += [service.log_path.read_text(), configuration(service).replace("/canary-path", "")]
    for text in said:
        assert CANARY not in text.lower()
    assert "://***@" in said[-1]


def told_of_events(service: ServiceProcess) -> Iterator[str]:
    for number, data in enumerate(DATA):
        head = {
            **BEARER,
            "Ce-Id": f"event-{number}",
            "Ce-Source": "s",
            "Ce-Type": "network.notifi.lambda.build.start",
            "Content-Type": "application/json",
        }
        body = json.dumps(data)
        for sent in (body, body[:-1]):
            answer = requests.post(f"{service.url}/events", sent, headers=head, timeout=10)
            yield f"{answer.headers} {answer.text}"


def told_of_what_is_broken(service: ServiceProcess) -> Iterator[str]:
    for raw in BROKEN:
        with socket.create_connection(("127.0.0.1", service.port), 10) as client:
            client.sendall(raw)
            answer = client.makefile("rb").read().decode()
        assert answer.startswith("HTTP/1.1 400 ")
        yield answer


def configuration(service: ServiceProcess) -> str:
    """Return all that ``check-config`` says of the service's settings."""
    return subprocess.run(
        [sys.executable, "-m", "lambda_builder.cli", "check-config"],
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
