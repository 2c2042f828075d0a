"""Nothing that can be sent brings an error of ours, stops the service, or harms another's build."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hostile import generate
from tests.hostile.messages import Hostile
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

REQUESTS = 600
GOOD_EVERY = 50
ANSWER_SECONDS = 8.0
ALLOWED_503 = {"queue_full", "too_many_waiting"}
INTAKE_CODES = {
    *("invalid_event", "invalid_data", "invalid_batch", "unsupported_event_type"),
    *("unsupported_format", "body_too_large", "queue_full"),
}
SETTINGS: list[dict[str, object]] = [
    {},
    {"strict_cloudevents": True, "queue_discipline": "fair"},
    {"journal_path": "journal.sqlite3", "duplicate_policy": "skip"},
]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class Sender:
    """Sends hostile requests, judges each answer, and keeps count of what was told."""

    port: int
    codes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    accepted: int = 0
    in_step: int = 0

    def send(self, hostile: Hostile) -> None:
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS) as client:
            try:
                client.sendall(hostile.raw)
                if not hostile.whole:
                    client.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before its end, which is what the answer says
            answer = read_answer(client, hostile.raw.partition(b" ")[0].decode("latin-1"))
            if answer is None:
                assert not hostile.whole, "no answer"
                return
            self.judge(answer)
            if hostile.whole and answer.headers["Connection"] != "close":
                self.go_on(client)

    def judge(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        assert answer.headers["X-Correlation-ID"]
        is_json = answer.body and "json" in answer.headers["Content-Type"]
        said = json.loads(answer.body) if is_json else {}
        if answer.status >= 500 and answer.status != http.HTTPStatus.NOT_IMPLEMENTED:
            assert (answer.status, said["code"] in ALLOWED_503) == (503, True)
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        if answer.status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            self.codes[said["code"] if answer.body else ""] += 1  # HEAD has none
        self.accepted += sum(
            receipt.get("status") in ("queued", "skipped")
            for receipt in said.get("results", [said])
        )

    def go_on(self, client: socket.socket) -> None:
        """Use the connection again: no rest of what was sent before may be taken for a request.

        The server may close it, and must where it is not sure where the next request begins.
        """
        try:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return
        answer = read_answer(client, "GET")
        if answer is not None and answer.headers["Connection"] != "close":
            assert (answer.status, answer.body) == (200, b"ok")
            self.in_step += 1


def read_answer(client: socket.socket, method: str) -> Answer | None:
    """Return the answer; None where the connection was closed instead of one."""
    response = http.client.HTTPResponse(client, method=method)
    try:
        response.begin()
        return Answer(response.status, response.headers, response.read())
    except ConnectionResetError:
        return None
    finally:
        response.close()


@pytest.fixture(params=range(len(SETTINGS)))
def seed(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen


@pytest.fixture
def attacked(cluster: ClusterProcess, tmp_path: Path, seed: int) -> Iterator[ServiceProcess]:
    settings = dict(SETTINGS[seed])
    if "journal_path" in settings:
        settings["journal_path"] = tmp_path / "journal.sqlite3"
    with ServiceProcess(cluster.kubeconfig, tmp_path, **settings) as running:
        yield running


def test_no_request_brings_an_error_of_ours_or_stops_later_builds(
    cluster: ClusterProcess, attacked: ServiceProcess, seed: int
) -> None:
    sender = Sender(attacked.port)
    good = 0
    for number, (family, hostile) in enumerate(islice(generate(random.Random(seed)), REQUESTS), 1):
        try:
            sender.send(hostile)
        except Exception as error:  # noqa: BLE001 - told with the request that caused it
            pytest.fail(
                f"seed {seed}, request {number}, {family}: {error!r}\n{hostile.raw[:2000]!r}"
            )
        if number % GOOD_EVERY == 0:
            good += 1
            build_in_between(cluster, attacked, f"good-{good}")
    wait_until(lambda: is_drained(attacked.stats()), "the queue to drain", 20)
    check_counts(attacked, sender, good)
    check_log(attacked)


def build_in_between(cluster: ClusterProcess, service: ServiceProcess, name: str) -> None:
    """Send a good event and wait for its Job."""
    wait_until(lambda: is_drained(service.stats()), "room in the queue", 20)
    answer = service.post(name, parser_id=name)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: cluster.jobs_per_event()[name] == 1, f"the Job of {name}")


def is_drained(stats: dict[str, Any]) -> bool:
    return stats["queue_size"] == stats["busy_workers"] == 0


def check_counts(service: ServiceProcess, sender: Sender, good: int) -> None:
    """What the service counted is what its answers said."""
    stats = service.stats()
    assert stats["accepted_total"] == sender.accepted + good
    assert stats["worker_count"] >= 5
    assert stats["dead_total"] == stats["panics_total"] == 0
    metrics = service.get("/metrics").text
    rejected = re.findall(r'^cloudevents_rejected_total\{code="(\w+)"\} (\S+)', metrics, re.M)
    told = {code: count for code, count in sender.codes.items() if code in INTAKE_CODES}
    assert {code: float(n) for code, n in rejected if code in told} == told
    assert len(told) >= 5, sender.codes
    assert "hostile" not in metrics, "a label has a value from outside"
    assert sender.in_step > REQUESTS / 3
    assert sender.accepted > REQUESTS / 10


def check_log(service: ServiceProcess) -> None:
    """Nothing crashed, and no line is larger than a line should be."""
    text = service.log_path.read_text(errors="replace")
    assert "Traceback" not in text
    assert '"exception"' not in text
    assert text.count("Booting worker") == 1
    lines = service.log_lines()
    assert not {"worker_panic", "request_crashed"} & {line["event"] for line in lines}
    assert requests.get(f"{service.url}/ready", timeout=5).status_code == 200
    assert max(map(len, text.splitlines())) < 20_000
