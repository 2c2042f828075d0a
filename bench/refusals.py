"""What comes through an API that answers 429 at random, and asks for a second each time."""

from __future__ import annotations

import time
from typing import Any

from bench.load import Load
from bench.report import Report, at_least, below
from bench.setup import WAIT_SECONDS, Scale, cluster, metric, service, wait_until_idle
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

REFUSED = 0.05
"""Of all calls that create a Job."""
LATENCY_SECONDS = 0.02
WORKERS = 20
_CALLS = "kubernetes_api_request_duration_seconds_count{code="


def measure(report: Report, scale: Scale) -> None:
    """Measure with refusals and without, in turns."""
    report.section(f"429 with Retry-After: 1 to {REFUSED:.0%} of the calls that create a Job")
    count, kept, useful, calls = scale.of(1_000, 40), [], [], []
    pool: dict[str, Any] = {"worker_count": WORKERS, "worker_count_max": WORKERS}
    with (
        cluster() as api,
        service(api, queue_size=1_000_000, max_retries=20, **pool) as running,
    ):
        for _ in scale.rounds:
            free = _jobs_a_second(api, running, count, refused=0)
            before = _counted(running)
            useful.append(_jobs_a_second(api, running, count, refused=REFUSED))
            made, refused = (a - b for a, b in zip(_counted(running), before, strict=True))
            calls.append(refused / (made + refused) * 100)
            kept.append(useful[-1] / (free * (1 - REFUSED)))
    report.row("Jobs/s", useful)
    report.row("of what the API admits", kept, digits=2, target=at_least(0.9))
    report.row("refused calls", calls, "%", digits=1, target=below(10))


def _jobs_a_second(
    api: ClusterProcess, running: ServiceProcess, count: int, *, refused: float
) -> float:
    """Return the Jobs a second from the first to nine tenths: the last wait as they are told to."""
    api.clear_faults()
    api.add_fault("latency", verb="create", resource="jobs", seconds=LATENCY_SECONDS)
    if refused:
        fault = {"verb": "create", "resource": "jobs", "status": 429, "probability": refused}
        api.add_fault("status", **fault)
    before = running.stats()["created_total"]
    load = Load.run(running.url, count=count)

    def most_are_made() -> bool:
        return bool(running.stats()["created_total"] - before >= 0.9 * count)

    wait_until(most_are_made, "most of the Jobs", WAIT_SECONDS, every=0.02)
    seconds = time.time() - load.begun_at
    wait_until_idle(running)
    return 0.9 * count / seconds


def _counted(running: ServiceProcess) -> tuple[float, float]:
    return tuple(metric(running, f'{_CALLS}"{code}",operation="create_job"') for code in (201, 429))  # type: ignore[return-value]
