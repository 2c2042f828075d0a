"""Two replicas with a journal each: what they share is the Kubernetes API, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.http_sink import HttpSink
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


@pytest.fixture
def replicas(
    cluster: ClusterProcess, tmp_path: Path
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    with (
        ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=tmp_path / "a.sqlite3") as first,
        ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=tmp_path / "b.sqlite3") as second,
    ):
        yield first, second


def built_or_known(replica: ServiceProcess) -> int:
    """Count events whose Job the replica met when it made it, or knew by its watch beforehand."""
    stats = replica.stats()
    return int(stats["created_total"] + stats["duplicates_total"])


def test_one_event_delivered_twenty_times_to_two_replicas_makes_one_job(
    cluster: ClusterProcess, replicas: tuple[ServiceProcess, ServiceProcess]
) -> None:
    def deliver(number: int) -> str:
        answer = replicas[number % 2].post("one")
        assert answer.status_code == 200
        name: str = answer.json()["job_name"]
        return name

    with ThreadPoolExecutor(20) as pool:
        names = set(pool.map(deliver, range(20)))
    wait_until(lambda: all(r.stats()["queue_size"] == 0 for r in replicas), "both to be done")
    wait_until(lambda: len(cluster.jobs()) == 1, "the Job")
    assert {job["metadata"]["name"] for job in cluster.jobs()} == names
    for replica in replicas:
        wait_until(lambda r=replica: built_or_known(r) == 10, "its outcomes")  # type: ignore[misc]
        assert replica.stats()["dead_total"] == 0


def test_redeliveries_to_the_other_replica_and_across_restarts_meet_the_same_jobs(
    cluster: ClusterProcess, replicas: tuple[ServiceProcess, ServiceProcess]
) -> None:
    first, second = replicas
    names = [first.post(number).json()["job_name"] for number in range(30)]
    wait_until(lambda: len(cluster.jobs()) == 30, "the Jobs")
    # What is not in the file yet when the process is killed is rightly tried again.
    wait_until(lambda: "\njournal_open_builds 0.0" in first.get("/metrics").text, "the outcomes")
    first.kill()
    first.start()
    for replica in replicas:
        assert [replica.post(number).json()["job_name"] for number in range(30)] == names
    wait_until(lambda: built_or_known(second) == 30, "the other's outcomes")
    assert first.stats()["accepted_total"] == 0
    assert first.stats()["duplicates_total"] == 30
    assert len(cluster.jobs()) == 30


def test_any_replica_answers_for_a_build_that_has_a_job(
    cluster: ClusterProcess, replicas: tuple[ServiceProcess, ServiceProcess]
) -> None:
    first, second = replicas
    name = first.post("far", correlation_id="from far").json()["job_name"]
    wait_until(lambda: len(cluster.jobs()) == 1, "the Job")
    for build_id in (name, "from far"):
        build = second.get(f"/async-jobs/{build_id}").json()
        assert build["job_name"] == name
        assert build["event"]["id"] == "far"
        assert build["correlation_id"] == "from far"
        assert build["state"] in ("created", "running", "succeeded")
    assert second.get("/async-jobs/nobody").status_code == 404


def test_a_second_process_on_one_journal_refuses_to_boot_and_says_who_holds_it(
    cluster: ClusterProcess, replicas: tuple[ServiceProcess, ServiceProcess], tmp_path: Path
) -> None:
    intruder = ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=tmp_path / "a.sqlite3")
    try:
        intruder.start(ready=False)
        assert intruder.wait(20) == 4
    finally:
        intruder.kill()
    assert "a.sqlite3" in intruder.log_tail()
    assert "held by" in intruder.log_tail() or "pid" in intruder.log_tail()
    assert "Traceback" not in intruder.log_tail()
    assert replicas[0].post("still serving").status_code == 200


def test_a_rolling_update_with_hand_off_to_the_broker_loses_and_doubles_nothing(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    broker = HttpSink()
    try:
        with (
            replica(
                cluster,
                tmp_path,
                "old",
                handoff_url=broker.url,
                drain_seconds=1,
                worker_count_max=5,
            ) as old,
            replica(cluster, tmp_path, "new", queue_size=500) as new,
        ):
            broker.forward_to = f"{new.url}/events"
            cluster.add_fault("latency", verb="create", resource="jobs", seconds=1)
            for number in range(80):
                assert old.post(number).status_code == 200
            assert old.terminate() < 15
            (tmp_path / "old.sqlite3").unlink()  # as an emptyDir goes with its pod
            assert len(broker.events) > 40
            cluster.clear_faults()
            wait_until(lambda: len(cluster.jobs()) == 80, "every build's Job", 30)
            wait_until(lambda: new.stats()["queue_size"] == 0, "the new one to be done")
            jobs = cluster.jobs_per_event()
            assert set(jobs) == {str(number) for number in range(80)}
            assert set(jobs.values()) == {1}
    finally:
        broker.close()


def replica(cluster: ClusterProcess, folder: Path, name: str, **settings: object) -> ServiceProcess:
    return ServiceProcess(
        cluster.kubeconfig, folder, journal_path=folder / f"{name}.sqlite3", **settings
    )


def test_a_rolling_update_under_load_loses_and_doubles_nothing(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    accepted: list[int] = []
    with ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=tmp_path / "0.sqlite3") as old:
        current = [old]
        for generation in range(1, 3):
            cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.05)
            base = generation * 1000
            for number in range(base, base + 60):
                if current[-1].post(number).status_code == 200:
                    accepted.append(number)
            new = ServiceProcess(
                cluster.kubeconfig, tmp_path, journal_path=tmp_path / f"{generation}.sqlite3"
            )
            new.start()
            assert current[-1].terminate() < 30
            current.append(new)
            cluster.clear_faults()
        assert current[-1].terminate() < 30
    assert len(accepted) == 120
    jobs = cluster.jobs_per_event()
    assert set(jobs) == {str(number) for number in accepted}
    assert set(jobs.values()) == {1}
