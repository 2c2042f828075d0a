"""Builds to look at: a believable mix of several tenants, sent for as long as a demo runs.

What goes wrong is set up at the embedded cluster, by the names of Jobs, before anything is sent.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Any, Self

import requests

from lambda_builder.client import Client, ClientError, build_event
from lambda_builder.threads import Background

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Parser:
    """Something that is built again and again."""

    tenant: str
    name: str
    weight: int = 3
    """How often, compared with others."""
    runtime: str = "python3.11"
    priority: str = "normal"


_PARSERS = (
    _Parser("acme", "invoices", 6),
    _Parser("acme", "receipts", 4),
    _Parser("acme", "bank-statements", priority="high"),
    _Parser("globex", "shipping-labels", 5, "nodejs20"),
    _Parser("globex", "customs-forms", 3, "nodejs20"),
    _Parser("globex", "tracking-mails", 2, "nodejs20", "low"),
    _Parser("initech", "tps-reports", 4, "go1.23"),
    _Parser("initech", "timesheets", 2, "go1.23"),
    _Parser("umbrella", "lab-results", 3),
    _Parser("umbrella", "x-ray-images", 1, priority="low"),
)
_FAILURES: tuple[tuple[str, float, str, dict[str, Any]], ...] = (
    (
        "acme-receipts",
        0.25,
        "build",
        {"message": "error building image: waiting for process to exit: exit status 1"},
    ),
    (
        "globex-customs-forms",
        0.3,
        "build",
        {
            "message": "error building image: GET https://index.docker.io/v2/library/node/"
            "manifests/20-slimm: MANIFEST_UNKNOWN: manifest unknown"
        },
    ),
    ("umbrella-x-ray-images", 0.6, "build", {"exit_code": 137, "reason": "OOMKilled"}),
    (
        "initech-tps-reports",
        0.15,
        "fetch",
        {
            "message": "fatal error: An error occurred (404) when calling the HeadObject "
            "operation: Key does not exist"
        },
    ),
    (
        "globex-shipping-labels",
        0.08,
        "",  # what runs at the end: the push
        {"message": "Error: pushing image: UNAUTHORIZED: authentication required"},
    ),
)
"""Beginnings of Job names, how likely their builds fail, in which container, and how."""
_SLOW = ((0.1, 20.0), (0.25, 8.0), (0.4, 3.0))
"""How likely a build runs longer, and by how many seconds."""


def faults() -> list[dict[str, Any]]:
    """Return what goes wrong at the embedded cluster, as it takes it."""
    failing = [
        {
            "kind": "fail",
            "name_prefix": f"build-{prefix}-",
            "probability": probability,
            "container": container or None,
            **how,
        }
        for prefix, probability, container, how in _FAILURES
    ]
    slow = [{"kind": "slow_runs", "probability": p, "seconds": s} for p, s in _SLOW]
    pods = {"kind": "slow_pods", "probability": 0.15, "seconds": 4.0}
    stuck = {"kind": "image_pull", "name_prefix": "build-umbrella-lab-results-", "times": 2}
    return [*failing, *slow, pods, stuck]


class Demo:
    """Sends builds to the service at ``url`` while the ``with`` block runs, ``rate`` a second.

    ``cluster`` is where the embedded cluster is. The service may start later, be full, or go.
    """

    def __init__(self, url: str, cluster: str, rate: float) -> None:
        self._cluster, self._rate = cluster, rate
        self._client = Client(url, patience=0.0, timeout=_TIMEOUT_SECONDS)
        self._rng = random.Random()  # noqa: S311 - a demonstration
        self._thread = Background("demo", self._run, wake=self._client.close)

    def __enter__(self) -> Self:
        answer = requests.post(
            f"{self._cluster}/devcluster/faults", json=faults(), timeout=_TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.stop(_TIMEOUT_SECONDS)

    def _run(self, stopping: Event) -> None:
        # As many customers do: now and then several at once, and pauses in between.
        while not stopping.wait(self._rng.expovariate(self._rate / 2)):
            for _ in range(self._rng.choice((1, 1, 1, 2, 5))):
                with suppress(ClientError):  # not up yet, full or going: the next one, later
                    self._client.send(self._event())

    def _event(self) -> dict[str, Any]:
        (parser,) = self._rng.choices(_PARSERS, [each.weight for each in _PARSERS])
        return build_event(
            parser.name,
            third_party_id=parser.tenant,
            runtime=parser.runtime,
            priority=parser.priority,
            content_hash=f"{self._rng.getrandbits(64):016x}",
            correlation_id=f"{parser.tenant}-{self._rng.randrange(10_000, 100_000)}",
        )
