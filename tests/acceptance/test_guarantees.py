"""What each mode cannot promise, and what the sender's patience adds: docs/delivery.rst."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


def built_and_waiting(cluster: ClusterProcess, service: ServiceProcess) -> None:
    """Have one build with a Job, and five accepted ones that hang before theirs."""
    assert service.post("built").status_code == 200
    wait_until(lambda: len(cluster.jobs()) == 1, "the first Job")
    cluster.add_fault("hang", verb="create", resource="jobs")
    for number in range(5):
        assert service.post(number).status_code == 200


def test_without_a_journal_a_kill_loses_what_waited_and_nothing_else(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    built_and_waiting(cluster, service)
    service.kill()
    cluster.clear_faults()
    service.start()
    assert service.stats()["accepted_total"] == 0
    assert service.post("built").status_code == 200
    assert service.post(0).json()["status"] == "queued"
    wait_until(lambda: set(cluster.jobs_per_event()) == {"built", "0"}, "the one sent again")
    assert set(cluster.jobs_per_event().values()) == {1}


def test_a_journal_that_goes_with_its_node_loses_what_waited_and_nothing_else(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "emptydir"
    with ServiceProcess(
        cluster.kubeconfig, tmp_path, journal_path=folder / "journal.sqlite3"
    ) as service:
        built_and_waiting(cluster, service)
        service.kill()
        for file in folder.iterdir():
            file.unlink()
        cluster.clear_faults()
        service.start()
        assert service.stats()["accepted_total"] == 0
        assert service.post("built").status_code == 200
        assert service.post(0).status_code == 200
        wait_until(lambda: set(cluster.jobs_per_event()) == {"built", "0"}, "the one sent again")
        assert set(cluster.jobs_per_event().values()) == {1}


def test_a_sender_that_waits_for_creation_is_not_answered_by_a_killed_pod_and_sends_again(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(cluster.kubeconfig, tmp_path, ack="created") as service:
        cluster.add_fault("hang_after", verb="create", resource="jobs")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(service.post, 1, timeout=30)
            wait_until(lambda: len(cluster.jobs()) == 1, "the Job that nobody heard of")
            service.kill()
            with pytest.raises(requests.ConnectionError):
                answer.result()
        cluster.clear_faults()
        service.start()
        again = service.post(1)
        assert again.status_code == 200
        assert [j["metadata"]["name"] for j in cluster.jobs()] == [again.json()["job_name"]]
