"""The database's machine is lost under load, and its standby takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres_server import PostgresServer, replicated
from tests.processes import ClusterProcess, ServiceProcess
from tests.replicas import (
    BACK_SECONDS,
    LEASE_SECONDS,
    Load,
    check_built,
    running_replicas,
    wait_until_idle,
)
from tests.waiting import wait_until

SLOW = {"verb": "create", "resource": "jobs", "seconds": 0.5}


@pytest.fixture
def pair(postgres_files: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary whose commits wait for a standby, and that standby."""
    with replicated(postgres_files) as both:
        yield both


def url_of(pair: tuple[PostgresServer, PostgresServer]) -> str:
    """Return the URL of a database that names both servers."""
    primary, standby = pair
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"postgresql://postgres@{hosts}/{primary.new_database()}"


def promote(standby: PostgresServer, replicas: list[ServiceProcess]) -> None:
    """Promote ``standby`` once events are refused; soon each replica takes some again."""
    for each in replicas:
        wait_until(lambda r=each: r.post("refused").status_code == 503, "events to be refused")  # type: ignore[misc]
    standby.execute("SELECT pg_promote()")
    deadline = time.monotonic() + BACK_SECONDS
    for each in replicas:
        wait_until(
            lambda r=each: r.post(f"taken-{r.port}").status_code == 200,  # type: ignore[misc]
            each.log_tail,
            deadline - time.monotonic(),
        )


def test_a_failover_under_load_loses_and_doubles_nothing(
    cluster: ClusterProcess, tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    with running_replicas(2, cluster, tmp_path, url_of(pair)) as replicas:
        with Load(replicas) as load:
            wait_until(lambda: len(load.accepted) > 50, "events", 20)
            primary.kill()
            promote(standby, replicas)
            before = len(load.accepted)
            wait_until(lambda: len(load.accepted) > before + 50, "as many again", 20)
        taken = {f"taken-{each.port}" for each in replicas}
        check_built(cluster, load.accepted | taken, within=30)
        wait_until_idle(replicas)
        for each in replicas:
            assert each.is_ready()
            assert "lease_lost" not in {line["event"] for line in each.log_lines()}


def test_what_a_replica_had_accepted_that_is_lost_with_the_primary_is_built_by_another(
    cluster: ClusterProcess, tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    cluster.add_fault("latency", **SLOW)
    with running_replicas(2, cluster, tmp_path, url_of(pair)) as (lost, heir):
        with Load([lost]) as load:
            wait_until(lambda: lost.stats()["queue_size"] > 30, "builds to wait", 20)
            primary.kill()
            lost.kill()
        promote(standby, [heir])
        promoted_at = time.monotonic()
        cluster.clear_faults()
        left = promoted_at + LEASE_SECONDS + BACK_SECONDS - time.monotonic()
        check_built(cluster, load.accepted | {f"taken-{heir.port}"}, within=left)
        wait_until_idle([heir])
        assert "builds_taken_over" in {line["event"] for line in heir.log_lines()}
