"""Nothing that can be sent brings an error of ours, stops the service, or harms another's build."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.hostile_requests import Hostile, generate
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

REQUESTS = 300
GOOD_EVERY = 50
ANSWER_SECONDS = 8.0
ALLOWED_503 = {"queue_full", "too_many_waiting", "kubernetes_unavailable"}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def from_gunicorn(self) -> bool:
        """Whether the request was no HTTP, so that the service never saw it."""
        return self.headers["X-Correlation-ID"] is None


@dataclass
class Sender:
    """Sends hostile requests, judges each answer, and keeps count of what was told."""

    port: int
    codes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    queued: int = 0

    def send(self, family: str, hostile: Hostile) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS) as client:
            try:
                client.sendall(hostile.raw)
                if not hostile.whole:
                    client.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before its end, which is what the answer says
            answer = read_answer(client, hostile)
            if answer is not None:
                self.judge(answer)
                if hostile.whole and not must_close(answer, hostile):
                    assert_in_step(client)

    def judge(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.from_gunicorn:
            assert 400 <= answer.status < 500
            return
        problem = "problem+json" in (answer.headers["Content-Type"] or "")
        said = json.loads(answer.body) if problem and answer.body else {}
        if answer.status >= 500:
            assert answer.status == 503
            assert said["code"] in ALLOWED_503
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        elif answer.status >= 400:
            assert problem
        self.codes[said.get("code", "")] += 1
