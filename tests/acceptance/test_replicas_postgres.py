"""Replicas that share a journal in PostgreSQL: what becomes of builds when one of them is lost,
sleeps, or the database goes.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.postgres_server import PostgresServer, running
from tests.processes import ClusterProcess, ServiceProcess
from tests.replicas import (
    BACK_SECONDS,
    LEASE_SECONDS,
    Load,
    Trouble,
    check_built,
    running_replicas,
    wait_until_idle,
)
from tests.waiting import wait_until

SLOW = {"verb": "create", "resource": "jobs", "seconds": 0.3}


@pytest.fixture
def database(postgres_files: Path) -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with running(postgres_files) as server:
        yield server


def log_events(replica: ServiceProcess) -> set[str]:
    return {line["event"] for line in replica.log_lines()}


def test_builds_of_a_replica_that_is_killed_for_ever_under_load_are_made_by_the_other_in_time(
    cluster: ClusterProcess, tmp_path: Path, postgres_url: str
) -> None:
    cluster.add_fault("latency", **SLOW)
    with running_replicas(2, cluster, tmp_path, postgres_url) as (lost, heir):
        with Load([lost, heir]) as load:
            wait_until(lambda: lost.stats()["queue_size"] > 30, "builds to wait", 20)
            lost.kill()
            killed_at = time.monotonic()
            cluster.clear_faults()
        left = killed_at + LEASE_SECONDS + 5 - time.monotonic()
        check_built(cluster, load.accepted, within=left)
        wait_until_idle([heir])
        assert "builds_taken_over" in log_events(heir)


def test_a_replica_that_slept_past_its_lease_undoes_nothing_of_what_its_heir_did(
    cluster: ClusterProcess, tmp_path: Path, postgres_url: str
) -> None:
    held = {"kind": "hang", "verb": "create", "resource": "jobs"}
    cluster.add_fault(**held)
    with running_replicas(2, cluster, tmp_path, postgres_url) as (sleeper, heir):
        accepted = {*map(str, range(40)), "back"}
        for number in sorted(accepted, reverse=True):
            assert sleeper.post(number).status_code == 200
        wait_until(lambda: sleeper.stats()["busy_workers"] == 2, "attempts under way")
        with sleeper.paused():
            cluster.clear_faults()
            cluster.add_fault(**held, name_prefix="build-customer-parser-back")
            check_built(cluster, accepted, within=LEASE_SECONDS + 5, but={"back"})
            assert heir.delete("/async-jobs/back").json()["state"] == "cancelled"
            cluster.clear_faults()
        wait_until(lambda: "lease_lost" in log_events(sleeper), "it to notice")
        wait_until_idle([sleeper, heir])
        check_built(cluster, accepted, within=5, but={"back"})
        for each in (sleeper, heir):
            wait_until(lambda r=each: state_of(r, "back") == "cancelled", "what is known of it")  # type: ignore[misc]
        assert sleeper.post("after").status_code == 200
        check_built(cluster, accepted | {"after"}, within=5, but={"back"})


def state_of(replica: ServiceProcess, build_id: str) -> str | None:
    found: str | None = replica.get(f"/async-jobs/{build_id}").json().get("state")
    return found


def test_restarts_of_the_database_under_load_lose_and_double_nothing(
    cluster: ClusterProcess, tmp_path: Path, database: PostgresServer
) -> None:
    url = database.url(database.new_database())
    with running_replicas(2, cluster, tmp_path, url) as replicas:
        with Load(replicas) as load:
            for how in (signal.SIGINT, signal.SIGQUIT):
                before = len(load.accepted)
                wait_until(lambda n=before: len(load.accepted) > n + 20, "events", 20)  # type: ignore[misc]
                database.restart(how)
                at_work = len(load.accepted)
                wait_until(lambda n=at_work: len(load.accepted) > n, "new events", BACK_SECONDS)  # type: ignore[misc]
        check_built(cluster, load.accepted, within=30)
        wait_until_idle(replicas)
        assert all(each.is_ready() for each in replicas)


def test_what_a_replica_leaves_when_it_stops_during_an_outage_is_the_others_at_once(
    cluster: ClusterProcess, tmp_path: Path, postgres_url: str
) -> None:
    with running_replicas(2, cluster, tmp_path, postgres_url) as (stopping, other):
        cluster.go_away(10)
        accepted = {*map(str, range(30))}
        for number in sorted(accepted):
            assert stopping.post(number).status_code == 200
        wait_until(lambda: not stopping.stats()["api_available"], "the outage to be seen")
        stopping.terminate()
        wait_until(lambda: other.stats()["accepted_total"] == 30, "them to be taken", 3)
        wait_until(lambda: other.stats()["created_total"] == 30, "the Jobs", 10 + BACK_SECONDS)
        check_built(cluster, accepted, within=1)
        attempts = {other.get(f"/async-jobs/{number}").json()["attempts"] for number in accepted}
        assert attempts == {1}


def test_an_event_delivered_to_all_replicas_at_once_and_again_makes_one_job(
    cluster: ClusterProcess, tmp_path: Path, postgres_url: str
) -> None:
    cluster.add_fault("latency", **SLOW)
    with running_replicas(2, cluster, tmp_path, postgres_url) as replicas:
        with ThreadPoolExecutor(10) as pool:
            answers = [*pool.map(lambda n: replicas[n % 2].post("one").json(), range(20))]
        check_built(cluster, {"one"}, within=10)
        wait_until_idle(replicas)
        again = [each.post("one").json() for each in replicas]
        counted = [each.stats() for each in replicas]
    assert Counter(answer["status"] for answer in answers) == {"queued": 1, "duplicate": 19}
    assert {answer["status"] for answer in again} == {"duplicate"}
    assert len({answer["job_name"] for answer in (*answers, *again)}) == 1
    assert sum(stats["accepted_total"] for stats in counted) == 1
    assert sum(stats["duplicates_total"] for stats in counted) == 21


def trouble(seed: int, faults: int, folder: Path, database: PostgresServer) -> None:
    name = database.new_database()
    with (
        ClusterProcess(folder) as cluster,
        running_replicas(3, cluster, folder, database.url(name)) as replicas,
    ):
        faults_made = Trouble(seed, cluster, replicas, database, name)
        with Load(replicas, pause=0.02) as load:
            for _ in range(faults):
                faults_made.make()
            faults_made.heal()
        check_built(cluster, load.accepted, within=60)
        wait_until_idle(replicas, 60)
        assert len(load.accepted) > faults, faults_made.done


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_thirty_faults_of_all_kinds_lose_and_double_nothing(
    tmp_path: Path, database: PostgresServer, seed: int
) -> None:
    trouble(seed, 30, tmp_path, database)
