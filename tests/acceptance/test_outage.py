"""The API away, slow or full: work waits, nobody spins, and it flows again without a storm."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.processes import BUILD_TYPE, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

OUTAGE_SECONDS = 9.0


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> ServiceProcess:  # type: ignore[misc]
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        journal_path=tmp_path / "journal.sqlite3",
        queue_size=300,
        kube_api_timeout_seconds=2,
    ) as running:
        yield running


def test_an_outage_costs_no_attempt_is_probed_rarely_and_ends_without_a_storm(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    begun = time.time()
    cluster.go_away(OUTAGE_SECONDS)
    for first in range(0, 300, 100):
        assert post_batch(service, range(first, first + 100)).status_code == 200
    accepted, refused = 300, 0
    with requests.Session() as session:
        for number in range(300, 320):
            answer = service.post(number, session=session)
            accepted += answer.status_code == 200
            refused += answer.status_code == 503
            if answer.status_code == 503:
                assert answer.json()["code"] == "queue_full"
                assert int(answer.headers["Retry-After"]) >= 1
    assert accepted + refused == 320
    assert 300 <= accepted <= 305
    wait_until(lambda: not service.stats()["api_available"], "the outage to be seen")
    probes = float(metric(service, "kubernetes_api_request_duration_seconds_count", "probe"))
    busy = cpu_seconds(service)
    wait_until(lambda: time.time() - begun > OUTAGE_SECONDS - 1, "most of the outage", 30)
    assert service.get("/health").status_code == 200
    assert service.get("/async-jobs/0").json()["state"] in ("queued", "retrying")
    seconds = OUTAGE_SECONDS - 1
    probes = (
        float(metric(service, "kubernetes_api_request_duration_seconds_count", "probe")) - probes
    )
    assert probes <= 2 + seconds / 2, "more probes than one in two seconds"
    assert cpu_seconds(service) - busy < seconds / 4, "the workers spin"
    wait_until(lambda: service.stats()["api_available"], "the API to be found again", 15)
    back = next(r["time"] for r in cluster.requests() if r["time"] > begun)
    wait_until(lambda: len(cluster.jobs()) == accepted, "the backlog to flow", 40)
    stats = service.stats()
    assert stats["dead_total"] == 0
    creates = [r for r in cluster.requests() if r["verb"] == "create" and r["time"] > begun]
    calls = [r["time"] for r in creates]
    assert min(calls) - (begun + OUTAGE_SECONDS) < 5, "the backlog flows within 5 s"
    assert Counter(r["status"] for r in creates)[201] == accepted
    # An answer may take longer than it is waited for: then the next call meets its Job.
    assert {r["status"] for r in creates} <= {201, 409}
    assert len(calls) <= accepted + 3, "calls that were in vain"
    per_second = Counter(int(moment - back) for moment in calls)
    assert per_second[0] < 60, f"a storm in the first second: {dict(per_second)}"


def post_batch(service: ServiceProcess, numbers: range) -> requests.Response:
    """Send many events at once: one by one they outlast the outage on a busy machine."""
    events = [
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "network.notifi.customer",
            "type": BUILD_TYPE,
            "data": {"parser_id": f"parser-{number}"},
        }
        for number in numbers
    ]
    return requests.post(
        f"{service.url}/events",
        json=events,
        headers={"Content-Type": "application/cloudevents-batch+json"},
        timeout=10,
    )


def metric(service: ServiceProcess, name: str, operation: str) -> float:
    text = service.get("/metrics").text
    found = [
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith(f"{name}{{") and f'operation="{operation}"' in line
    ]
    return sum(found)


def cpu_seconds(service: ServiceProcess) -> float:
    text = service.get("/metrics").text
    line = next(x for x in text.splitlines() if x.startswith("process_cpu_seconds_total"))
    return float(line.rsplit(" ", 1)[1])


def test_throttling_by_the_api_holds_all_calls_for_its_retry_after(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    cluster.add_fault("status", verb="create", resource="jobs", status=429, retry_after=2, times=5)
    with requests.Session() as session:
        for number in range(40):
            assert service.post(number, session=session).status_code == 200
    wait_until(lambda: len(cluster.jobs()) == 40, "the Jobs", 30)
    creates = [r for r in cluster.requests() if r["verb"] == "create"]
    throttled = [r["time"] for r in creates if r["status"] == 429]
    after = [r["time"] for r in creates if r["time"] > throttled[-1] and r["status"] != 429]
    assert min(after) - throttled[-1] >= 1.9
    assert service.stats()["dead_total"] == 0
