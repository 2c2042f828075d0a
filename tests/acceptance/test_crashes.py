"""kill -9 at any moment: every accepted event has exactly one Job, or a recorded failure."""

from __future__ import annotations

import random
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
import requests

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.journal import SqliteJournal
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

FAULTS = (None, ("latency", 0.05), ("hang", None), ("cut_after", None))
"""The API healthy, slow, away, and losing its answers."""


class Sender(threading.Thread):
    """Sends numbered events, a lost or refused one again, and notes those that were accepted."""

    def __init__(self, service: ServiceProcess, first: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._numbers = iter(range(first, first + 1_000_000))
        self._pause = pause
        self._stopping = threading.Event()
        self.accepted: list[int] = []

    def run(self) -> None:
        number = next(self._numbers)
        with requests.Session() as session:
            while not self._stopping.wait(self._pause):
                try:
                    answer = self._service.post(number, session=session, timeout=5)
                except requests.RequestException:
                    continue  # nobody knows whether it was accepted: it must be sent again
                if answer.status_code == 200:
                    self.accepted.append(number)
                    number = next(self._numbers)

    def stop(self) -> None:
        self._stopping.set()
        self.join(15)


def crash_loop(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    settings = {
        "journal_path": folder / "journal.sqlite3",
        "kube_api_timeout_seconds": 1,
        "max_retries": 50,
        "queue_size": 500,
    }
    with (
        ClusterProcess(folder) as cluster,
        ServiceProcess(cluster.kubeconfig, folder, **settings) as service,
    ):
        senders = [Sender(service, number * 1_000_000, 0.01) for number in range(4)]
        for sender in senders:
            sender.start()
        for kill in range(kills):
            cluster.clear_faults()
            fault = rng.choice(FAULTS)
            if fault is not None:
                cluster.add_fault(fault[0], verb="create", resource="jobs", seconds=fault[1])
            time.sleep(rng.uniform(0.0, 0.8))  # the moment of the kill is what is being tried
            service.kill()
            service.start(ready=kill % 3 == 0)
        cluster.clear_faults()
        wait_until(service.is_ready, "the last start", 20)
        for sender in senders:
            sender.stop()
        accepted = {str(number) for sender in senders for number in sender.accepted}
        assert len(accepted) > kills
        wait_until(
            lambda: service.stats()["queue_size"] == service.stats()["busy_workers"] == 0,
            "the replay to end",
            60,
        )
        jobs = cluster.jobs_per_event()
        dead = service.get("/async-jobs?state=dead&limit=500").json()["items"]
        recorded = {build["event"]["id"] for build in dead}
        lost = accepted - set(jobs) - recorded
        doubled = {number: count for number, count in jobs.items() if count > 1}
        assert not lost, f"{len(lost)} of {len(accepted)} lost: {sorted(lost)[:5]}"
        assert not doubled


def test_no_accepted_event_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path) -> None:
    crash_loop(tmp_path, kills=6, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_thirty_kills_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    crash_loop(tmp_path, kills=30, seed=seed)


def test_event_acknowledged_before_kill_nine_is_built_after_restart(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path) as cluster,
        ServiceProcess(
            cluster.kubeconfig, tmp_path, journal_path=tmp_path / "journal.sqlite3"
        ) as service,
    ):
        cluster.add_fault("hang", verb="create", resource="jobs")
        for number in range(40):
            assert service.post(number).status_code == 200
        service.kill()
        cluster.clear_faults()
        service.start()
        wait_until(lambda: len(cluster.jobs()) == 40, "the Jobs")
        assert set(cluster.jobs_per_event().values()) == {1}


def test_a_build_that_keeps_killing_the_process_is_declared_dead(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path) as cluster,
        ServiceProcess(
            cluster.kubeconfig,
            tmp_path,
            journal_path=tmp_path / "journal.sqlite3",
            max_retries=2,
            kube_api_timeout_seconds=30,
        ) as service,
    ):
        cluster.add_fault(
            "hang", verb="create", resource="jobs", name_prefix="build-customer-parser-bad"
        )
        assert service.post("bad").status_code == 200
        for attempt in range(1, 4):
            wait_until(lambda n=attempt: attempts_begun(service) == n, "the attempt", 20)  # type: ignore[misc]
            service.kill()
            service.start()
        wait_until(lambda: service.stats()["dead_total"] == 1, "the verdict")
        build = service.get("/async-jobs/bad").json()
        assert (build["state"], build["attempts"]) == ("dead", 3)
        assert build["error"]["code"] == "panic"
        assert service.post("good").status_code == 200
        wait_until(lambda: len(cluster.jobs()) == 1, "the good build's Job")


def attempts_begun(service: ServiceProcess) -> int:
    """Count the attempts at the bad build, the one that hangs now included."""
    build = service.get("/async-jobs/bad").json()
    return int(build["attempts"]) if build["state"] == "creating" else 0


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_many_open_builds_do_not_hold_up_the_start(tmp_path: Path, count: int) -> None:
    path = tmp_path / "journal.sqlite3"
    journal = SqliteJournal(path, keep_seconds=3600, keep_max=1000)
    journal.open()
    for first in range(0, count, 5000):
        journal.record([build(number) for number in range(first, first + 5000)])
    journal.close(10)
    with (
        ClusterProcess(tmp_path) as cluster,
        ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=path) as service,
    ):
        assert service.post("new").json()["code"] == "queue_full"
        wait_until(lambda: len(cluster.jobs()) > 200, "the replay to flow", 20)
        numbers = [int(number) for number in cluster.jobs_per_event()]
        assert max(numbers) < 1000
        with ServiceProcess(cluster.kubeconfig, tmp_path) as idle:
            assert start_seconds(service) < 2 * start_seconds(idle) + 1


def start_seconds(service: ServiceProcess) -> float:
    """Return how long the worker took from its fork until the service had started."""
    at = {line["event"].split(" with ")[0]: line["timestamp"] for line in service.log_lines()}
    return moment(at["service_started"]) - moment(at["Booting worker"])


def build(number: int) -> BuildRequest:
    digest = netstring_digest("s", str(number))
    return BuildRequest(
        event_id=str(number),
        event_source="s",
        event_type="network.notifi.lambda.build.start",
        parser_id="p",
        third_party_id="t",
        correlation_id=str(number),
        event_hash=digest,
        job_name=job_name("t", "p", digest),
        event=b'{"specversion":"1.0"}',
    )


def moment(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
