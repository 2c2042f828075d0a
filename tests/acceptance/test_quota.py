"""A namespace whose quota of Jobs is full: builds wait for room at their places, for few calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

ROOM, WAITING = 5, 50
NAMESPACE = "knative-lambda"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path, "--run-seconds", "600", "--pending-seconds", "0") as running:
        quota = {"metadata": {"name": "builds"}, "spec": {"hard": {"count/jobs.batch": str(ROOM)}}}
        path = f"{running.url}/api/v1/namespaces/{NAMESPACE}/resourcequotas"
        requests.post(path, json=quota, timeout=10).raise_for_status()
        yield running


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(cluster.kubeconfig, tmp_path, max_retries=2) as running:
        yield running


@pytest.mark.parametrize(
    ("seconds", "calls"), [(6.0, 15), pytest.param(60.0, 40, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(300)
def test_builds_wait_for_a_full_quota_in_order_with_few_calls_and_all_their_attempts(
    cluster: ClusterProcess, service: ServiceProcess, seconds: float, calls: int
) -> None:
    for number in range(ROOM):
        service.post(number)
    wait_until(lambda: len(cluster.jobs()) == ROOM, "the quota to be full")
    begun, before = time.monotonic(), creations(cluster)
    for number in range(ROOM, ROOM + WAITING):
        assert service.post(number).status_code == 200
    wait_until(lambda: time.monotonic() - begun > seconds, "the quota to be full for long", 90)
    assert creations(cluster) - before < calls
    stats = service.stats()
    assert (stats["dead_total"], stats["created_total"]) == (0, ROOM)
    assert stats["capacity_blocked"] >= WAITING - 1
    assert waiting(service) == [f"{number}" for number in range(ROOM, ROOM + WAITING)]

    order = let_in_one_at_a_time(cluster)
    assert order == [f"{number}" for number in range(ROOM + WAITING)]
    assert service.stats()["dead_total"] == 0
    listed = service.get("/async-jobs?limit=500").json()["items"]
    assert {build["attempts"] for build in listed} == {1}
    assert len(listed) == ROOM + WAITING


def let_in_one_at_a_time(cluster: ClusterProcess) -> list[str]:
    """Delete a Job, wait for the one that takes its place, and so on; returns the events' order."""
    order: list[str] = []
    jobs: dict[str, str] = {}
    while len(order) < ROOM + WAITING:
        left = ROOM + WAITING - len(order)
        wait_until(lambda: len(cluster.jobs()) == min(ROOM, left), "room to be used", 60)  # noqa: B023
        if order and left > ROOM:
            # The next has been refused: room that is always there lets many try at once.
            wait_until(lambda: creations(cluster) >= tried + 2, "the next to be refused", 60)  # noqa: B023
        tried = creations(cluster)
        for job in cluster.jobs():
            event = job["metadata"]["annotations"]["build.notifi.network/event-id"]
            if event not in order and event not in jobs:
                jobs[event] = job["metadata"]["name"]
        event, name = next(iter(jobs.items()))
        del jobs[event]
        order.append(event)
        path = f"{cluster.url}/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}"
        requests.delete(path, timeout=10).raise_for_status()
    return order


def creations(cluster: ClusterProcess) -> int:
    return sum(r["verb"] == "create" and r["resource"] == "jobs" for r in cluster.requests())


def waiting(service: ServiceProcess) -> list[str]:
    """Return the correlation IDs of what waits, by its place in the queue."""
    listed = service.get("/async-jobs?state=queued&state=retrying&state=creating&limit=500").json()
    placed = {build["position"]: build["correlation_id"] for build in listed["items"]}
    # Now and then one of them is being tried, and has no place.
    held = [placed.pop(None)] if None in placed else []
    assert sorted(placed) == [*range(1, len(placed) + 1)]
    return held + [placed[place] for place in sorted(placed)]
